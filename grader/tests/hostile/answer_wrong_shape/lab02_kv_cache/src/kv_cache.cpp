#include "lab02/kv_cache.h"

#include <vector>

namespace lab02 {

namespace {

class WrongShapes : public kit::KvCache {
 public:
  explicit WrongShapes(const kit::KvCacheConfig& config) : config_(config) {}
  const kit::KvCacheConfig& config() const override { return config_; }
  void append(int /*layer*/, kit::TensorView<const float> /*k*/,
              kit::TensorView<const float> /*v*/) override {}
  kit::TensorView<const float> keys(int /*layer*/) const override { return {data_.data(), {4, 1, 1, 8}}; }
  kit::TensorView<const float> values(int /*layer*/) const override {
    return {data_.data(), {std::int64_t{1} << 20, config_.n_kv_heads, config_.head_dim}};
  }
  int length(int /*layer*/) const override { return 4; }
  void reset() override {}

 private:
  kit::KvCacheConfig config_;
  std::vector<float> data_ = std::vector<float>(32);
};

}  // namespace

std::unique_ptr<kit::KvCache> make_kv_cache(const kit::KvCacheConfig& config) {
  return std::make_unique<WrongShapes>(config);
}

}  // namespace lab02
