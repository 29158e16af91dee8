#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "json_input.h"
#include "kit/llama.h"
#include "kit/parallel.h"
#include "kit/safetensors.h"

namespace kit {
namespace {

using detail::Fields;
using detail::Json;

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";

/// The tensors of a checkpoint, in one file or several.
class Checkpoint {
 public:
  explicit Checkpoint(const std::filesystem::path& directory) {
    if (exists(directory / kIndexFile) && !exists(directory / kSingleFile)) {
      open_shards(directory);
      return;
    }
    files_.push_back(SafetensorsFile::open(directory / kSingleFile));
    source_ = files_.back().origin();
    for (const auto& [name, entry] : files_.back().entries()) file_of_[name] = 0;
  }

  /// The tensor `name` in float32, whose shape must be `shape`.
  Tensor<float> read(const std::string& name, const Shape& shape) {
    const auto found = file_of_.find(name);
    KIT_CHECK(found != file_of_.end(), "{}: tensor \"{}\" is missing", source_, name);
    const SafetensorsFile& file = files_[found->second];
    const SafetensorsEntry& entry = file.at(name);
    KIT_CHECK(entry.shape == shape, "{}: tensor \"{}\" has shape {} instead of {}", file.origin(), name,
              entry.shape.to_string(), shape.to_string());
    used_.insert(name);
    return to_float_tensor(entry, fmt::format("{}: {}", file.origin(), name));
  }

  /// A tensor nobody asked for means that the weights belong to another model: a layer more, a bias.
  void check_all_used(bool tied) const {
    for (const auto& [name, file] : file_of_) {
      // Old checkpoints store these frequencies, which config.json gives; some tied ones repeat the
      // embedding.
      const bool ignorable = name.ends_with("rotary_emb.inv_freq") || (tied && name == "lm_head.weight");
      KIT_CHECK(ignorable || used_.contains(name),
                "{}: tensor \"{}\" does not belong to the model of config.json", files_[file].origin(), name);
    }
  }

 private:
  void open_shards(const std::filesystem::path& directory) {
    source_ = (directory / kIndexFile).string();
    const Json json = detail::parse_json_object(detail::read_text_file(source_), source_);
    const Fields fields(json, source_);
    const Fields weight_map = fields.object("weight_map");
    std::map<std::string, std::size_t> opened;
    for (const auto& [name, value] : weight_map.json().items()) {
      const std::string shard = weight_map.to_string(value, name.c_str());
      // The index is input: it must not reach outside the folder.
      KIT_CHECK(
          !shard.empty() && std::filesystem::path(shard).filename() == shard && shard != "." && shard != "..",
          "{}: shard \"{}\" of tensor \"{}\" is not a plain file name", source_, shard, name);
      const auto [position, is_new] = opened.try_emplace(shard, files_.size());
      if (is_new) files_.push_back(SafetensorsFile::open(directory / shard));
      const SafetensorsFile& file = files_[position->second];
      KIT_CHECK(file.contains(name), "{}: there is no tensor \"{}\", though {} says so", file.origin(), name,
                source_);
      file_of_[name] = position->second;
    }
  }

  std::string source_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, std::size_t> file_of_;  // tensor name -> index in files_
  std::set<std::string> used_;
};

/// Calls visit(name, tensor, shape) for every tensor of the model, by its name in Hugging Face's files.
template <class Visit>
void for_each_tensor(LlamaWeights& weights, const ModelConfig& c, const Visit& visit) {
  const std::int64_t q_dim = std::int64_t{c.n_heads} * c.head_dim;
  const std::int64_t kv_dim = std::int64_t{c.n_kv_heads} * c.head_dim;
  visit("model.embed_tokens.weight", weights.embedding, Shape{c.vocab_size, c.dim});
  for (int i = 0; i < c.n_layers; ++i) {
    // One by one: a config that claims a billion layers fails at the first that is missing.
    LlamaLayerWeights& layer = weights.layers.emplace_back();
    const std::string prefix = fmt::format("model.layers.{}.", i);
    visit(prefix + "input_layernorm.weight", layer.attention_norm, Shape{c.dim});
    visit(prefix + "self_attn.q_proj.weight", layer.wq, Shape{q_dim, c.dim});
    visit(prefix + "self_attn.k_proj.weight", layer.wk, Shape{kv_dim, c.dim});
    visit(prefix + "self_attn.v_proj.weight", layer.wv, Shape{kv_dim, c.dim});
    visit(prefix + "self_attn.o_proj.weight", layer.wo, Shape{c.dim, q_dim});
    visit(prefix + "post_attention_layernorm.weight", layer.mlp_norm, Shape{c.dim});
    visit(prefix + "mlp.gate_proj.weight", layer.w_gate, Shape{c.hidden_dim, c.dim});
    visit(prefix + "mlp.up_proj.weight", layer.w_up, Shape{c.hidden_dim, c.dim});
    visit(prefix + "mlp.down_proj.weight", layer.w_down, Shape{c.dim, c.hidden_dim});
  }
  visit("model.norm.weight", weights.final_norm, Shape{c.dim});
  if (!c.tie_word_embeddings) visit("lm_head.weight", weights.lm_head, Shape{c.vocab_size, c.dim});
}

/// The same numbers however many threads fill them: every piece has its own stream.
void fill_normal(Tensor<float>& tensor, float stddev, std::uint64_t seed) {
  constexpr std::int64_t kPiece = 1 << 16;
  const std::span<float> all = tensor.span();
  parallel_for(tensor.size(), kPiece, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; i += kPiece) {
      Rng rng(seed, static_cast<std::uint64_t>(i / kPiece));
      rng.fill_normal(
          all.subspan(static_cast<std::size_t>(i), static_cast<std::size_t>(std::min(kPiece, end - i))),
          stddev);
    }
  });
}

}  // namespace

std::int64_t LlamaWeights::size() const {
  std::int64_t total = embedding.size() + final_norm.size() + lm_head.size();
  for (const LlamaLayerWeights& layer : layers) {
    for (const Tensor<float>* tensor : {&layer.attention_norm, &layer.wq, &layer.wk, &layer.wv, &layer.wo,
                                        &layer.mlp_norm, &layer.w_gate, &layer.w_up, &layer.w_down}) {
      total += tensor->size();
    }
  }
  return total;
}

LlamaWeights load_llama_weights(const std::filesystem::path& directory, const ModelConfig& config) {
  config.validate();
  Checkpoint checkpoint(directory);
  LlamaWeights weights;
  for_each_tensor(weights, config, [&](const std::string& name, Tensor<float>& tensor, const Shape& shape) {
    tensor = checkpoint.read(name, shape);
  });
  checkpoint.check_all_used(config.tie_word_embeddings);
  return weights;
}

LlamaWeights random_llama_weights(const ModelConfig& config, Rng& rng) {
  config.validate();
  LlamaWeights weights;
  for_each_tensor(weights, config, [&](const std::string& name, Tensor<float>& tensor, const Shape& shape) {
    tensor = Tensor<float>(shape, 1.0F);
    if (shape.rank() == 1) return;  // norm gains stay 1
    // 1 / sqrt(fan in) keeps the size of what a matrix is given; the embedding's rows are the input itself.
    const bool is_embedding = name == "model.embed_tokens.weight" && !config.tie_word_embeddings;
    const float stddev = is_embedding ? 1.0F : 1.0F / std::sqrt(static_cast<float>(shape[1]));
    const std::uint64_t high = rng.next_u32();
    fill_normal(tensor, stddev, high << 32 | rng.next_u32());
  });
  return weights;
}

}  // namespace kit
