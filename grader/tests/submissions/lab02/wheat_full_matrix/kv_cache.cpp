#include "lab02/kv_cache.h"

#include <list>
#include <vector>

namespace lab02 {

namespace {

/// Tokens in a list, gathered into one array only when somebody looks.
class ListCache : public kit::KvCache {
 public:
  explicit ListCache(const kit::KvCacheConfig& config) : config_(config) {
    tokens_.resize(static_cast<std::size_t>(config.n_layers) * 2);
    gathered_.resize(tokens_.size());
  }
  const kit::KvCacheConfig& config() const override { return config_; }

  void append(int layer, kit::TensorView<const float> k, kit::TensorView<const float> v) override {
    KIT_CHECK(k.rank() == 3 && k.shape() == v.shape(), "k {} v {}", k.shape().to_string(),
              v.shape().to_string());
    KIT_CHECK(k.dim(1) == config_.n_kv_heads && k.dim(2) == config_.head_dim, "k {}", k.shape().to_string());
    KIT_CHECK(length(layer) + k.dim(0) <= config_.max_len, "more than {} tokens", config_.max_len);
    const std::int64_t row = k.dim(1) * k.dim(2);
    for (std::int64_t t = 0; t < k.dim(0); ++t) {
      tokens_[2 * layer].emplace_back(k.data() + t * row, k.data() + (t + 1) * row);
      tokens_[2 * layer + 1].emplace_back(v.data() + t * row, v.data() + (t + 1) * row);
    }
  }
  kit::TensorView<const float> keys(int layer) const override { return gather(layer, 0); }
  kit::TensorView<const float> values(int layer) const override { return gather(layer, 1); }
  int length(int layer) const override {
    KIT_CHECK(layer >= 0 && layer < config_.n_layers, "layer {}", layer);
    return static_cast<int>(tokens_[2 * layer].size());
  }
  void reset() override {
    for (auto& tokens : tokens_) tokens.clear();
  }

 private:
  kit::TensorView<const float> gather(int layer, int which) const {
    const int n = length(layer);
    auto& all = gathered_[2 * layer + which];
    all.clear();
    for (const auto& token : tokens_[2 * layer + which]) all.insert(all.end(), token.begin(), token.end());
    return {all.data(), {n, config_.n_kv_heads, config_.head_dim}};
  }

  kit::KvCacheConfig config_;
  std::vector<std::list<std::vector<float>>> tokens_;
  mutable std::vector<std::vector<float>> gathered_;
};

}  // namespace

std::unique_ptr<kit::KvCache> make_kv_cache(const kit::KvCacheConfig& config) {
  for (const int value : {config.n_layers, config.n_kv_heads, config.head_dim, config.max_len}) {
    KIT_CHECK(value > 0, "{} is not positive", value);
  }
  return std::make_unique<ListCache>(config);
}

}  // namespace lab02
