#include "kit/model.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace kit {
namespace {

void check_cache(const KvCache& cache, const ModelConfig& config) {
  const KvCacheConfig& has = cache.config();
  KIT_CHECK(has.n_layers == config.n_layers && has.n_kv_heads == config.n_kv_heads &&
                has.head_dim == config.head_dim,
            "the cache is for {} layers, {} kv heads, head_dim {}; the model has {}, {}, {}", has.n_layers,
            has.n_kv_heads, has.head_dim, config.n_layers, config.n_kv_heads, config.head_dim);
}

void check_lengths(const KvCache& cache, int n_layers, std::int64_t expected, const char* when) {
  for (int layer = 0; layer < n_layers; ++layer) {
    const int length = cache.length(layer);
    KIT_CHECK(length == expected, "{} layer {} of the cache holds {} tokens instead of {}", when, layer,
              length, expected);
  }
}

}  // namespace

void KvCache::truncate(int length) {
  throw Error(fmt::format("this cache cannot forget its tail (truncate to {} tokens)", length));
}

bool ModelConfig::is_eos(int token) const {
  return std::find(eos_token_ids.begin(), eos_token_ids.end(), token) != eos_token_ids.end();
}

void ModelConfig::validate() const {
  const std::pair<const char*, int> sizes[] = {{"vocab_size", vocab_size}, {"dim", dim},
                                               {"hidden_dim", hidden_dim}, {"n_layers", n_layers},
                                               {"n_heads", n_heads},       {"n_kv_heads", n_kv_heads},
                                               {"head_dim", head_dim},     {"max_seq_len", max_seq_len}};
  for (const auto& [name, size] : sizes) KIT_CHECK(size > 0, "{} is {}, must be positive", name, size);
  KIT_CHECK(n_heads % n_kv_heads == 0, "n_heads {} is not a multiple of n_kv_heads {}", n_heads, n_kv_heads);
  const Rope rope_checks(head_dim, 1, rope_theta, rope_scaling);
  KIT_CHECK(std::isfinite(rms_norm_eps) && rms_norm_eps >= 0, "rms_norm_eps is {}, must not be negative",
            rms_norm_eps);
  for (const int token : eos_token_ids) {
    KIT_CHECK(token >= 0 && token < vocab_size, "eos token {} lies outside the vocabulary of {}", token,
              vocab_size);
  }
}

Tensor<float> Model::forward(std::span<const int> tokens, Logits which) {
  return checked_run(tokens, nullptr, which);
}

Tensor<float> Model::forward(std::span<const int> tokens, KvCache& cache, Logits which) {
  return checked_run(tokens, &cache, which);
}

void Model::reset_stats() {
  calls_.clear();
  tokens_processed_ = 0;
}

Tensor<float> Model::checked_run(std::span<const int> tokens, KvCache* cache, Logits which) {
  const ModelConfig& c = config();
  KIT_CHECK(!tokens.empty(), "forward of no tokens");
  for (const int token : tokens) {
    KIT_CHECK(token >= 0 && token < c.vocab_size, "token {} lies outside the vocabulary of {}", token,
              c.vocab_size);
  }
  std::int64_t start = 0;
  std::int64_t capacity = c.max_seq_len;
  if (cache != nullptr) {
    check_cache(*cache, c);
    start = cache->length(0);
    check_lengths(*cache, c.n_layers, start, "before a forward pass");
    capacity = std::min<std::int64_t>(capacity, cache->config().max_len);
  }
  const auto n = static_cast<std::int64_t>(tokens.size());
  KIT_CHECK(start >= 0 && n <= capacity - start, "{} tokens after {} exceed the {} positions of the {}", n,
            start, capacity, capacity < c.max_seq_len ? "cache" : "model");

  Tensor<float> logits = run(tokens, cache, which);
  if (cache != nullptr) check_lengths(*cache, c.n_layers, start + n, "after a forward pass");
  calls_.push_back({static_cast<int>(n), static_cast<int>(start + n)});
  tokens_processed_ += n;
  return logits;
}

}  // namespace kit
