// Objects that stay where they are: models, caches.
#include <gtest/gtest.h>

#include <csignal>

#include "kit/reference.h"
#include "tiny_model.h"
#include "worker_process.h"

namespace kit::remote {
namespace {

constexpr KvCacheConfig kConfig{2, 1, 2, 8};

std::vector<int> generate(Model& model, std::span<const int> prompt, Rng& rng, const OnToken& on_token) {
  const auto cache = make_reference_kv_cache(model.config().kv_cache_config(16));
  const Tensor<float> last = model.forward(prompt, *cache);
  const Tensor<float> all = model.forward(prompt, Logits::kAll);
  rng.next_u32();
  on_token(static_cast<int>(last(0, 0)));
  return {cache->length(0), cache->length(1), static_cast<int>(all.dim(0)), static_cast<int>(all(1, 3)),
          static_cast<int>(model.calls().size())};
}

TEST(RemoteInterfaces, TheModelCountsWhereItIs) {
  WorkerProcess worker;
  TinyModel model;
  Rng rng(1);
  Rng drawn(1);
  drawn.next_u32();
  std::vector<int> tokens;
  const std::vector<int> prompt = {4, 5, 6};
  EXPECT_EQ(ask<&generate>(worker, model, prompt, rng, OnToken([&](int token) { tokens.push_back(token); })),
            (std::vector<int>{3, 3, 3, 6, 2}));
  EXPECT_EQ(tokens, std::vector<int>{7});
  EXPECT_EQ(model.tokens_processed(), 6);
  ASSERT_EQ(model.calls().size(), 2);
  EXPECT_EQ(model.calls()[0].kv_len, 3);
  EXPECT_EQ(rng, drawn);
  EXPECT_EQ(worker->n_objects(), 0);
  EXPECT_EQ(worker->own_arena().top(), 0);
}

bool same_config(Model& model) {
  const ModelConfig here = TinyModel().config();
  const ModelConfig& there = model.config();
  return there.vocab_size == here.vocab_size && there.max_seq_len == here.max_seq_len &&
         there.rope_scaling->original_max_seq_len == 32 && there.eos_token_ids == here.eos_token_ids &&
         there.rms_norm_eps == here.rms_norm_eps;
}

TEST(RemoteInterfaces, TheModelsConfigCrosses) {
  WorkerProcess worker;
  TinyModel model;
  EXPECT_TRUE(ask<&same_config>(worker, model));
}

int fill(KvCache& cache) {
  const Tensor<float> row({1, 1, 2}, 3.0F);
  cache.append(0, row, row);
  return cache.length(0) + static_cast<int>(cache.keys(0).dim(0)) +
         static_cast<int>(cache.values(0)(0, 0, 1));
}

TEST(RemoteInterfaces, TheWorkerFillsTheCheckersCache) {
  WorkerProcess worker;
  const auto cache = make_reference_kv_cache(kConfig);
  EXPECT_EQ(ask<&fill>(worker, *cache), 5);
  EXPECT_EQ(cache->values(0)(0, 0, 0), 3.0F);
  EXPECT_EQ(worker->n_objects(), 0);
}

int n_caches = 0;
class CountedCache final : public KvCache {
 public:
  explicit CountedCache(const KvCacheConfig& config) : cache_(make_reference_kv_cache(config)) { ++n_caches; }
  ~CountedCache() override { --n_caches; }
  CountedCache(const CountedCache&) = delete;
  CountedCache& operator=(const CountedCache&) = delete;
  const KvCacheConfig& config() const override { return cache_->config(); }
  void append(int layer, TensorView<const float> k, TensorView<const float> v) override {
    cache_->append(layer, k, v);
  }
  TensorView<const float> keys(int layer) const override { return cache_->keys(layer); }
  TensorView<const float> values(int layer) const override { return cache_->values(layer); }
  int length(int layer) const override { return cache_->length(layer); }
  void reset() override { cache_->reset(); }
  void truncate(int length) override { cache_->truncate(length); }

 private:
  std::unique_ptr<KvCache> cache_;
};

std::unique_ptr<KvCache> make_cache(const KvCacheConfig& config) {
  return config.max_len == 0 ? nullptr : std::make_unique<CountedCache>(config);
}
int count_caches() {
  return n_caches;
}
bool is_home(KvCache& cache) {
  return dynamic_cast<CountedCache*>(&cache) != nullptr && fill(cache) > 0;
}

TEST(RemoteInterfaces, ACacheOfTheWorkerLivesAsLongAsItsProxy) {
  WorkerProcess worker;
  EXPECT_EQ(ask<&make_cache>(worker, KvCacheConfig{}), nullptr);
  auto cache = ask<&make_cache>(worker, kConfig);
  EXPECT_EQ(cache->config().max_len, 8);
  EXPECT_TRUE(ask<&is_home>(worker, *cache)) << "in its own process it is itself";
  EXPECT_EQ(cache->length(0), 1);
  EXPECT_THROW(cache->length(2), Error);
  EXPECT_EQ(ask<&count_caches>(worker), 1);
  cache.reset();
  EXPECT_EQ(ask<&count_caches>(worker), 0);
}

TEST(RemoteInterfaces, ViewsStayValidUntilTheCacheIsChanged) {
  WorkerProcess worker;
  const auto cache = ask<&make_cache>(worker, kConfig);
  ask<&fill>(worker, *cache);
  const TensorView<const float> first = cache->keys(0);
  const TensorView<const float> again = cache->keys(0);
  EXPECT_EQ(first.data(), again.data());
  EXPECT_EQ(first(0, 0, 0), 3.0F);
  // The worker extends it behind the proxy's back.
  ask<&fill>(worker, *cache);
  EXPECT_EQ(cache->keys(0).dim(0), 2);
  EXPECT_EQ(first(0, 0, 0), 3.0F) << "memory of its own, even now";
  cache->reset();
  EXPECT_EQ(cache->keys(0).dim(0), 0);
}

void cut(KvCache& cache, int length) {
  cache.truncate(length);
}

TEST(RemoteInterfaces, ACacheForgetsItsTailOnEitherSide) {
  WorkerProcess worker;
  const auto there = ask<&make_cache>(worker, kConfig);
  for (int i = 0; i < 3; ++i) ask<&fill>(worker, *there);
  there->truncate(2);
  EXPECT_EQ(there->length(0), 2);
  EXPECT_EQ(there->keys(0).dim(0), 2);
  EXPECT_THROW(there->truncate(3), Error);
  const auto here = make_reference_kv_cache(kConfig);
  for (int i = 0; i < 3; ++i) ask<&fill>(worker, *here);
  ask<&cut>(worker, *here, 1);
  EXPECT_EQ(here->length(0), 1);
}

int forward_with(Model& model, KvCache& cache) {
  const std::vector<int> tokens = {1, 2};
  return static_cast<int>(model.forward(tokens, cache)(0, 0));
}

TEST(RemoteInterfaces, TheCheckersModelUsesTheWorkersCache) {
  WorkerProcess worker;
  TinyModel model;
  const auto cache = ask<&make_cache>(worker, kConfig);
  EXPECT_EQ(ask<&forward_with>(worker, model, *cache), 3);
  EXPECT_EQ(cache->length(1), 2);
  EXPECT_EQ(model.calls().at(0).kv_len, 2);
}

TEST(RemoteInterfaces, AnObjectMayOutliveTheWorker) {
  WorkerProcess worker;
  auto cache = ask<&make_cache>(worker, kConfig);
  ::kill(worker.pid(), SIGKILL);
  EXPECT_THROW(cache->length(0), WorkerEnded);
  cache.reset();  // must not throw, or worse
}

}  // namespace
}  // namespace kit::remote
