#include "lab02/kv_memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "kit/model_table.h"
#include "kit/testing.h"

namespace {

using kit::ModelConfig;
using kit::NumberFormat;
using kit::testing::KnownCount;
using kit::testing::matches_count;
using kit::testing::throws_error;
using lab02::HeadSharing;
using Lengths = std::vector<std::int64_t>;

using enum kit::NumberFormat;
using enum lab02::HeadSharing;

constexpr std::int64_t kGibibyte = std::int64_t{1} << 30;
constexpr std::int64_t kHuge = std::numeric_limits<std::int64_t>::max();

int between(kit::Rng& rng, int low, int high) {
  return low + static_cast<int>(rng.below(static_cast<std::uint32_t>(high - low + 1)));
}

const char* name(HeadSharing sharing) {
  return sharing == kMultiHead ? "MHA" : sharing == kGrouped ? "GQA" : "MQA";
}

std::int64_t kv_heads(const ModelConfig& m, HeadSharing sharing) {
  return sharing == kMultiHead ? m.n_heads : sharing == kGrouped ? m.n_kv_heads : 1;
}

/// Sizes in tests are such that nothing here overflows, unless a test is about that.
std::int64_t reference_bytes(const ModelConfig& m, HeadSharing sharing, NumberFormat format) {
  return (2 * m.n_layers * kv_heads(m, sharing) * m.head_dim * kit::bits(format) + 7) / 8;
}

std::vector<KnownCount> byte_mistakes(const ModelConfig& m, HeadSharing sharing, NumberFormat format) {
  const std::int64_t right = reference_bytes(m, sharing, format);
  const std::int64_t n_numbers = 2 * m.n_layers * kv_heads(m, sharing) * m.head_dim;
  return {
      {"n_heads where the model has n_kv_heads: query heads of a group share one key and value",
       reference_bytes(m, kMultiHead, format)},
      {"n_kv_heads, whatever way of sharing is asked for", reference_bytes(m, kGrouped, format)},
      {"keys without values, or values without keys: both are kept", right / 2},
      {"bits taken for bytes: kit::bits() is 8 times the bytes of a number", n_numbers * kit::bits(format)},
      {"a byte for every int4 number", n_numbers},
      {"the bytes of an int4 as 4 / 8 = 0 in integer arithmetic", n_numbers * (kit::bits(format) / 8)},
      {"one layer: every layer has keys and values of its own", right / m.n_layers},
  };
}

void expect_bytes(const ModelConfig& m, HeadSharing sharing, NumberFormat format) {
  SCOPED_TRACE(fmt::format("{}, {}, n_layers {}, n_heads {}, n_kv_heads {}, head_dim {}", name(sharing),
                           kit::name(format), m.n_layers, m.n_heads, m.n_kv_heads, m.head_dim));
  EXPECT_TRUE(matches_count(lab02::kv_bytes_per_token(m, sharing, format),
                            reference_bytes(m, sharing, format), byte_mistakes(m, sharing, format)));
}

ModelConfig llama(const char* which) {
  return kit::find_model(which).config;
}

TEST(KvMemory, EveryWayOfSharingAndEveryFormat) {
  kit::Rng rng = kit::testing::make_rng(280);
  for (const HeadSharing sharing : {kMultiHead, kGrouped, kMultiQuery}) {
    for (const NumberFormat format : {kFp32, kFp16, kBf16, kFp8, kInt8, kInt4}) {
      ModelConfig m = llama("llama2-70b");
      m.n_layers = between(rng, 2, 90);
      m.n_kv_heads = between(rng, 2, 9);
      m.n_heads = m.n_kv_heads * between(rng, 2, 8);
      m.head_dim = 2 * between(rng, 8, 128);
      m.dim = m.n_heads * m.head_dim;
      expect_bytes(m, sharing, format);
    }
  }
}

TEST(KvMemory, KnownModels) {
  EXPECT_EQ(lab02::kv_bytes_per_token(llama("llama2-7b"), kGrouped, kFp16), 524'288);
  EXPECT_EQ(lab02::kv_bytes_per_token(llama("llama2-13b"), kGrouped, kFp16), 819'200);
  EXPECT_EQ(lab02::kv_bytes_per_token(llama("llama2-70b"), kGrouped, kFp16), 327'680)
      << "less a token than the 7B model: 8 of 64 heads";
  EXPECT_EQ(lab02::kv_bytes_per_token(llama("target"), kGrouped, kFp32), 6'144) << "this kit's target";
}

TEST(KvMemory, SixteenSequencesOf4096TokensOfLlama70B) {
  // 2 * 16 * 4096 * 80 * 8 * 128 * 2 = 21,474,836,480 bytes = 20 GiB; often printed as 16 GB.
  const ModelConfig m = llama("llama2-70b");
  const auto gib = [&](HeadSharing sharing, NumberFormat format) {
    expect_bytes(m, sharing, format);
    return static_cast<double>(16 * 4096 * lab02::kv_bytes_per_token(m, sharing, format)) / kGibibyte;
  };
  EXPECT_EQ(gib(kGrouped, kFp16), 20.0);
  EXPECT_EQ(gib(kMultiHead, kFp16), 160.0) << "64 heads instead of 8";
  EXPECT_EQ(gib(kMultiQuery, kFp16), 2.5);
  EXPECT_EQ(gib(kGrouped, kInt8), 10.0);
  EXPECT_EQ(gib(kGrouped, kFp8), 10.0);
  EXPECT_EQ(gib(kGrouped, kInt4), 5.0);
  EXPECT_EQ(gib(kGrouped, kFp32), 40.0);
}

TEST(KvMemory, Int4IsHalfAByte) {
  ModelConfig m = llama("llama2-70b");
  m.n_layers = 31;
  for (const int head_dim : {2, 34, 128}) {
    m.head_dim = head_dim;
    for (const HeadSharing sharing : {kMultiHead, kGrouped, kMultiQuery}) expect_bytes(m, sharing, kInt4);
  }
}

TEST(KvMemory, RejectsModelsThatCannotBe) {
  const auto refuses = [](int ModelConfig::*count, int value) {
    ModelConfig m = llama("llama2-70b");
    m.*count = value;
    return throws_error([&] { (void)lab02::kv_bytes_per_token(m, kGrouped, kFp16); }, std::to_string(value));
  };
  for (const int value : {0, -77}) {
    EXPECT_TRUE(refuses(&ModelConfig::n_layers, value)) << "n_layers " << value;
    EXPECT_TRUE(refuses(&ModelConfig::n_kv_heads, value)) << "n_kv_heads " << value;
    EXPECT_TRUE(refuses(&ModelConfig::head_dim, value)) << "head_dim " << value;
  }
  ModelConfig m = llama("llama2-70b");
  m.n_heads = -77;
  EXPECT_TRUE(throws_error([&] { (void)lab02::kv_bytes_per_token(m, kMultiHead, kFp16); }, "-77"));
}

TEST(KvMemory, LargeProductsAreRightOrRefused) {
  ModelConfig m = llama("llama2-70b");
  m.n_layers = 30'000;
  m.head_dim = 128 * 1024;
  constexpr std::int64_t kBytes = 125'829'120'000;
  EXPECT_TRUE(matches_count(
      lab02::kv_bytes_per_token(m, kGrouped, kFp16), kBytes,
      std::vector<KnownCount>{{"a product that overflowed 32 bits", static_cast<std::int32_t>(kBytes)}}))
      << "30,000 layers, 8 kv heads of 131,072";
  m.n_layers = std::numeric_limits<int>::max();
  m.head_dim = std::numeric_limits<int>::max();
  EXPECT_TRUE(throws_error([&] { (void)lab02::kv_bytes_per_token(m, kGrouped, kFp16); }))
      << "2 * (2^31 - 1)^2 * 8 * 2 bytes do not fit 64 bits";
}

TEST(KvMemory, ContiguousReservesTheLongest) {
  const std::int64_t bytes = 327'680;  // LLaMA-2-70B: 1.25 GiB for 4096 tokens
  const auto expect = [](std::int64_t bytes_per_token, std::int64_t max_len, std::int64_t budget) {
    const std::int64_t one = bytes_per_token * max_len;
    EXPECT_TRUE(matches_count(
        lab02::max_sequences_contiguous(bytes_per_token, max_len, budget), budget / one,
        std::vector<KnownCount>{{"a last sequence that fits only in part: round down", budget / one + 1},
                                {"tokens where sequences are asked for", budget / bytes_per_token}}))
        << bytes_per_token << " bytes a token, max_len " << max_len << ", " << budget << " bytes";
  };
  expect(bytes, 4096, 20 * kGibibyte);
  expect(bytes, 4096, 20 * kGibibyte - 1);
  expect(bytes, 4096, 20 * kGibibyte + 1);
  expect(bytes, 4096, kGibibyte);
  expect(bytes, 33, 1000 * bytes);
  expect(1, 1, 0);
  // What one sequence needs does not fit 64 bits, so none fits the memory.
  EXPECT_EQ(lab02::max_sequences_contiguous(std::int64_t{1} << 40, std::int64_t{1} << 40, kHuge), 0)
      << "Likely cause: bytes_per_token * max_len overflows: divide twice instead";
  EXPECT_EQ(lab02::max_sequences_contiguous(std::int64_t{3} << 30, std::int64_t{1} << 31, kHuge), 1)
      << "Likely cause: bytes_per_token * max_len overflows: divide twice instead";
}

TEST(KvMemory, BlocksInABudget) {
  EXPECT_EQ(lab02::blocks_in_budget(327'680, 16, 20 * kGibibyte), 4096);
  EXPECT_EQ(lab02::blocks_in_budget(327'680, 16, 20 * kGibibyte - 1), 4095) << "a part of a block is none";
  EXPECT_EQ(lab02::blocks_in_budget(100, 33, 3300 * 7 + 3299), 7);
  EXPECT_EQ(lab02::blocks_in_budget(100, 33, 3299), 0);
  EXPECT_EQ(lab02::blocks_in_budget(1, 1, 0), 0);
  EXPECT_EQ(lab02::blocks_in_budget(1, 1, kHuge), kHuge);
  EXPECT_EQ(lab02::blocks_in_budget(std::int64_t{1} << 40, std::int64_t{1} << 40, kHuge), 0)
      << "Likely cause: bytes_per_token * block_size overflows: divide twice instead";
}

TEST(KvMemory, RejectsBudgetsThatCannotBe) {
  const auto contiguous = [](std::int64_t a, std::int64_t b, std::int64_t c, const char* needle) {
    return throws_error([&] { (void)lab02::max_sequences_contiguous(a, b, c); }, needle);
  };
  const auto blocks = [](std::int64_t a, std::int64_t b, std::int64_t c, const char* needle) {
    return throws_error([&] { (void)lab02::blocks_in_budget(a, b, c); }, needle);
  };
  for (const auto& refuses : {+contiguous, +blocks}) {
    EXPECT_TRUE(refuses(0, 16, 1000, "0")) << "bytes_per_token 0";
    EXPECT_TRUE(refuses(-77, 16, 1000, "-77")) << "bytes_per_token -77";
    EXPECT_TRUE(refuses(10, 0, 1000, "0")) << "max_len or block_size 0";
    EXPECT_TRUE(refuses(10, -77, 1000, "-77")) << "max_len or block_size -77";
    EXPECT_TRUE(refuses(10, 16, -77, "-77")) << "budget_bytes -77";
  }
}

/// Sequences in order until one does not fit; `need` says how many blocks the first n take together.
template <class Need>
std::int64_t count_until_full(std::size_t n_sequences, std::int64_t n_blocks, const Need& need) {
  std::int64_t n = 0;
  while (n < static_cast<std::int64_t>(n_sequences) && need(static_cast<std::size_t>(n + 1)) <= n_blocks) ++n;
  return n;
}

template <class Blocks>
std::int64_t sum(const Lengths& lens, std::size_t n, const Blocks& blocks) {
  std::int64_t total = 0;
  for (std::size_t i = 0; i < n; ++i) total += blocks(lens[i]);
  return total;
}

std::int64_t up(std::int64_t len, std::int64_t block_size) {
  return (len + block_size - 1) / block_size;
}

std::int64_t reference_paged(const Lengths& lens, std::int64_t block_size, std::int64_t n_blocks) {
  return count_until_full(lens.size(), n_blocks, [&](std::size_t n) {
    return sum(lens, n, [&](std::int64_t len) { return up(len, block_size); });
  });
}

std::int64_t reference_shared(const Lengths& lens, std::int64_t shared_len, std::int64_t block_size,
                              std::int64_t n_blocks) {
  return count_until_full(lens.size(), n_blocks, [&](std::size_t n) {
    std::int64_t common = 0;
    for (std::size_t i = 0; i < n; ++i) common = std::max(common, std::min(lens[i], shared_len) / block_size);
    return common + sum(lens, n, [&](std::int64_t len) {
             return up(len, block_size) - std::min(len, shared_len) / block_size;
           });
  });
}

std::vector<KnownCount> paged_mistakes(const Lengths& lens, std::int64_t block_size, std::int64_t n_blocks) {
  const auto with = [&](const auto& blocks) {
    return count_until_full(lens.size(), n_blocks, [&](std::size_t n) { return sum(lens, n, blocks); });
  };
  const std::int64_t right = reference_paged(lens, block_size, n_blocks);
  std::int64_t skipping = 0;
  std::int64_t left = n_blocks;
  for (const std::int64_t len : lens) {
    if (up(len, block_size) > left) continue;
    left -= up(len, block_size);
    ++skipping;
  }
  return {{"blocks rounded down: a sequence of block_size + 1 tokens needs two",
           with([&](std::int64_t len) { return len / block_size; })},
          {"a block more than needed when a length is an exact multiple of block_size",
           with([&](std::int64_t len) { return len / block_size + 1; })},
          {"the tokens of all sequences rounded up together: blocks are not shared, each rounds on its own",
           count_until_full(lens.size(), n_blocks,
                            [&](std::size_t n) {
                              return up(sum(lens, n, [](std::int64_t len) { return len; }), block_size);
                            })},
          {"sequences that do not fit skipped: the first one that does not fit ends the count", skipping},
          {"the sequence that does not fit counted, too", right + 1},
          {"the last one that fits exactly not counted", right - 1}};
}

void expect_paged(const Lengths& lens, std::int64_t block_size, std::int64_t n_blocks) {
  SCOPED_TRACE(fmt::format("{} sequences, block_size {}, {} blocks", lens.size(), block_size, n_blocks));
  EXPECT_TRUE(matches_count(lab02::max_sequences_paged(lens, block_size, n_blocks),
                            reference_paged(lens, block_size, n_blocks),
                            paged_mistakes(lens, block_size, n_blocks)));
}

TEST(KvMemory, PagedRoundsEachSequenceUp) {
  kit::Rng rng = kit::testing::make_rng(281);
  for (const std::int64_t block_size : {1, 3, 16, 33}) {
    Lengths lens(200);
    for (std::int64_t& len : lens) len = 1 + rng.below(300);
    expect_paged(lens, block_size, 900 / block_size + between(rng, 60, 120));
  }
  expect_paged({17, 17, 17, 17}, 16, 7);  // 2 each
  expect_paged({16, 32, 16, 48}, 16, 6);  // exact multiples: 1, 2, 1, 3
}

TEST(KvMemory, FirstThatDoesNotFitEndsTheCount) {
  expect_paged({40, 1000, 8, 8}, 16, 10);
  expect_paged({1000, 8}, 16, 10);
}

TEST(KvMemory, PagedAtTheEdges) {
  EXPECT_EQ(lab02::max_sequences_paged(Lengths{}, 16, 10), 0);
  EXPECT_EQ(lab02::max_sequences_paged(Lengths{1}, 16, 0), 0) << "no blocks";
  EXPECT_EQ(lab02::max_sequences_paged(Lengths{0, 0, 0}, 16, 0), 3) << "sequences without tokens need none";
  EXPECT_EQ(lab02::max_sequences_paged(Lengths{16, 0, 0, 1, 0}, 16, 1), 3);
  EXPECT_EQ(lab02::max_sequences_paged(Lengths{16 * 7}, 16, 7), 1) << "exactly full";
  EXPECT_EQ(lab02::max_sequences_paged(Lengths{kHuge, 1}, 16, 1000), 0)
      << "Likely cause: context_len + block_size - 1 overflows";
  EXPECT_EQ(lab02::max_sequences_paged(Lengths{kHuge, kHuge, kHuge}, 1, kHuge), 1)
      << "Likely cause: the sum of the blocks overflows";
}

std::vector<KnownCount> shared_mistakes(const Lengths& lens, std::int64_t shared_len, std::int64_t block_size,
                                        std::int64_t n_blocks) {
  const auto with = [&](std::int64_t common, const auto& own) {
    return count_until_full(lens.size(), n_blocks, [&](std::size_t n) { return common + sum(lens, n, own); });
  };
  const std::int64_t full = shared_len / block_size;
  return {
      {"no sharing at all", reference_paged(lens, block_size, n_blocks)},
      {"shared blocks that take no memory: they are there once",
       with(0,
            [&](std::int64_t len) { return up(len, block_size) - std::min(len, shared_len) / block_size; })},
      {"the partly filled block at the end of the prefix shared, too: only full blocks are",
       with(up(shared_len, block_size),
            [&](std::int64_t len) {
              return up(len, block_size) - up(std::min(len, shared_len), block_size);
            })},
      {"the tokens behind the prefix rounded up on their own: the first of them go into the block that the "
       "prefix has begun",
       with(full,
            [&](std::int64_t len) { return up(std::max<std::int64_t>(len - shared_len, 0), block_size); })}};
}

void expect_shared(const Lengths& lens, std::int64_t shared_len, std::int64_t block_size,
                   std::int64_t n_blocks) {
  SCOPED_TRACE(fmt::format("{} sequences, shared_len {}, block_size {}, {} blocks", lens.size(), shared_len,
                           block_size, n_blocks));
  EXPECT_TRUE(matches_count(lab02::max_sequences_shared(lens, shared_len, block_size, n_blocks),
                            reference_shared(lens, shared_len, block_size, n_blocks),
                            shared_mistakes(lens, shared_len, block_size, n_blocks)));
}

TEST(KvMemory, SharedPrefixIsThereOnce) {
  kit::Rng rng = kit::testing::make_rng(282);
  for (const std::int64_t block_size : {1, 3, 16, 33}) {
    for (const std::int64_t shared_len : {std::int64_t{0}, 5 * block_size, 5 * block_size + block_size / 2}) {
      Lengths lens(200);
      for (std::int64_t& len : lens) len = shared_len + 1 + rng.below(120);
      expect_shared(lens, shared_len, block_size, 900 / block_size + between(rng, 60, 120));
    }
  }
  // 40 shared tokens: 2 full blocks there once, and 2 each for the remaining 8 + 20.
  expect_shared({60, 60, 60, 60, 60}, 40, 16, 8);
  expect_shared({60, 60, 60, 60, 60}, 40, 16, 9);
}

TEST(KvMemory, ShortSequencesShareWhatTheyHave) {
  // Blocks of 16, 48 tokens shared: a sequence of 40 has 2 full blocks of them, and the third for itself.
  expect_shared({40, 40, 40}, 48, 16, 4);
  expect_shared({40, 100, 40}, 48, 16, 8);
  expect_shared({40, 100, 40}, 48, 16, 9);
  expect_shared({16, 48, 20, 0, 33}, 48, 16, 4);
  kit::Rng rng = kit::testing::make_rng(283);
  for (int round = 0; round < 40; ++round) {
    Lengths lens(30);
    for (std::int64_t& len : lens) len = rng.below(90);
    expect_shared(lens, between(rng, 0, 80), between(rng, 1, 17), between(rng, 0, 60));
  }
}

TEST(KvMemory, RejectsCountsThatCannotBe) {
  const auto paged = [](const Lengths& lens, std::int64_t block_size, std::int64_t n_blocks) {
    return throws_error([&] { (void)lab02::max_sequences_paged(lens, block_size, n_blocks); }, "-77");
  };
  const auto shared = [](const Lengths& lens, std::int64_t shared_len, std::int64_t block_size,
                         std::int64_t n_blocks) {
    return throws_error([&] { (void)lab02::max_sequences_shared(lens, shared_len, block_size, n_blocks); },
                        "-77");
  };
  EXPECT_TRUE(paged({10}, -77, 5)) << "block_size -77";
  EXPECT_TRUE(paged({10}, 16, -77)) << "n_blocks -77";
  EXPECT_TRUE(paged({10, -77}, 16, 5)) << "a length of -77";
  EXPECT_TRUE(paged({1000, -77}, 16, 5)) << "a length of -77 behind one that does not fit";
  EXPECT_TRUE(shared({10}, 4, -77, 5)) << "block_size -77";
  EXPECT_TRUE(shared({10}, 4, 16, -77)) << "n_blocks -77";
  EXPECT_TRUE(shared({10, -77}, 4, 16, 5)) << "a length of -77";
  EXPECT_TRUE(shared({10}, -77, 16, 5)) << "shared_len -77";
  EXPECT_TRUE(throws_error([] { (void)lab02::max_sequences_paged(Lengths{10}, 0, 5); }, "0"))
      << "block_size 0";
}

TEST(KvMemory, PagingAndSharingServeMoreSequences) {
  // Chats on LLaMA-2-70B: 1500 tokens of system prompt, then up to 600 of their own, at most 4096 in all.
  const std::int64_t bytes = lab02::kv_bytes_per_token(llama("llama2-70b"), kGrouped, kFp16);
  ASSERT_EQ(bytes, 327'680);
  kit::Rng rng = kit::testing::make_rng(284);
  Lengths lens(2000);
  for (std::int64_t& len : lens) len = 1500 + rng.below(601);
  std::vector<double> budget_gib, contiguous, paged, shared;
  for (std::int64_t gib = 10; gib <= 80; gib += 10) {
    SCOPED_TRACE(fmt::format("{} GiB for the cache", gib));
    const std::int64_t n_blocks = lab02::blocks_in_budget(bytes, 16, gib * kGibibyte);
    ASSERT_EQ(n_blocks, gib * 204 + gib * 4 / 5) << "1 GiB holds 204.8 blocks of 16 tokens";
    const std::int64_t n_contiguous = lab02::max_sequences_contiguous(bytes, 4096, gib * kGibibyte);
    ASSERT_EQ(n_contiguous, gib * 4 / 5) << "1.25 GiB a sequence";
    expect_paged(lens, 16, n_blocks);
    expect_shared(lens, 1500, 16, n_blocks);
    budget_gib.push_back(static_cast<double>(gib));
    contiguous.push_back(static_cast<double>(n_contiguous));
    paged.push_back(static_cast<double>(lab02::max_sequences_paged(lens, 16, n_blocks)));
    shared.push_back(static_cast<double>(lab02::max_sequences_shared(lens, 1500, 16, n_blocks)));
  }
  kit::testing::record_series("budget_gib", budget_gib);
  kit::testing::record_series("sequences_contiguous", contiguous);
  kit::testing::record_series("sequences_paged", paged);
  kit::testing::record_series("sequences_shared", shared);
}

}  // namespace
