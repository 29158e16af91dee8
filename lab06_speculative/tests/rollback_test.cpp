#include "lab06/rollback.h"

#include <gtest/gtest.h>

#include <fmt/format.h>

#include "kit/llama.h"
#include "kit/reference.h"
#include "kit/testing.h"
#include "reference_round.h"

// Task 4: a contiguous cache that forgets its tail, and blocks that go back.

namespace {

using kit::KvCacheConfig;
using kit::Rng;
using kit::Tensor;
using kit::TensorView;
using kit::testing::make_rng;
using kit::testing::throws_error;
using lab06::make_contiguous_cache;
using lab06::RolledBackTable;
using lab06_tests::to_text;

constexpr KvCacheConfig kConfig{.n_layers = 3, .n_kv_heads = 2, .head_dim = 5, .max_len = 33};

/// A number that belongs to this place alone, and to this generation of tokens.
float place(int layer, int pos, int element, int generation) {
  return static_cast<float>(generation * 100000 + layer * 10000 + pos * 20 + element);
}

Tensor<float> rows(const KvCacheConfig& c, int layer, int first_pos, int n, int generation) {
  Tensor<float> x({n, c.n_kv_heads, c.head_dim});
  const int size = c.n_kv_heads * c.head_dim;
  for (int i = 0; i < n * size; ++i)
    x.span()[static_cast<std::size_t>(i)] = place(layer, first_pos + i / size, i % size, generation);
  return x;
}

Tensor<float> negated(const Tensor<float>& x) {
  Tensor<float> y = clone(x.view());
  for (float& value : y.span()) value = -value;
  return y;
}

/// n tokens more in `layer`; values are the keys' negatives.
void append(kit::KvCache& cache, int layer, int n, int generation) {
  const Tensor<float> k = rows(cache.config(), layer, cache.length(layer), n, generation);
  cache.append(layer, k, negated(k));
}

void append_all(kit::KvCache& cache, int n, int generation) {
  for (int layer = 0; layer < cache.config().n_layers; ++layer) append(cache, layer, n, generation);
}

/// The layer holds the first `n_old` tokens of generation 1, then those of generation 2.
testing::AssertionResult holds(const kit::KvCache& cache, const KvCacheConfig& c, int layer, int n_old,
                               int n) {
  if (cache.length(layer) != n) {
    return testing::AssertionFailure()
           << "layer " << layer << " holds " << cache.length(layer) << " tokens, expected " << n;
  }
  Tensor<float> expected({n, c.n_kv_heads, c.head_dim});
  const std::int64_t size = std::int64_t{c.n_kv_heads} * c.head_dim;
  const Tensor<float> old_rows = rows(c, layer, 0, n_old, 1);
  const Tensor<float> new_rows = rows(c, layer, n_old, n - n_old, 2);
  std::ranges::copy(old_rows.span(), expected.data());
  std::ranges::copy(new_rows.span(), expected.data() + n_old * size);
  const auto keys = kit::testing::matches(cache.keys(layer), expected, {});
  if (!keys) return testing::AssertionFailure() << "keys of layer " << layer << ": " << keys.message();
  const auto values = kit::testing::matches(cache.values(layer), negated(expected), {});
  if (!values) return testing::AssertionFailure() << "values of layer " << layer << ": " << values.message();
  return testing::AssertionSuccess();
}

TEST(ContiguousCache, HoldsWhatWasAppended) {
  const auto cache = make_contiguous_cache(kConfig);
  ASSERT_NE(cache, nullptr);
  EXPECT_EQ(cache->config().max_len, 33);
  append_all(*cache, 17, 1);
  append_all(*cache, 0, 1);
  append_all(*cache, 1, 1);
  for (int layer = 0; layer < 3; ++layer) EXPECT_TRUE(holds(*cache, kConfig, layer, 18, 18));
}

TEST(ContiguousCache, ForgetsItsTail) {
  for (const int length : {0, 1, 12, 16, 17}) {
    const auto cache = make_contiguous_cache(kConfig);
    append_all(*cache, 17, 1);
    cache->truncate(length);
    for (int layer = 0; layer < 3; ++layer) EXPECT_TRUE(holds(*cache, kConfig, layer, length, length));
  }
}

TEST(ContiguousCache, NewTokensTakeTheForgottenPositions) {
  const auto cache = make_contiguous_cache(kConfig);
  append_all(*cache, 20, 1);
  cache->truncate(11);
  append_all(*cache, 4, 2);
  for (int layer = 0; layer < 3; ++layer) EXPECT_TRUE(holds(*cache, kConfig, layer, 11, 15));
  cache->truncate(11);
  append_all(*cache, 22, 2);  // to the last place
  for (int layer = 0; layer < 3; ++layer) EXPECT_TRUE(holds(*cache, kConfig, layer, 11, 33));
  EXPECT_TRUE(throws_error([&] { append(*cache, 0, 1, 2); })) << "it is full";
}

TEST(ContiguousCache, AForgottenTailFreesItsRoom) {
  const auto cache = make_contiguous_cache(kConfig);
  append_all(*cache, 30, 1);
  EXPECT_TRUE(throws_error([&] { append(*cache, 1, 4, 1); }, "33"));
  cache->truncate(29);
  EXPECT_FALSE(throws_error([&] { append_all(*cache, 4, 2); })) << "29 + 4 tokens fit into 33";
  for (int layer = 0; layer < 3; ++layer) EXPECT_TRUE(holds(*cache, kConfig, layer, 29, 33));
}

TEST(ContiguousCache, ShorterLayersStayAsTheyAre) {
  // As after a forward pass that failed half way.
  const auto cache = make_contiguous_cache(kConfig);
  append_all(*cache, 6, 1);
  append(*cache, 0, 5, 1);
  cache->truncate(8);
  EXPECT_TRUE(holds(*cache, kConfig, 0, 8, 8));
  EXPECT_TRUE(holds(*cache, kConfig, 1, 6, 6));
  cache->truncate(6);
  for (int layer = 0; layer < 3; ++layer) EXPECT_TRUE(holds(*cache, kConfig, layer, 6, 6));
}

TEST(ContiguousCache, ResetForgetsEverything) {
  const auto cache = make_contiguous_cache(kConfig);
  append_all(*cache, 9, 1);
  cache->reset();
  for (int layer = 0; layer < 3; ++layer) EXPECT_EQ(cache->length(layer), 0);
  append_all(*cache, 2, 2);
  for (int layer = 0; layer < 3; ++layer) EXPECT_TRUE(holds(*cache, kConfig, layer, 0, 2));
}

TEST(ContiguousCache, RejectsWhatCannotBe) {
  for (int KvCacheConfig::*field : {&KvCacheConfig::n_layers, &KvCacheConfig::n_kv_heads,
                                    &KvCacheConfig::head_dim, &KvCacheConfig::max_len}) {
    KvCacheConfig config = kConfig;
    config.*field = 0;
    EXPECT_TRUE(throws_error([&] { make_contiguous_cache(config); }, "0"));
  }
  const auto cache = make_contiguous_cache(kConfig);
  append_all(*cache, 7, 1);
  EXPECT_TRUE(throws_error([&] { cache->truncate(-1); }, "-1"));
  EXPECT_TRUE(throws_error([&] { cache->truncate(8); }, "8")) << "it cannot become longer";
  EXPECT_TRUE(throws_error([&] { static_cast<void>(cache->length(3)); }, "3"));
  EXPECT_TRUE(throws_error([&] { static_cast<void>(cache->keys(-1)); }, "-1"));
  const Tensor<float> two({2, 2, 5}, 1.0F);
  const Tensor<float> three({3, 2, 5}, 1.0F);
  const Tensor<float> narrow({2, 2, 4}, 1.0F);
  EXPECT_TRUE(throws_error([&] { cache->append(0, two, three); }));
  EXPECT_TRUE(throws_error([&] { cache->append(0, narrow, narrow); }));
  for (int layer = 0; layer < 3; ++layer) {
    EXPECT_TRUE(holds(*cache, kConfig, layer, 7, 7)) << "what was refused changes nothing";
  }
}

TEST(ContiguousCache, AModelGoesOnAtTheRightPositions) {
  kit::ModelConfig config;
  config.vocab_size = 53;
  config.dim = 16;
  config.hidden_dim = 24;
  config.n_layers = 2;
  config.n_heads = 4;
  config.n_kv_heads = 2;
  config.head_dim = 4;
  config.max_seq_len = 32;
  Rng rng = make_rng(4100);
  const auto model = kit::make_llama(
      config, std::make_shared<const kit::LlamaWeights>(kit::random_llama_weights(config, rng)),
      kit::reference_attention_ops());
  const std::vector<int> text = {7, 30, 2, 51, 17, 5, 44, 23};
  const std::vector<int> drafted = {7, 30, 2, 9, 8, 52};  // three right, three rejected
  const auto cache = make_contiguous_cache(config.kv_cache_config(16));
  const auto expected_cache = kit::make_reference_kv_cache(config.kv_cache_config(16));
  model->forward(drafted, *cache);
  cache->truncate(3);
  model->forward(std::span(text).first(3), *expected_cache);
  const auto rest = std::span(text).subspan(3);
  const Tensor<float> got = model->forward(rest, *cache, kit::Logits::kAll);
  const Tensor<float> expected = model->forward(rest, *expected_cache, kit::Logits::kAll);
  // The classic mistake: the rejected tokens are still there.
  const auto stale = kit::make_reference_kv_cache(config.kv_cache_config(16));
  model->forward(drafted, *stale);
  const std::vector<kit::KnownMistake> mistakes = {
      {"a cache in which the rejected tokens still stand: positions are off by their number",
       model->forward(rest, *stale, kit::Logits::kAll)}};
  // The same model, tokens and positions; the prompt was split in another way, so float rounding of logits
  // near 1.
  EXPECT_TRUE(kit::testing::matches(got, expected, {.absolute = 1e-4, .relative = 0}, mistakes));
}

// --- Blocks
// ---------------------------------------------------------------------------------------------------------

/// n blocks in a random order, so that a table is not 0, 1, 2, ...
std::vector<int> random_table(kit::BlockAllocator& allocator, int n, Rng& rng) {
  std::vector<int> blocks = allocator.allocate(n);
  for (std::size_t i = blocks.size(); i > 1; --i)
    std::swap(blocks[i - 1], blocks[rng.below(static_cast<std::uint32_t>(i))]);
  return blocks;
}

std::vector<int> ref_counts(const kit::BlockAllocator& allocator) {
  std::vector<int> counts;
  for (int block = 0; block < allocator.n_blocks(); ++block) counts.push_back(allocator.ref_count(block));
  return counts;
}

int blocks_for(int n_tokens, int block_size) {
  return (n_tokens + block_size - 1) / block_size;
}

/// Rolls back, and holds result and users of every block against the definition.
void expect_rolled_back(int block_size, int context_len, int length) {
  SCOPED_TRACE(fmt::format("blocks of {}, {} tokens back to {}", block_size, context_len, length));
  Rng rng = make_rng(4200);
  const auto allocator = kit::make_reference_block_allocator(64);
  const std::vector<int> others = random_table(*allocator, 5, rng);
  const std::vector<int> table = random_table(*allocator, blocks_for(context_len, block_size), rng);
  std::vector<int> expected_counts = ref_counts(*allocator);
  const int n_kept = blocks_for(length, block_size);
  for (std::size_t i = static_cast<std::size_t>(n_kept); i < table.size(); ++i) {
    --expected_counts[static_cast<std::size_t>(table[i])];
  }
  const RolledBackTable got = lab06::rollback_blocks(table, block_size, context_len, length, *allocator);
  EXPECT_EQ(got.block_table, (std::vector<int>(table.begin(), table.begin() + n_kept)));
  EXPECT_FALSE(got.tail_is_shared);
  const int n_free = static_cast<int>(std::ranges::count(expected_counts, 0));
  EXPECT_EQ(ref_counts(*allocator), expected_counts)
      << (allocator->n_free() < n_free
              ? "Likely cause: blocks leaked: nobody needs them, and nobody gave them back"
              : "blocks that are still needed were given back");
}

TEST(RollbackBlocks, BlocksThatNoTokenNeedsGoBack) {
  expect_rolled_back(4, 19, 13);
  expect_rolled_back(4, 19, 12);
  expect_rolled_back(4, 19, 1);
  expect_rolled_back(4, 20, 0);
  expect_rolled_back(1, 7, 3);
}

TEST(RollbackBlocks, EveryLengthOfEverySize) {
  for (const int block_size : {1, 3, 16}) {
    for (const int context_len : {0, 1, 15, 16, 33}) {
      for (int length = 0; length <= context_len; ++length) {
        expect_rolled_back(block_size, context_len, length);
        if (HasFailure()) return;
      }
    }
  }
}

TEST(RollbackBlocks, ABlockThatOthersUseStaysTheirs) {
  Rng rng = make_rng(4300);
  const auto allocator = kit::make_reference_block_allocator(16);
  const std::vector<int> table = random_table(*allocator, 5, rng);
  for (const int block : table) allocator->share(block);  // a fork: all blocks have two users
  allocator->share(table[4]);
  const RolledBackTable got = lab06::rollback_blocks(table, 4, 18, 8, *allocator);
  EXPECT_EQ(got.block_table, (std::vector<int>{table[0], table[1]}));
  EXPECT_FALSE(got.tail_is_shared) << "the next token begins a block of its own";
  const int expected[] = {2, 2, 1, 1, 2};
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(allocator->ref_count(table[i]), expected[i])
        << "block " << i
        << " of the table; a roll back takes one user away, its own, and only from blocks that go";
  }
  EXPECT_EQ(allocator->n_free(), 11) << "a shared block was freed: another sequence still reads it";
}

TEST(RollbackBlocks, SaysWhenTheLastBlockIsShared) {
  Rng rng = make_rng(4400);
  const auto allocator = kit::make_reference_block_allocator(16);
  const std::vector<int> table = random_table(*allocator, 4, rng);
  allocator->share(table[1]);
  const auto roll_back = [&](int length) {
    // Each try with users as before.
    const std::vector<int> before = ref_counts(*allocator);
    const RolledBackTable got = lab06::rollback_blocks(table, 4, 16, length, *allocator);
    EXPECT_EQ(std::ssize(got.block_table), blocks_for(length, 4));
    allocator->allocate(allocator->n_free());
    for (int block = 0; block < 16; ++block) {
      while (allocator->ref_count(block) > before[static_cast<std::size_t>(block)]) allocator->release(block);
      while (allocator->ref_count(block) < before[static_cast<std::size_t>(block)]) allocator->share(block);
    }
    return got.tail_is_shared;
  };
  EXPECT_TRUE(roll_back(5)) << "token 5 would be written into a block that another sequence reads";
  EXPECT_TRUE(roll_back(7));
  EXPECT_FALSE(roll_back(8)) << "the last block is full: the next token begins a new one";
  EXPECT_FALSE(roll_back(9)) << "the shared block is not the last";
  EXPECT_FALSE(roll_back(4)) << "the shared block went back";
  EXPECT_FALSE(roll_back(3));
  EXPECT_FALSE(roll_back(0));
}

TEST(RollbackBlocks, RejectsWhatCannotBe) {
  const auto allocator = kit::make_reference_block_allocator(8);
  const std::vector<int> table = allocator->allocate(3);
  const std::vector<int> before = ref_counts(*allocator);
  const auto refused = [&](std::vector<int> blocks, int block_size, int context_len, int length,
                           const char* needle) {
    return throws_error([&] { lab06::rollback_blocks(blocks, block_size, context_len, length, *allocator); },
                        needle);
  };
  EXPECT_TRUE(refused(table, 0, 10, 5, "0"));
  EXPECT_TRUE(refused(table, 4, 10, -1, "-1"));
  EXPECT_TRUE(refused(table, 4, 10, 11, "11"));
  EXPECT_TRUE(refused(table, 4, 13, 5, "13")) << "13 tokens need 4 blocks";
  EXPECT_TRUE(refused(table, 4, 8, 5, "8")) << "8 tokens need 2 blocks";
  EXPECT_TRUE(refused({table[0], 7, table[2]}, 4, 10, 2, "7")) << "block 7 is free";
  EXPECT_TRUE(refused({table[0], table[1], 8}, 4, 10, 2, "8")) << "there is no block 8";
  EXPECT_EQ(ref_counts(*allocator), before) << "nothing is released by a call that fails";
}

}  // namespace
