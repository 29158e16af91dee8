#include "lab02/kv_cache.h"

#include <algorithm>
#include <vector>

namespace lab02 {

namespace {

/// One array for all keys and one for all values, [n_layers, max_len, n_kv_heads, head_dim], allocated once.
/// A layer's tokens lie one after the other, so append is one copy and a view needs no strides.
class ContiguousKvCache : public kit::KvCache {
 public:
  explicit ContiguousKvCache(const kit::KvCacheConfig& config)
      : config_(config),
        // One layer more: what is written past the capacity must not depend on whose memory it is.
        keys_({config.n_layers + 1, config.max_len, config.n_kv_heads, config.head_dim}),
        values_(keys_.shape()),
        lengths_(static_cast<std::size_t>(config.n_layers), 0) {}

  const kit::KvCacheConfig& config() const override { return config_; }

  void append(int layer, kit::TensorView<const float> k, kit::TensorView<const float> v) override {
    // Everything is checked before anything is written, so a refused append leaves no trace.
    const int len = length(layer);
    KIT_CHECK(k.rank() == 3 && k.dim(1) == config_.n_kv_heads && k.dim(2) == config_.head_dim &&
                  v.shape() == k.shape(),
              "k {} and v {} must both be [n, {}, {}]", k.shape().to_string(), v.shape().to_string(),
              config_.n_kv_heads, config_.head_dim);
    std::ranges::copy(k.span(), keys_.data() + offset(layer, len));
    std::ranges::copy(v.span(), values_.data() + offset(layer, len));
    lengths_[layer] += static_cast<int>(k.dim(0));
  }

  kit::TensorView<const float> keys(int layer) const override { return view(keys_, layer); }
  kit::TensorView<const float> values(int layer) const override { return view(values_, layer); }

  int length(int layer) const override {
    KIT_CHECK(layer >= 0 && layer < config_.n_layers, "layer {} is not in [0, {})", layer, config_.n_layers);
    return lengths_[layer];
  }

  // What the arrays still hold lies behind every length: nobody can see it, and append overwrites it.
  void reset() override { std::ranges::fill(lengths_, 0); }

 private:
  std::int64_t offset(int layer, int pos) const {
    return (std::int64_t{layer} * config_.max_len + pos) * config_.n_kv_heads * config_.head_dim;
  }
  kit::TensorView<const float> view(const kit::Tensor<float>& all, int layer) const {
    const int len = length(layer);
    return {all.data() + offset(layer, 0), {len, config_.n_kv_heads, config_.head_dim}};
  }

  kit::KvCacheConfig config_;
  kit::Tensor<float> keys_;    // [n_layers, max_len, n_kv_heads, head_dim]
  kit::Tensor<float> values_;  // [n_layers, max_len, n_kv_heads, head_dim]
  std::vector<int> lengths_;   // [n_layers], in tokens
};

}  // namespace

std::unique_ptr<kit::KvCache> make_kv_cache(const kit::KvCacheConfig& config) {
  KIT_CHECK(config.n_layers > 0 && config.n_kv_heads > 0 && config.head_dim > 0 && config.max_len > 0,
            "n_layers {}, n_kv_heads {}, head_dim {}, max_len {}: all must be positive", config.n_layers,
            config.n_kv_heads, config.head_dim, config.max_len);
  return std::make_unique<ContiguousKvCache>(config);
}

}  // namespace lab02
