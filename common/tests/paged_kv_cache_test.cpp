#include "kit/paged_kv_cache.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kit/llama.h"
#include "kit/paged_sequence.h"
#include "kit/reference.h"
#include "kit/testing.h"

namespace {

using kit::KvBlockStorage;
using kit::PagedSequence;
using kit::Shape;
using kit::Tensor;
using kit::testing::matches;
using kit::testing::random_tensor;
using kit::testing::throws_error;

constexpr kit::Tolerance kExact{};
constexpr kit::PagedKvConfig kConfig{
    .n_layers = 3, .n_kv_heads = 2, .head_dim = 5, .block_size = 4, .n_blocks = 7};

/// One sequence with a block table that the test writes; it can also say what no cache should.
class ScriptedCache final : public kit::PagedKvCache {
 public:
  std::vector<int> table;
  int len = 0;
  std::vector<kit::BlockCopy> copies;    // of the next append
  std::vector<int> table_behind_copies;  // its table from then on, when not empty
  int slot_shift = 0;                    // added to every slot
  int slots_missing = 0;

  int block_size() const override { return kConfig.block_size; }
  kit::AppendedSlots append(int /*sequence*/, int n) override {
    kit::AppendedSlots result;
    result.copies.swap(copies);
    if (!table_behind_copies.empty()) table.swap(table_behind_copies);
    for (int i = 0; i < n - slots_missing; ++i) {
      const int pos = len + i;
      result.slot_mapping.push_back(table.at(static_cast<std::size_t>(pos / kConfig.block_size)) *
                                        kConfig.block_size +
                                    pos % kConfig.block_size + slot_shift);
    }
    len += n;
    return result;
  }
  int context_len(int /*sequence*/) const override { return len; }
  std::vector<int> block_table(int /*sequence*/) const override { return table; }
  int add_sequence(std::span<const int> /*blocks*/) override { return 0; }
  int fork(int /*sequence*/) override { return 0; }
  void free(int /*sequence*/) override {}
  kit::KvUsage usage() const override { return {}; }
};

/// Appends n random tokens to every layer of both caches.
void append(PagedSequence& paged, kit::KvCache& contiguous, int n, kit::Rng& rng) {
  for (int layer = 0; layer < kConfig.n_layers; ++layer) {
    const Tensor<float> k = random_tensor({n, kConfig.n_kv_heads, kConfig.head_dim}, rng);
    const Tensor<float> v = random_tensor({n, kConfig.n_kv_heads, kConfig.head_dim}, rng);
    paged.append(layer, k, v);
    contiguous.append(layer, k, v);
  }
}

void expect_same(const PagedSequence& paged, const kit::KvCache& contiguous) {
  for (int layer = 0; layer < kConfig.n_layers; ++layer) {
    SCOPED_TRACE(fmt::format("layer {}", layer));
    EXPECT_EQ(paged.length(layer), contiguous.length(layer));
    EXPECT_TRUE(matches(paged.keys(layer), contiguous.keys(layer), kExact));
    EXPECT_TRUE(matches(paged.values(layer), contiguous.values(layer), kExact));
  }
}

std::unique_ptr<kit::KvCache> contiguous_cache() {
  return kit::make_reference_kv_cache({kConfig.n_layers, kConfig.n_kv_heads, kConfig.head_dim, 64});
}

TEST(KvBlockStorage, StartsAsNaNWithAnArrayForEveryLayer) {
  KvBlockStorage storage(kConfig);
  EXPECT_EQ(storage.config().n_blocks, kConfig.n_blocks);
  for (int layer = 0; layer < kConfig.n_layers; ++layer) {
    EXPECT_EQ(storage.keys(layer).shape(), (Shape{7, 4, 2, 5}));
    EXPECT_EQ(storage.values(layer).shape(), (Shape{7, 4, 2, 5}));
    for (const float x : storage.keys(layer).span()) ASSERT_TRUE(std::isnan(x));
    for (const float x : storage.values(layer).span()) ASSERT_TRUE(std::isnan(x));
    storage.keys(layer)(1, 2, 1, 3) = static_cast<float>(layer);
    storage.values(layer)(1, 2, 1, 3) = static_cast<float>(10 + layer);
  }
  const KvBlockStorage& read = storage;
  for (int layer = 0; layer < kConfig.n_layers; ++layer) {
    EXPECT_EQ(read.keys(layer)(1, 2, 1, 3), static_cast<float>(layer));
    EXPECT_EQ(read.values(layer)(1, 2, 1, 3), static_cast<float>(10 + layer));
  }
}

TEST(KvBlockStorage, RejectsWhatCannotBe) {
  for (int kit::PagedKvConfig::*field :
       {&kit::PagedKvConfig::n_layers, &kit::PagedKvConfig::n_kv_heads, &kit::PagedKvConfig::head_dim,
        &kit::PagedKvConfig::block_size, &kit::PagedKvConfig::n_blocks}) {
    kit::PagedKvConfig config = kConfig;
    config.*field = -77;
    EXPECT_TRUE(throws_error([&] { const KvBlockStorage storage(config); }, "-77"));
    config.*field = 0;
    EXPECT_TRUE(throws_error([&] { const KvBlockStorage storage(config); }));
  }
  KvBlockStorage storage(kConfig);
  for (const int layer : {-1, 3}) {
    EXPECT_TRUE(throws_error([&] { (void)storage.keys(layer); }, std::to_string(layer)));
    EXPECT_TRUE(throws_error([&] { (void)std::as_const(storage).values(layer); }, std::to_string(layer)));
  }
}

TEST(PagedSequence, HoldsWhatAContiguousCacheHolds) {
  kit::Rng rng = kit::testing::make_rng(1);
  KvBlockStorage storage(kConfig);
  ScriptedCache cache;
  cache.table = {5, 0, 3, 6};
  PagedSequence paged(cache, 0, storage);
  EXPECT_EQ(paged.config().max_len, 28);
  EXPECT_EQ(paged.config().n_layers, 3);
  const auto contiguous = contiguous_cache();
  for (const int n : {3, 1, 0, 6, 5}) {
    append(paged, *contiguous, n, rng);
    expect_same(paged, *contiguous);
  }
  EXPECT_EQ(paged.block_table(), cache.table);
}

TEST(PagedSequence, CopiesInEveryLayerBeforeItWrites) {
  kit::Rng rng = kit::testing::make_rng(2);
  KvBlockStorage storage(kConfig);
  ScriptedCache cache;
  cache.table = {2, 4};
  PagedSequence paged(cache, 0, storage);
  const auto contiguous = contiguous_cache();
  append(paged, *contiguous, 6, rng);
  const Tensor<float> before = kit::clone(std::as_const(storage).keys(2));
  cache.copies = {{.from = 4, .to = 1}};
  cache.table_behind_copies = {2, 1};
  append(paged, *contiguous, 2, rng);
  expect_same(paged, *contiguous);
  EXPECT_EQ(paged.block_table(), (std::vector<int>{2, 1}));
  // The block that somebody else reads is as it was: its first row of places 0 to 3 (NaN where nothing was).
  const std::int64_t size = 4 * 2 * 5;
  for (std::int64_t i = 4 * size; i < 4 * size + 2 * 2 * 5; ++i)
    EXPECT_EQ(storage.keys(2).data()[i], before.data()[i]);
  for (std::int64_t i = 4 * size + 2 * 2 * 5; i < 5 * size; ++i)
    EXPECT_TRUE(std::isnan(storage.keys(2).data()[i]));
}

TEST(PagedSequence, ContinuesAPrefix) {
  kit::Rng rng = kit::testing::make_rng(3);
  KvBlockStorage storage(kConfig);
  ScriptedCache cache;
  cache.table = {6, 1, 2};
  const auto contiguous = contiguous_cache();
  PagedSequence first(cache, 0, storage);
  append(first, *contiguous, 8, rng);
  PagedSequence second(cache, 0, storage);
  expect_same(second, *contiguous);
  append(second, *contiguous, 3, rng);
  expect_same(second, *contiguous);
}

TEST(PagedSequence, RunsAModel) {
  kit::ModelConfig config;
  config.vocab_size = 61;
  config.dim = 20;
  config.hidden_dim = 24;
  config.n_layers = kConfig.n_layers;
  config.n_heads = 4;
  config.n_kv_heads = kConfig.n_kv_heads;
  config.head_dim = 6;
  config.max_seq_len = 24;
  kit::Rng rng = kit::testing::make_rng(4);
  auto weights = std::make_shared<kit::LlamaWeights>(kit::random_llama_weights(config, rng));
  const auto model = kit::make_llama(config, std::move(weights), kit::reference_attention_ops());
  kit::PagedKvConfig paged_config = kConfig;
  paged_config.head_dim = config.head_dim;
  paged_config.n_blocks = 6;
  KvBlockStorage storage(paged_config);
  ScriptedCache cache;
  cache.table = {5, 0, 3, 4};
  PagedSequence paged(cache, 0, storage);
  const auto contiguous = kit::make_reference_kv_cache(config.kv_cache_config(24));
  for (const std::vector<int>& tokens :
       {std::vector{7, 60, 3, 3, 11}, std::vector{9}, std::vector{1, 2, 30}}) {
    EXPECT_TRUE(matches(model->forward(tokens, paged), model->forward(tokens, *contiguous), kExact));
  }
}

TEST(PagedSequence, RejectsBadInputAndStaysAsItWas) {
  kit::Rng rng = kit::testing::make_rng(5);
  KvBlockStorage storage(kConfig);
  ScriptedCache cache;
  cache.table = {5, 0, 3, 6};
  PagedSequence paged(cache, 0, storage);
  const auto contiguous = contiguous_cache();
  append(paged, *contiguous, 5, rng);
  const auto refuses = [&](int layer, const Shape& k, const Shape& v) {
    return throws_error([&] { paged.append(layer, Tensor<float>(k), Tensor<float>(v)); });
  };
  EXPECT_TRUE(refuses(3, {1, 2, 5}, {1, 2, 5})) << "layer 3 of 3";
  EXPECT_TRUE(refuses(-1, {1, 2, 5}, {1, 2, 5}));
  EXPECT_TRUE(refuses(0, {1, 2, 4}, {1, 2, 4})) << "head_dim 4";
  EXPECT_TRUE(refuses(0, {1, 2, 5}, {2, 2, 5})) << "1 key, 2 values";
  EXPECT_TRUE(refuses(0, {1, 10}, {1, 10})) << "rank 2";
  EXPECT_TRUE(refuses(1, {1, 2, 5}, {1, 2, 5})) << "layer 1 before layer 0";
  EXPECT_TRUE(throws_error([&] { (void)paged.length(3); }));
  EXPECT_TRUE(throws_error([&] { (void)paged.keys(-1); }));
  EXPECT_TRUE(throws_error([&] { paged.reset(); }, "freed"));
  EXPECT_TRUE(throws_error([&] { paged.truncate(0); }, "cannot forget its tail"));
  expect_same(paged, *contiguous);
  EXPECT_EQ(cache.len, 5);
  // Layer 1 cannot skip what layer 0 was given.
  const Tensor<float> one({1, 2, 5});
  paged.append(0, one, one);
  paged.append(0, one, one);
  EXPECT_TRUE(refuses(1, {1, 2, 5}, {1, 2, 5})) << "layer 0 is two tokens ahead";
}

TEST(PagedSequence, TrustsNoCache) {
  KvBlockStorage storage(kConfig);
  const Tensor<float> tokens({2, 2, 5});
  const auto append_with = [&](const std::function<void(ScriptedCache&)>& change) {
    ScriptedCache cache;
    cache.table = {5, 0};
    PagedSequence paged(cache, 0, storage);
    change(cache);
    return throws_error([&] {
      paged.append(0, tokens, tokens);
      (void)paged.keys(0);
    });
  };
  EXPECT_TRUE(append_with([](ScriptedCache& c) { c.slot_shift = 8; })) << "slot 28 of 28";
  EXPECT_TRUE(append_with([](ScriptedCache& c) { c.slot_shift = -21; })) << "slot -1";
  EXPECT_TRUE(append_with([](ScriptedCache& c) { c.slots_missing = 1; })) << "1 slot for 2 tokens";
  EXPECT_TRUE(append_with([](ScriptedCache& c) { c.copies = {{.from = 7, .to = 0}}; }))
      << "a copy of block 7";
  EXPECT_TRUE(append_with([](ScriptedCache& c) { c.copies = {{.from = 0, .to = -1}}; })) << "a copy to -1";
  EXPECT_TRUE(append_with([](ScriptedCache& c) { c.len = 3; })) << "tokens that came from elsewhere";

  ScriptedCache cache;
  cache.len = 29;
  EXPECT_TRUE(throws_error([&] { const PagedSequence paged(cache, 0, storage); }, "29")) << "28 slots";
  cache.len = -1;
  EXPECT_TRUE(throws_error([&] { const PagedSequence paged(cache, 0, storage); }, "-1"));
  cache.len = 5;
  for (const std::vector<int>& table : {std::vector{1}, std::vector{1, 7}, std::vector{1, -1}}) {
    cache.table = table;
    const PagedSequence paged(cache, 0, storage);
    EXPECT_TRUE(throws_error([&] { (void)paged.keys(0); })) << "position 4 has no block";
  }
}

TEST(PagedSequence, RejectsStorageOfAnotherBlockSize) {
  kit::PagedKvConfig config = kConfig;
  config.block_size = 8;
  KvBlockStorage storage(config);
  ScriptedCache cache;
  EXPECT_TRUE(throws_error([&] { const PagedSequence paged(cache, 0, storage); }, "8"));
}

}  // namespace
