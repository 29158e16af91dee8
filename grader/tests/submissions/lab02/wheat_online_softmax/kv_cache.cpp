#include "lab02/kv_cache.h"

#include <vector>

namespace lab02 {

namespace {

struct Layer {
  std::vector<float> k, v;
};

class GrowingCache final : public kit::KvCache {
 public:
  explicit GrowingCache(const kit::KvCacheConfig& config) : config_(config), layers_(config.n_layers) {}
  const kit::KvCacheConfig& config() const override { return config_; }
  void append(int layer, kit::TensorView<const float> k, kit::TensorView<const float> v) override {
    Layer& l = at(layer);
    KIT_CHECK(k.rank() == 3 && v.rank() == 3, "rank");
    const kit::Shape want{k.dim(0), config_.n_kv_heads, config_.head_dim};
    KIT_CHECK(k.shape() == want && v.shape() == want, "shape {}", k.shape().to_string());
    KIT_CHECK(length(layer) + k.dim(0) <= config_.max_len, "full: {}", config_.max_len);
    l.k.insert(l.k.end(), k.span().begin(), k.span().end());
    l.v.insert(l.v.end(), v.span().begin(), v.span().end());
  }
  kit::TensorView<const float> keys(int layer) const override { return view(at(layer).k); }
  kit::TensorView<const float> values(int layer) const override { return view(at(layer).v); }
  int length(int layer) const override {
    return static_cast<int>(at(layer).k.size()) / (config_.n_kv_heads * config_.head_dim);
  }
  void reset() override { layers_.assign(layers_.size(), {}); }

 private:
  kit::TensorView<const float> view(const std::vector<float>& data) const {
    const std::int64_t n = static_cast<std::int64_t>(data.size()) / (config_.n_kv_heads * config_.head_dim);
    return {data.data(), {n, config_.n_kv_heads, config_.head_dim}};
  }
  const Layer& at(int layer) const {
    KIT_CHECK(0 <= layer && layer < config_.n_layers, "no layer {}", layer);
    return layers_[layer];
  }
  Layer& at(int layer) { return const_cast<Layer&>(std::as_const(*this).at(layer)); }

  kit::KvCacheConfig config_;
  std::vector<Layer> layers_;
};

}  // namespace

std::unique_ptr<kit::KvCache> make_kv_cache(const kit::KvCacheConfig& config) {
  KIT_CHECK(config.n_layers > 0, "n_layers {}", config.n_layers);
  KIT_CHECK(config.n_kv_heads > 0, "n_kv_heads {}", config.n_kv_heads);
  KIT_CHECK(config.head_dim > 0, "head_dim {}", config.head_dim);
  KIT_CHECK(config.max_len > 0, "max_len {}", config.max_len);
  return std::make_unique<GrowingCache>(config);
}

}  // namespace lab02
