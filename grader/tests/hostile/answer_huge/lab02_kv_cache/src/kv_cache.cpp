#include "lab02/kv_cache.h"

#include <vector>

namespace lab02 {

namespace {

class Huge : public kit::KvCache {
 public:
  explicit Huge(const kit::KvCacheConfig& config) : config_(config) {}
  const kit::KvCacheConfig& config() const override { return config_; }
  void append(int /*layer*/, kit::TensorView<const float> /*k*/,
              kit::TensorView<const float> /*v*/) override {}
  kit::TensorView<const float> keys(int /*layer*/) const override {
    return {nullptr, {std::int64_t{1} << 26, 8, 8}};
  }
  kit::TensorView<const float> values(int layer) const override { return keys(layer); }
  int length(int /*layer*/) const override { return 1 << 26; }
  void reset() override {}

 private:
  kit::KvCacheConfig config_;
};

}  // namespace

std::unique_ptr<kit::KvCache> make_kv_cache(const kit::KvCacheConfig& config) {
  return std::make_unique<Huge>(config);
}

}  // namespace lab02
