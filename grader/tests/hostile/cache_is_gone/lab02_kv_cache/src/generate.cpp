#include "lab02/generate.h"

#include <memory>

#include "lab02/kv_cache.h"

namespace lab02 {

namespace {

std::unique_ptr<kit::KvCache> victim;

class Suicide : public kit::KvCache {
 public:
  explicit Suicide(const kit::KvCacheConfig& config) : config_(config) {}
  const kit::KvCacheConfig& config() const override { return config_; }
  void append(int /*layer*/, kit::TensorView<const float> /*k*/,
              kit::TensorView<const float> /*v*/) override {
    victim.reset();
  }
  kit::TensorView<const float> keys(int /*layer*/) const override { return {}; }
  kit::TensorView<const float> values(int /*layer*/) const override { return {}; }
  int length(int /*layer*/) const override { return 0; }
  void reset() override {}

 private:
  kit::KvCacheConfig config_;
};

}  // namespace

std::vector<int> generate_without_cache(kit::Model& /*model*/, std::span<const int> /*prompt*/,
                                        const kit::SamplingConfig& /*config*/, kit::Rng& /*rng*/,
                                        const kit::OnToken& /*on_token*/) {
  throw kit::NotImplemented("lab02 task 4: generate_without_cache");
}

std::vector<int> generate_with_cache(kit::Model& model, std::span<const int> prompt,
                                     const kit::SamplingConfig& /*config*/, kit::Rng& /*rng*/,
                                     const kit::OnToken& /*on_token*/) {
  victim = std::make_unique<Suicide>(model.config().kv_cache_config(64));
  (void)model.forward(prompt, *victim);
  return {};
}

}  // namespace lab02
