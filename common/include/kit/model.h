#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kit/kv_cache.h"
#include "kit/rope.h"
#include "kit/tensor.h"

/// A language model that counts the work it does.
namespace kit {

/// Architecture numbers of a Llama-family model, read from config.json.
struct ModelConfig {
  int vocab_size = 0;
  int dim = 0;         ///< width of the residual stream ("hidden_size" in config.json)
  int hidden_dim = 0;  ///< width of the SwiGLU feed-forward layer ("intermediate_size")
  int n_layers = 0;
  int n_heads = 0;
  int n_kv_heads = 0;  ///< divides n_heads; 1 is MQA, n_heads is MHA
  int head_dim = 0;
  int max_seq_len = 0;
  float rope_theta = 10000.0F;
  std::optional<RopeScaling> rope_scaling;
  float rms_norm_eps = 1e-5F;
  bool tie_word_embeddings = false;
  std::vector<int> eos_token_ids;  ///< generation stops at any of these; may be empty

  bool is_eos(int token) const;
  /// The cache that fits this model, for `max_len` tokens.
  KvCacheConfig kv_cache_config(int max_len) const { return {n_layers, n_kv_heads, head_dim, max_len}; }
  /// Throws kit::Error naming the value that cannot be: a zero, n_heads not a multiple of n_kv_heads, ...
  void validate() const;
};

/// The attention that a lab plugs into a model.
struct AttentionOps {
  /// Causal attention of a whole sequence from position 0, no cache; q and k are rotated already.
  /// q: [n, n_heads, head_dim], k, v: [n, n_kv_heads, head_dim], out: [n, n_heads, head_dim].
  std::function<void(TensorView<const float> q, TensorView<const float> k, TensorView<const float> v,
                     TensorView<float> out)>
      attention;
  /// Attention of n new tokens that follow those in the cache; q and k are NOT rotated yet, and the cache of
  /// `layer` is to be extended by the n tokens.
  std::function<void(int layer, TensorView<const float> q, TensorView<const float> k,
                     TensorView<const float> v, const Rope& rope, KvCache& cache, TensorView<float> out)>
      attention_with_cache;
};

/// One call of Model::forward, as the kit saw it.
struct ForwardCall {
  int n_tokens = 0;  ///< tokens passed in
  int kv_len = 0;    ///< tokens the last of them could see, itself included
};

/// Which positions' logits forward() returns.
enum class Logits { kLast, kAll };

/// forward() is the only way to a token's logits, and it counts.
class Model {
 public:
  virtual ~Model() = default;

  virtual const ModelConfig& config() const = 0;

  /// Runs a whole sequence from position 0, without a cache.
  /// tokens: [n], n >= 1. Returns the logits of the last position [1, vocab_size], or of all [n, vocab_size].
  /// Throws kit::Error on no tokens, an id outside the vocabulary, or more than max_seq_len positions.
  Tensor<float> forward(std::span<const int> tokens, Logits which = Logits::kLast);

  /// Runs n new tokens that follow the cache.length(0) tokens in `cache`, and extends it by them.
  /// As above; also throws when the cache was made for another model or its layers differ in length.
  Tensor<float> forward(std::span<const int> tokens, KvCache& cache, Logits which = Logits::kLast);

  /// Every call since the start or the last reset_stats().
  const std::vector<ForwardCall>& calls() const { return calls_; }
  /// Sum of n_tokens over calls().
  std::int64_t tokens_processed() const { return tokens_processed_; }
  void reset_stats();

 protected:
  /// The work behind forward(), after its checks. `cache` is null for a run without one.
  virtual Tensor<float> run(std::span<const int> tokens, KvCache* cache, Logits which) = 0;

 private:
  Tensor<float> checked_run(std::span<const int> tokens, KvCache* cache, Logits which);

  std::vector<ForwardCall> calls_;
  std::int64_t tokens_processed_ = 0;
};

}  // namespace kit
