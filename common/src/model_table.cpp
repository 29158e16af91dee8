#include "kit/model_table.h"

#include <array>
#include <vector>

#include "kit/check.h"
#include "kit/checked.h"

namespace kit {

namespace {

struct Row {
  const char* name;
  const char* title;
  int vocab_size, dim, hidden_dim, n_layers, n_heads, n_kv_heads, head_dim, max_seq_len;
  float rope_theta;
  bool tied;
};

// clang-format off
constexpr std::array<Row, 8> kRows = {{
    // name, title            vocab_size  dim hidden_dim n_layers n_heads n_kv_heads head_dim max_seq_len rope_theta
    // Touvron et al. 2023, "Llama 2", table 1, and the config.json published with the weights.
    {"llama2-7b",  "LLaMA-2 7B",      32000, 4096, 11008, 32, 32, 32, 128,  4096,   10000.0F, false},
    {"llama2-13b", "LLaMA-2 13B",     32000, 5120, 13824, 40, 40, 40, 128,  4096,   10000.0F, false},
    {"llama2-70b", "LLaMA-2 70B",     32000, 8192, 28672, 80, 64,  8, 128,  4096,   10000.0F, false},
    // Grattafiori et al. 2024, "The Llama 3 Herd of Models", table 3; context of the first release, April 2024.
    {"llama3-8b",  "Llama-3 8B",     128256, 4096, 14336, 32, 32,  8, 128,  8192,  500000.0F, false},
    {"llama3-70b", "Llama-3 70B",    128256, 8192, 28672, 80, 64,  8, 128,  8192,  500000.0F, false},
    // Jiang et al. 2023, "Mistral 7B", table 1; context of v0.2, which has no sliding window.
    {"mistral-7b", "Mistral 7B v0.2", 32000, 4096, 14336, 32, 32,  8, 128, 32768, 1000000.0F, false},
    // models/target/config.json and models/draft/config.json of this kit.
    {"target",     "the shipped target", 2048, 256, 640, 6, 8, 4, 32, 512, 10000.0F, true},
    {"draft",      "the shipped draft",  2048, 128, 256, 2, 4, 2, 32, 512, 10000.0F, true},
}};
// clang-format on

std::vector<KnownModel> make_table() {
  std::vector<KnownModel> models;
  for (const Row& row : kRows) {
    ModelConfig config;
    config.vocab_size = row.vocab_size;
    config.dim = row.dim;
    config.hidden_dim = row.hidden_dim;
    config.n_layers = row.n_layers;
    config.n_heads = row.n_heads;
    config.n_kv_heads = row.n_kv_heads;
    config.head_dim = row.head_dim;
    config.max_seq_len = row.max_seq_len;
    config.rope_theta = row.rope_theta;
    config.tie_word_embeddings = row.tied;
    models.push_back({row.name, row.title, config});
  }
  return models;
}

const std::vector<KnownModel>& table() {
  static const std::vector<KnownModel> models = make_table();
  return models;
}

}  // namespace

std::int64_t n_parameters(const ModelConfig& config) {
  config.validate();
  const auto product = [](std::initializer_list<std::int64_t> factors) {
    return checked_product("number of parameters", factors);
  };
  const std::int64_t layer = checked_sum(
      "number of parameters", {product({2, config.dim, config.n_heads, config.head_dim}),     // wq and wo
                               product({2, config.dim, config.n_kv_heads, config.head_dim}),  // wk and wv
                               product({3, config.dim, config.hidden_dim}), product({2, config.dim})});
  const std::int64_t table = product({config.vocab_size, config.dim});
  return checked_sum("number of parameters", {product({config.n_layers, layer}), table, config.dim,
                                              config.tie_word_embeddings ? 0 : table});
}

std::int64_t n_parameters_read(const ModelConfig& config) {
  const std::int64_t table = std::int64_t{config.vocab_size} * config.dim;
  return n_parameters(config) - (config.tie_word_embeddings ? 0 : table);
}

std::span<const KnownModel> models() {
  return table();
}

const KnownModel& find_model(std::string_view name) {
  std::string names;
  for (const KnownModel& model : table()) {
    if (model.name == name) return model;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", model.name);
  }
  throw Error(fmt::format("there is no model '{}'; there are {}", name, names));
}

}  // namespace kit
