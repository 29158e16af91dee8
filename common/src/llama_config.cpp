#include <limits>
#include <string>

#include "json_input.h"
#include "kit/llama.h"

namespace kit {
namespace {

using detail::Fields;
using detail::Json;

constexpr int kMaxInt = std::numeric_limits<int>::max();

int positive(const Fields& fields, const char* name) {
  return static_cast<int>(fields.integer(name, 1, kMaxInt));
}

/// Features of the "llama" model type that this implementation does not have.
void check_supported(const Fields& fields) {
  const std::string model_type = fields.string("model_type");
  KIT_CHECK(model_type == "llama", "{}: model_type \"{}\" is not supported, only \"llama\"", fields.origin(),
            model_type);
  const std::string act = fields.string_or("hidden_act", "silu");
  KIT_CHECK(act == "silu", "{}: hidden_act \"{}\" is not supported, only \"silu\"", fields.origin(), act);
  for (const char* bias : {"attention_bias", "mlp_bias"}) {
    KIT_CHECK(!fields.boolean_or(bias, false), "{}: {} true is not supported", fields.origin(), bias);
  }
  KIT_CHECK(fields.find("quantization_config") == nullptr, "{}: quantization_config is not supported",
            fields.origin());
}

std::optional<RopeScaling> read_scaling(const Fields& fields) {
  // Files from before 2024 call it "type".
  const std::string type = fields.string_or("rope_type", fields.string_or("type", "default"));
  KIT_CHECK(type == "default" || type == "llama3",
            "{}: rope_type \"{}\" is not supported, only \"default\" and \"llama3\"", fields.origin(), type);
  const double share = fields.number_or("partial_rotary_factor", 1.0);
  KIT_CHECK(share == 1.0, "{}: partial_rotary_factor {} is not supported, only 1", fields.origin(), share);
  if (type == "default") return std::nullopt;
  return RopeScaling{static_cast<float>(fields.number("factor")),
                     static_cast<float>(fields.number("low_freq_factor")),
                     static_cast<float>(fields.number("high_freq_factor")),
                     positive(fields, "original_max_position_embeddings")};
}

/// transformers 5 writes "rope_parameters" with the base frequency inside, older versions "rope_theta" and
/// "rope_scaling".
void read_rope(const Fields& fields, ModelConfig& config) {
  const double default_theta = fields.number_or("rope_theta", 10000.0);
  if (fields.find("rope_parameters") != nullptr) {
    const Fields rope = fields.object("rope_parameters");
    config.rope_theta = static_cast<float>(rope.number_or("rope_theta", default_theta));
    config.rope_scaling = read_scaling(rope);
    return;
  }
  config.rope_theta = static_cast<float>(default_theta);
  if (fields.find("rope_scaling") != nullptr)
    config.rope_scaling = read_scaling(fields.object("rope_scaling"));
}

/// An id, a list of ids, or null.
std::vector<int> read_eos(const Fields& fields) {
  std::vector<int> ids;
  const Json* eos = fields.find("eos_token_id");
  if (eos == nullptr) return ids;
  const auto add = [&](const Json& id) {
    ids.push_back(static_cast<int>(fields.to_integer(id, "eos_token_id", 0, kMaxInt)));
  };
  if (eos->is_array()) {
    for (const Json& id : *eos) add(id);
  } else {
    add(*eos);
  }
  return ids;
}

int read_head_dim(const Fields& fields, const ModelConfig& config) {
  if (fields.find("head_dim") != nullptr) return positive(fields, "head_dim");
  KIT_CHECK(config.dim % config.n_heads == 0,
            "{}: hidden_size {} is not a multiple of num_attention_heads {}, and there is no head_dim",
            fields.origin(), config.dim, config.n_heads);
  return config.dim / config.n_heads;
}

ModelConfig read_config(const Fields& fields) {
  check_supported(fields);
  ModelConfig config;
  config.vocab_size = positive(fields, "vocab_size");
  config.dim = positive(fields, "hidden_size");
  config.hidden_dim = positive(fields, "intermediate_size");
  config.n_layers = positive(fields, "num_hidden_layers");
  config.n_heads = positive(fields, "num_attention_heads");
  config.n_kv_heads = static_cast<int>(fields.integer_or("num_key_value_heads", config.n_heads, 1, kMaxInt));
  config.head_dim = read_head_dim(fields, config);
  config.max_seq_len = positive(fields, "max_position_embeddings");
  config.rms_norm_eps =
      static_cast<float>(fields.number_or("rms_norm_eps", 1e-6));  // the default in transformers
  config.tie_word_embeddings = fields.boolean_or("tie_word_embeddings", false);
  config.eos_token_ids = read_eos(fields);
  read_rope(fields, config);
  return config;
}

}  // namespace

ModelConfig load_config(const std::filesystem::path& directory) {
  const std::filesystem::path file = directory / "config.json";
  const Json json = detail::parse_json_object(detail::read_text_file(file), file.string());
  ModelConfig config = read_config({json, file.string()});
  try {
    config.validate();
  } catch (const Error& error) {
    throw Error(fmt::format("{}: {}", file.string(), error.what()));
  }
  return config;
}

ModelConfig layer_stack_config() {
  ModelConfig config;
  config.vocab_size = 2048;
  config.dim = 2048;
  config.hidden_dim = 5632;
  config.n_layers = 4;
  config.n_heads = 32;
  config.n_kv_heads = 4;
  config.head_dim = 64;
  config.max_seq_len = 2048;
  config.tie_word_embeddings = true;
  return config;
}

}  // namespace kit
