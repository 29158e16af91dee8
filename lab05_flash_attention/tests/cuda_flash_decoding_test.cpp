#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "decode_batch.h"
#include "lab05/cuda_kernels.h"

// flash_decoding_cuda and paged_flash_decoding_cuda. The two differ in where a position lies, so most tests
// are run on both.

namespace {

using kit::DeviceBuffer;
using kit::Shape;
using kit::simt::Access;
using kit::simt::Counters;
using kit::simt::LaunchReport;
using kit::simt::LineReport;
using kit::simt::Space;
using kit::testing::LaunchCounts;
using kit::testing::matches_count;
using kit::testing::nan_device_buffer;
using kit::testing::refuses;
using lab05_tests::attends;
using lab05_tests::contiguous_batch;
using lab05_tests::counts_of;
using lab05_tests::DecodeBatch;
using lab05_tests::DecodeSizes;
using lab05_tests::paged_batch;
using lab05_tests::splits_right;
using lab05_tests::spoil_the_rest;

// Scores of size 1 carry a few float roundings (6e-8 each) of at most 128 products, in any order; exp2f,
// log2f and the changes of base add a few 1e-7 more to numbers of at most 10. The mistakes are off by 1e-2
// and more.
constexpr kit::Tolerance kTolerance{2e-5, 2e-5};

void expect_contiguous(const DecodeSizes& sizes, std::uint64_t stream) {
  SCOPED_TRACE(sizes.to_string());
  EXPECT_TRUE(attends(contiguous_batch(sizes, stream), kTolerance));
}

void expect_paged(const DecodeSizes& sizes, std::int64_t block_size, std::uint64_t stream) {
  SCOPED_TRACE(fmt::format("{}, block_size {}", sizes.to_string(), block_size));
  EXPECT_TRUE(attends(paged_batch(sizes, block_size, stream), kTolerance));
}

// Every head_dim, groups from 1 to 8 query heads, and splits that do and do not divide the length.
const std::vector<DecodeSizes> heads_and_splits = {
    {.context_lens = {40, 7}, .n_splits = 2, .n_heads = 4, .n_kv_heads = 2, .head_dim = 64},
    {.context_lens = {9, 37}, .n_splits = 3, .n_heads = 2, .n_kv_heads = 2, .head_dim = 128},
    {.context_lens = {33}, .n_splits = 5, .n_heads = 8, .n_kv_heads = 1, .head_dim = 32},
    {.context_lens = {130}, .n_splits = 4, .n_heads = 6, .n_kv_heads = 2, .head_dim = 32},
    {.context_lens = {36}, .n_splits = 2, .n_heads = 8, .n_kv_heads = 1, .head_dim = 128},
};
const std::vector<std::int32_t> many_lengths = {100, 1, 2, 31, 32, 33, 64, 65, 128, 257};

KIT_CUDA_TEST(FlashDecodingCuda, MatchesTheReference) {
  std::uint64_t stream = 15700;
  for (const DecodeSizes& sizes : heads_and_splits) expect_contiguous(sizes, stream++);
}

KIT_CUDA_TEST(FlashDecodingCuda, SequencesOfDifferentLengths) {
  expect_contiguous({.context_lens = many_lengths, .n_splits = 3, .n_heads = 2, .n_kv_heads = 1}, 15710);
}

KIT_CUDA_TEST(FlashDecodingCuda, OneSplitIsOrdinaryAttention) {
  expect_contiguous({.context_lens = {1, 50}, .n_splits = 1}, 15711);
}

KIT_CUDA_TEST(FlashDecodingCuda, ManySplits) {
  expect_contiguous({.context_lens = {331}, .n_splits = 45, .n_heads = 2, .n_kv_heads = 1, .head_dim = 32},
                    15712);
  expect_contiguous({.context_lens = {70}, .n_splits = 33, .n_heads = 2, .n_kv_heads = 1, .head_dim = 128},
                    15713);
}

KIT_CUDA_TEST(FlashDecodingCuda, EachSplitHasItsOwnPositions) {
  for (const int n_splits : {1, 3, 4}) {
    const DecodeSizes sizes{.context_lens = {29, 64, 5}, .n_splits = n_splits};
    SCOPED_TRACE(sizes.to_string());
    EXPECT_TRUE(splits_right(contiguous_batch(sizes, 15714), kTolerance));
  }
}

/// Splits without positions, in the middle of the computation and in what it hands over.
void expect_empty_splits(const DecodeBatch& batch) {
  EXPECT_TRUE(splits_right(batch, kTolerance))
      << "Splits behind the end of a sequence have partial_out 0 and partial_log_sum_exp -infinity. NaN "
         "comes of 0 / 0, and of -infinity minus -infinity.";
  EXPECT_TRUE(attends(batch, kTolerance))
      << "The merge must leave splits without positions out: they weigh e^-infinity = 0.";
}

KIT_CUDA_TEST(FlashDecodingCuda, MoreSplitsThanPositions) {
  // Of 9 positions in chunks of 2 the splits 5, 6 and 7 have none.
  expect_empty_splits(contiguous_batch({.context_lens = {3, 1, 9, 40}, .n_splits = 8}, 15715));
}

KIT_CUDA_TEST(FlashDecodingCuda, SequencesWithoutPositions) {
  // out is 0, log_sum_exp -infinity.
  expect_empty_splits(contiguous_batch({.context_lens = {0, 12, 0}, .n_splits = 4}, 15716));
}

KIT_CUDA_TEST(PagedFlashDecodingCuda, MatchesTheReference) {
  std::uint64_t stream = 15720;
  for (const DecodeSizes& sizes : heads_and_splits) expect_paged(sizes, 16, stream++);
}

KIT_CUDA_TEST(PagedFlashDecodingCuda, AnyBlockSize) {
  std::uint64_t stream = 15730;
  for (const std::int64_t block_size : {1, 2, 8, 32, 128})
    expect_paged({.context_lens = {13, 33, 70}}, block_size, stream++);
}

KIT_CUDA_TEST(PagedFlashDecodingCuda, SequencesOfDifferentLengths) {
  expect_paged({.context_lens = many_lengths, .n_splits = 3, .n_heads = 2, .n_kv_heads = 1}, 16, 15740);
}

KIT_CUDA_TEST(PagedFlashDecodingCuda, EachSplitHasItsOwnPositions) {
  // A chunk of 10 positions begins and ends inside blocks of 8.
  EXPECT_TRUE(splits_right(paged_batch({.context_lens = {30, 19}, .n_splits = 3}, 8, 15741), kTolerance));
}

KIT_CUDA_TEST(PagedFlashDecodingCuda, MoreSplitsThanPositions) {
  expect_empty_splits(paged_batch({.context_lens = {3, 1, 9, 0}, .n_splits = 8}, 4, 15742));
}

KIT_CUDA_TEST(PagedFlashDecodingCuda, SequencesMayShareBlocks) {
  // What a fork looks like: 32 tokens of a prompt in the same two blocks.
  DecodeBatch batch = paged_batch({.context_lens = {40, 33, 32}}, 16, 15743);
  for (const std::int64_t s : {1, 2}) {
    for (const std::int64_t i : {0, 1}) batch.block_tables(s, i) = batch.block_tables(0, i);
  }
  EXPECT_TRUE(attends(batch, kTolerance));
}

/// Behind the end of a sequence are NaNs, and table entries of blocks that do not exist.
void expect_ignores_the_rest(DecodeBatch batch) {
  spoil_the_rest(batch);
  EXPECT_TRUE(attends(batch, kTolerance)) << "Likely cause: positions behind context_len are read, by a tile "
                                             "or by the last split. A weight of 0 does not help: 0 * NaN is "
                                             "NaN.";
}

KIT_CUDA_TEST(FlashDecodingCuda, IgnoresWhatLiesBehindTheEnd) {
  expect_ignores_the_rest(contiguous_batch({.context_lens = {1, 33, 50, 14}, .n_splits = 4}, 15744));
}

KIT_CUDA_TEST(PagedFlashDecodingCuda, IgnoresWhatLiesBehindTheEnd) {
  expect_ignores_the_rest(paged_batch({.context_lens = {1, 33, 50, 64}, .n_splits = 4}, 16, 15745));
}

/// Adds `shift` to every score: one element of all keys, times sqrt(head_dim) in all queries.
void shift_scores(DecodeBatch& batch, const std::function<float(std::int64_t row)>& shift) {
  const std::int64_t head_dim = batch.q.dim(2);
  for (std::int64_t at = 0; at < batch.q.size(); at += head_dim)
    batch.q.data()[at] = std::sqrt(static_cast<float>(head_dim));
  for (std::int64_t at = 0; at < batch.k.size(); at += head_dim)
    batch.k.data()[at] = shift(at / (head_dim * batch.k.dim(2)));
}

void expect_any_size_of_scores(DecodeBatch batch) {
  for (const float shift : {300.0F, -300.0F}) {
    SCOPED_TRACE(fmt::format("scores are near {}", shift));
    shift_scores(batch, [shift](auto) { return shift; });
    // Products sum up to 300 sqrt(64) = 2400, where a float is exact to 1.2e-4, and a few such roundings over
    // sqrt(64) shift a score by less than 2e-4.
    EXPECT_TRUE(attends(batch, {1e-3, 1e-3}))
        << "Likely cause of a NaN or 0: e^300 is infinite, e^-300 is 0. Subtract the maximum, in a split and "
           "in the merge: the largest log-sum-exp.";
  }
}

KIT_CUDA_TEST(FlashDecodingCuda, ScoresOfAnySize) {
  expect_any_size_of_scores(contiguous_batch({.context_lens = {2, 45}}, 15746));
}

KIT_CUDA_TEST(PagedFlashDecodingCuda, ScoresOfAnySize) {
  expect_any_size_of_scores(paged_batch({.context_lens = {2, 45}}, 16, 15747));
}

KIT_CUDA_TEST(FlashDecodingCuda, SplitsOfVeryDifferentScores) {
  // Scores around -40, 0 and 4 in splits of 20 positions, in each order: the weights of the splits are about
  // 0, 1 and e^4.
  for (const std::int64_t first : {0, 1, 2}) {
    SCOPED_TRACE(fmt::format("the largest scores are in split {}", (2 + 3 - first) % 3));
    DecodeBatch batch = contiguous_batch({.context_lens = {60}, .n_splits = 3}, 15748);
    const std::vector<float> shifts = {-40.0F, 0.0F, 4.0F};
    shift_scores(batch,
                 [&](std::int64_t row) { return shifts[static_cast<std::size_t>((row / 20 + first) % 3)]; });
    // Scores of 40 are exact to 2e-6 for each of a few roundings.
    EXPECT_TRUE(attends(batch, {1e-4, 1e-4}))
        << "A split's result is relative to its own maximum. Bring all to the largest log-sum-exp.";
  }
}

// Sizes for counts. Every split has positions, and a log-sum-exp of a head's 8 splits fills a sector.
DecodeSizes counted(std::vector<std::int32_t> lens) {
  return {.context_lens = std::move(lens), .n_splits = 8, .n_heads = 6, .n_kv_heads = 2, .head_dim = 64};
}

KIT_CUDA_TEST(FlashDecodingCuda, AThreadBlockForEachSplit) {
  KIT_SKIP_WITHOUT_COUNTS();
  const DecodeBatch batch = contiguous_batch(counted({40, 72, 64}), 15750);
  const LaunchCounts counts = counts_of(batch);
  ASSERT_EQ(counts.launches().size(), 2U) << "one launch for the splits, one for the merge";
  const auto thread_blocks = [&](int launch) {
    const auto& grid = counts.launches()[static_cast<std::size_t>(launch)].grid;
    return std::int64_t{grid[0]} * grid[1] * grid[2];
  };
  const std::vector<kit::testing::KnownCount> mistakes = {
      {"a thread block for each sequence and kv head: the splits take turns in it", 3 * 2},
      {"a thread block for each query head: the keys of a group are loaded once for each of its heads",
       3 * 6 * 8},
      {"a thread block for each sequence and split", 3 * 8},
  };
  EXPECT_TRUE(matches_count(thread_blocks(0), std::int64_t{3} * 2 * 8, mistakes))
      << "thread blocks of the first launch: n_seqs * n_kv_heads * n_splits";
  const auto& merge = counts.launches()[1].thread_block;
  const std::int64_t warps = (std::int64_t{merge[0]} * merge[1] * merge[2] + 31) / 32;
  EXPECT_GE(warps * thread_blocks(1), 3 * 6)
      << "warps of the merge: at least one for each sequence and query head";
}

/// Sectors of arrays in device memory that a launch loads. Lookups are left out: lines with at most two
/// sectors a request, where all lanes read the same length or neighbouring table entries. `width` 0 is any.
std::int64_t loaded_sectors(const LaunchReport& launch, int width = 0) {
  std::int64_t sum = 0;
  for (const LineReport& line : launch.lines) {
    if (line.space != Space::kGlobal || line.access != Access::kLoad) continue;
    if (width != 0 && line.width != width) continue;
    if (line.counters.sectors > 2 * line.counters.requests) sum += line.counters.sectors;
  }
  return sum;
}

/// Two batches with as many thread blocks: the longer one loads its keys and values more, and nothing else.
void expect_loads_once(const DecodeBatch& short_batch, const DecodeBatch& long_batch) {
  std::int64_t more_positions = 0;
  for (std::size_t s = 0; s < short_batch.context_lens.size(); ++s)
    more_positions += long_batch.context_lens[s] - short_batch.context_lens[s];
  const std::int64_t n_kv_heads = long_batch.k.dim(2);
  const std::int64_t group = long_batch.q.dim(1) / n_kv_heads;
  const std::int64_t ideal = 2 * more_positions * n_kv_heads * long_batch.q.dim(2) / 8;
  const LaunchCounts at_short = counts_of(short_batch);
  const LaunchCounts at_long = counts_of(long_batch);
  ASSERT_FALSE(at_short.launches().empty() || at_long.launches().empty());
  const auto more = [&](int width) {
    return loaded_sectors(at_long.launches()[0], width) - loaded_sectors(at_short.launches()[0], width);
  };
  const std::vector<kit::testing::KnownCount> mistakes = {
      {"keys and values loaded by each query head of a group: a loaded one serves all of them",
       ideal * group},
      {"keys loaded twice", ideal * 3 / 2},
      {"every sector loaded twice", ideal * 2},
  };
  EXPECT_TRUE(matches_count(more(0), ideal, mistakes))
      << "sectors that " << more_positions << " positions more load: keys and values, each once\n"
      << at_long.to_string() << at_long.explain_sectors(Access::kLoad);
  EXPECT_EQ(more(16), ideal) << "sectors loaded by 16 bytes a lane (float4): all of them\n"
                             << at_long.to_string();
}

KIT_CUDA_TEST(FlashDecodingCuda, LoadsKeysAndValuesOnce) {
  KIT_SKIP_WITHOUT_COUNTS();
  expect_loads_once(contiguous_batch(counted({40, 72, 64}), 15751),
                    contiguous_batch(counted({72, 104, 200}), 15752));
}

KIT_CUDA_TEST(PagedFlashDecodingCuda, LoadsKeysAndValuesOnce) {
  KIT_SKIP_WITHOUT_COUNTS();
  expect_loads_once(paged_batch(counted({40, 72, 64}), 16, 15753),
                    paged_batch(counted({72, 104, 200}), 16, 15754));
}

KIT_CUDA_TEST(FlashDecodingCuda, MergeReadsEachPartialResultOnce) {
  KIT_SKIP_WITHOUT_COUNTS();
  const DecodeBatch batch = contiguous_batch(counted({40, 72, 64}), 15755);
  const LaunchCounts counts = counts_of(batch);
  ASSERT_EQ(counts.launches().size(), 2U) << "one launch for the splits, one for the merge";
  const std::int64_t results = std::int64_t{3} * 6 * 8;
  const std::vector<kit::testing::KnownCount> mistakes = {
      {"requests that touch a single sector each: one thread works, or lanes are not neighbours", 0},
      {"every partial result read twice: once for its weight is enough, log-sum-exps tell the maximum",
       2 * results * 64 / 8},
  };
  EXPECT_TRUE(matches_count(loaded_sectors(counts.launches()[1]), results * 64 / 8, mistakes))
      << "sectors of partial_out that the second launch loads\n"
      << counts.to_string();
}

KIT_CUDA_TEST(FlashDecodingCuda, StoresResultsAlone) {
  KIT_SKIP_WITHOUT_COUNTS();
  const DecodeBatch batch = contiguous_batch(counted({40, 72, 64}), 15756);
  const LaunchCounts counts = counts_of(batch);
  const std::int64_t rows = std::int64_t{3} * 6;
  EXPECT_EQ(counts.bytes(Space::kGlobal, Access::kStore), 4 * rows * (8 * (64 + 1) + 64 + 1))
      << "bytes stored in device memory: partial results, out and log_sum_exp, each element once\n"
      << counts.to_string();
}

KIT_CUDA_TEST(FlashDecodingCuda, NoBankConflicts) {
  KIT_SKIP_WITHOUT_COUNTS();
  for (const std::int64_t head_dim : {32, 64, 128}) {
    SCOPED_TRACE(fmt::format("head_dim {}", head_dim));
    const LaunchCounts counts = counts_of(contiguous_batch(
        {.context_lens = {90}, .n_splits = 2, .n_heads = 4, .n_kv_heads = 1, .head_dim = head_dim}, 15757));
    const Counters shared = counts.total([](const LineReport& line) { return line.space == Space::kShared; });
    EXPECT_EQ(shared.wavefronts, shared.ideal_wavefronts)
        << "passes over the banks of shared memory; more than the ideal are bank conflicts\n"
        << counts.to_string();
  }
}

/// All arguments in device memory, with shapes that a test can bend.
struct Arguments {
  DeviceBuffer<float> q_memory, k_memory, v_memory;
  DeviceBuffer<std::int32_t> lens_memory, tables_memory;
  DeviceBuffer<float> partial_memory = nan_device_buffer(8192);
  DeviceBuffer<float> partial_lse_memory = nan_device_buffer(256);
  DeviceBuffer<float> out_memory = nan_device_buffer(4096);
  DeviceBuffer<float> lse_memory = nan_device_buffer(64);
  Shape q{2, 4, 64}, k{2, 8, 2, 64}, v{2, 8, 2, 64}, lens{2}, tables{2, 3};
  int n_splits = 3;
  Shape partial{2, 4, 3, 64}, partial_lse{2, 4, 3}, out{2, 4, 64}, lse{2, 4};

  Arguments()
      : q_memory(ones(4096)),
        k_memory(ones(8192)),
        v_memory(ones(8192)),
        lens_memory{std::span<const std::int32_t>(std::vector<std::int32_t>(8, 1))},
        tables_memory{std::span<const std::int32_t>(std::vector<std::int32_t>(64, 0))} {}
  static std::span<const float> ones(std::size_t n) {
    static const std::vector<float> memory(8192, 1.0F);
    return std::span(memory).first(n);
  }

  void decode() {
    lab05::flash_decoding_cuda({q_memory.data(), q}, {k_memory.data(), k}, {v_memory.data(), v},
                               {lens_memory.data(), lens}, n_splits, {partial_memory.data(), partial},
                               {partial_lse_memory.data(), partial_lse}, {out_memory.data(), out},
                               {lse_memory.data(), lse});
  }
  void paged() {
    lab05::paged_flash_decoding_cuda(
        {q_memory.data(), q}, {k_memory.data(), k}, {v_memory.data(), v}, {tables_memory.data(), tables},
        {lens_memory.data(), lens}, n_splits, {partial_memory.data(), partial},
        {partial_lse_memory.data(), partial_lse}, {out_memory.data(), out}, {lse_memory.data(), lse});
  }
};

using Call = void (Arguments::*)();

void expect_refuses(Call call, const char* what, const std::function<void(Arguments&)>& bend) {
  Arguments arguments;
  bend(arguments);
  EXPECT_TRUE(refuses([&] { (arguments.*call)(); }, arguments.out_memory)) << what;
}

/// What both functions refuse.
void expect_refuses_bad_shapes(Call call) {
  expect_refuses(call, "q is [n_seqs, n_heads * head_dim]", [](Arguments& x) { x.q = {2, 256}; });
  expect_refuses(call, "out has one sequence more than q", [](Arguments& x) { x.out = {3, 4, 64}; });
  expect_refuses(call, "k and v have different shapes", [](Arguments& x) { x.v = {2, 7, 2, 64}; });
  expect_refuses(call, "another head_dim in k and v", [](Arguments& x) { x.k = x.v = {2, 8, 2, 32}; });
  expect_refuses(call, "k and v without the dimension of positions", [](Arguments& x) {
    x.k = x.v = {16, 2, 64};
  });
  expect_refuses(call, "3 kv heads do not divide 4 heads", [](Arguments& x) { x.k = x.v = {2, 8, 3, 64}; });
  expect_refuses(call, "no kv heads", [](Arguments& x) { x.k = x.v = {2, 8, 0, 64}; });
  expect_refuses(call, "a group of 16 query heads, 8 are allowed", [](Arguments& x) {
    x.q = x.out = {2, 16, 64};
    x.lse = {2, 16};
    x.partial = {2, 16, 3, 64};
    x.partial_lse = {2, 16, 3};
    x.k = x.v = {2, 8, 1, 64};
  });
  expect_refuses(call, "head_dim 96 is none of 32, 64, 128", [](Arguments& x) {
    x.q = x.out = {2, 4, 96};
    x.partial = {2, 4, 3, 96};
    x.k = x.v = {2, 8, 2, 96};
  });
  expect_refuses(call, "one length for two sequences", [](Arguments& x) { x.lens = {1}; });
  expect_refuses(call, "log_sum_exp for one head more", [](Arguments& x) { x.lse = {2, 5}; });
}

void expect_refuses_bad_splits(Call call) {
  expect_refuses(call, "0 splits", [](Arguments& x) {
    x.n_splits = 0;
    x.partial = {2, 4, 0, 64};
    x.partial_lse = {2, 4, 0};
  });
  expect_refuses(call, "4 splits, partial results for 3", [](Arguments& x) { x.n_splits = 4; });
  expect_refuses(call, "log-sum-exps of 2 splits", [](Arguments& x) { x.partial_lse = {2, 4, 2}; });
  expect_refuses(call, "partial results [n_seqs, n_splits, n_heads, head_dim]", [](Arguments& x) {
    x.partial = {2, 3, 4, 64};
  });
}

KIT_CUDA_TEST(FlashDecodingCuda, RejectsShapesThatDisagree) {
  expect_refuses_bad_shapes(&Arguments::decode);
  expect_refuses_bad_splits(&Arguments::decode);
  expect_refuses(&Arguments::decode, "caches of 3 sequences for queries of 2", [](Arguments& x) {
    x.k = x.v = {3, 8, 2, 64};
  });
}

KIT_CUDA_TEST(PagedFlashDecodingCuda, RejectsShapesThatDisagree) {
  expect_refuses_bad_shapes(&Arguments::paged);
  expect_refuses_bad_splits(&Arguments::paged);
  expect_refuses(&Arguments::paged, "one table for two sequences", [](Arguments& x) { x.tables = {1, 3}; });
  expect_refuses(&Arguments::paged, "a table without rows", [](Arguments& x) { x.tables = {6}; });
  expect_refuses(&Arguments::paged, "blocks of 6 tokens, no power of two", [](Arguments& x) {
    x.k = x.v = {2, 6, 2, 64};
  });
}

/// A batch of no sequences is no mistake, and nothing is launched.
void expect_no_launch(Call call) {
  Arguments x;
  x.q = x.out = {0, 4, 64};
  x.k = x.v = {0, 8, 2, 64};
  x.lens = {0};
  x.tables = {0, 3};
  x.partial = {0, 4, 3, 64};
  x.partial_lse = {0, 4, 3};
  x.lse = {0, 4};
  EXPECT_TRUE(kit::simt::profile([&] { (x.*call)(); }).empty()) << "a launch although there is nothing to do";
}

KIT_CUDA_TEST(FlashDecodingCuda, NoSequencesNoLaunch) {
  KIT_SKIP_WITHOUT_COUNTS();
  expect_no_launch(&Arguments::decode);
}

KIT_CUDA_TEST(PagedFlashDecodingCuda, NoSequencesNoLaunch) {
  KIT_SKIP_WITHOUT_COUNTS();
  expect_no_launch(&Arguments::paged);
}

struct Machine {
  std::int64_t n_seqs, n_kv_heads, max_context_len;
  int n_multiprocessors;
  int n_splits;  // by the formula of the contract, worked out by hand
};

void expect_splits(const Machine& m) {
  SCOPED_TRACE(fmt::format("{} sequences, {} kv heads, contexts up to {}, {} multiprocessors", m.n_seqs,
                           m.n_kv_heads, m.max_context_len, m.n_multiprocessors));
  const std::int64_t fill =
      (4LL * m.n_multiprocessors + m.n_seqs * m.n_kv_heads - 1) / (m.n_seqs * m.n_kv_heads);
  const std::vector<kit::testing::KnownCount> mistakes = {
      {"thread blocks rounded down: some multiprocessors get fewer than the others",
       4LL * m.n_multiprocessors / (m.n_seqs * m.n_kv_heads)},
      {"the number that fills the machine, however short the context", fill},
      {"sequences forgotten: each has thread blocks of its own",
       (4LL * m.n_multiprocessors + m.n_kv_heads - 1) / m.n_kv_heads},
      {"kv heads forgotten: each has thread blocks of its own",
       (4LL * m.n_multiprocessors + m.n_seqs - 1) / m.n_seqs},
      {"the number that the context allows, whether the machine is full or not", m.max_context_len / 128},
  };
  EXPECT_TRUE(
      matches_count(lab05::choose_n_splits(m.n_seqs, m.n_kv_heads, m.max_context_len, m.n_multiprocessors),
                    m.n_splits, mistakes));
}

TEST(ChooseSplits, FillsTheMachine) {
  static_assert(lab05::kSplitBlocksPerMultiprocessor == 4 && lab05::kMinSplitLength == 128);
  expect_splits({1, 8, 100'000, 108, 54});
  expect_splits({1, 1, 1'000'000, 108, 432});
  expect_splits({5, 8, 100'000, 108, 11});  // 432 / 40 = 10.8
  expect_splits({3, 2, 100'000, 132, 88});
}

TEST(ChooseSplits, OneWhereThereIsEnoughWithout) {
  expect_splits({54, 8, 100'000, 108, 1});
  expect_splits({1000, 8, 100'000, 132, 1});
  expect_splits({53, 8, 100'000, 108, 2});  // 424 thread blocks, 432 are wanted
}

TEST(ChooseSplits, NoSplitIsTooShort) {
  expect_splits({1, 8, 1024, 108, 8});
  expect_splits({1, 8, 1023, 108, 7});
  expect_splits({1, 8, 128, 108, 1});
  expect_splits({1, 8, 127, 108, 1});
  expect_splits({1, 8, 0, 108, 1});
}

TEST(ChooseSplits, ManySequencesDoNotOverflow) {
  expect_splits({std::int64_t{1} << 33, 8, 4096, 132, 1});
  expect_splits({1, 1, std::int64_t{1} << 40, 132, 528});
}

TEST(ChooseSplits, RefusesNothingToSplit) {
  const auto expect_refused = [](std::int64_t n_seqs, std::int64_t n_kv_heads, std::int64_t len, int n_sms) {
    EXPECT_TRUE(kit::testing::throws_error([=] {
      static_cast<void>(lab05::choose_n_splits(n_seqs, n_kv_heads, len, n_sms));
    })) << n_seqs
        << " sequences, " << n_kv_heads << " kv heads, contexts up to " << len << ", " << n_sms
        << " multiprocessors";
  };
  expect_refused(0, 8, 100, 108);
  expect_refused(1, 0, 100, 108);
  expect_refused(1, 8, -1, 108);
  expect_refused(1, 8, 100, 0);
}

}  // namespace
