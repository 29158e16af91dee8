#include <gtest/gtest.h>

#include <fmt/format.h>

#include <cmath>
#include <vector>

#include "cuda_support.h"
#include "lab02/cuda_kernels.h"

// decode_attention_cuda and paged_decode_attention_cuda. The two differ in where a position lies, so most
// tests are run on both.

namespace {

using kit::DeviceBuffer;
using kit::Shape;
using kit::Tensor;
using kit::simt::Access;
using kit::simt::Space;
using kit::testing::LaunchCounts;
using kit::testing::nan_device_buffer;
using kit::testing::refuses;
using lab02_tests::attends;
using lab02_tests::contiguous_batch;
using lab02_tests::counts_of;
using lab02_tests::DecodeBatch;
using lab02_tests::DecodeSizes;
using lab02_tests::paged_batch;
using lab02_tests::reference;
using lab02_tests::run;
using lab02_tests::spoil_the_rest;

// Scores of size 1 carry a few float roundings (6e-8 each) of at most 128 products, in any order, and exp2f
// is exact to two units in the last place (1.2e-7 each): below 5e-6. The mistakes are off by 1e-2 and more.
constexpr kit::Tolerance kTolerance{2e-5, 2e-5};

std::string to_string(const DecodeSizes& s) {
  return fmt::format("n_heads {}, n_kv_heads {}, head_dim {}, context_lens {}", s.n_heads, s.n_kv_heads,
                     s.head_dim, fmt::join(s.context_lens, " "));
}

void expect_contiguous(const DecodeSizes& sizes, std::uint64_t stream) {
  SCOPED_TRACE(to_string(sizes));
  EXPECT_TRUE(attends(contiguous_batch(sizes, stream), kTolerance));
}

void expect_paged(const DecodeSizes& sizes, std::int64_t block_size, std::uint64_t stream) {
  SCOPED_TRACE(fmt::format("{}, block_size {}", to_string(sizes), block_size));
  EXPECT_TRUE(attends(paged_batch(sizes, block_size, stream), kTolerance));
}

// Every group size from 1 to 8 that a model has, and every head_dim.
const std::vector<DecodeSizes> kHeads = {
    {.context_lens = {40, 7}, .n_heads = 4, .n_kv_heads = 2, .head_dim = 64},
    {.context_lens = {9, 37}, .n_heads = 2, .n_kv_heads = 2, .head_dim = 128},
    {.context_lens = {33}, .n_heads = 8, .n_kv_heads = 1, .head_dim = 32},
    {.context_lens = {34}, .n_heads = 8, .n_kv_heads = 2, .head_dim = 96},
    {.context_lens = {35}, .n_heads = 9, .n_kv_heads = 3, .head_dim = 32},
    {.context_lens = {20}, .n_heads = 8, .n_kv_heads = 1, .head_dim = 128},
};
const std::vector<std::int32_t> kLengths = {100, 1, 2, 31, 32, 33, 64, 65, 128, 257};

KIT_CUDA_TEST(DecodeAttentionCuda, MatchesTheReference) {
  std::uint64_t stream = 2900;
  for (const DecodeSizes& sizes : kHeads) expect_contiguous(sizes, stream++);
}

KIT_CUDA_TEST(DecodeAttentionCuda, SequencesOfDifferentLengths) {
  expect_contiguous({.context_lens = kLengths, .n_heads = 2, .n_kv_heads = 1, .head_dim = 64}, 2910);
}

KIT_CUDA_TEST(PagedDecodeAttentionCuda, MatchesTheReference) {
  std::uint64_t stream = 2920;
  for (const DecodeSizes& sizes : kHeads) expect_paged(sizes, 16, stream++);
}

KIT_CUDA_TEST(PagedDecodeAttentionCuda, AnyBlockSize) {
  std::uint64_t stream = 2930;
  for (const std::int64_t block_size : {4, 3, 1, 16, 32, 64})
    expect_paged({.context_lens = {13, 33, 70}}, block_size, stream++);
}

KIT_CUDA_TEST(PagedDecodeAttentionCuda, SequencesOfDifferentLengths) {
  expect_paged({.context_lens = kLengths, .n_heads = 2, .n_kv_heads = 1, .head_dim = 64}, 16, 2940);
}

KIT_CUDA_TEST(PagedDecodeAttentionCuda, LastBlockMayHoldAnyNumber) {
  expect_paged({.context_lens = {1, 2, 7, 8, 9, 15, 16, 17, 24}}, 8, 2941);
}

KIT_CUDA_TEST(PagedDecodeAttentionCuda, SequencesMayShareBlocks) {
  // What a fork looks like: 32 tokens of a prompt in the same two blocks.
  DecodeBatch batch = paged_batch({.context_lens = {40, 33, 32}}, 16, 2942);
  for (const std::int64_t s : {1, 2}) {
    for (const std::int64_t i : {0, 1}) batch.block_tables(s, i) = batch.block_tables(0, i);
  }
  EXPECT_TRUE(attends(batch, kTolerance));
}

/// Behind the end of a sequence are NaNs, and table entries of blocks that do not exist.
void expect_ignores_the_rest(DecodeBatch batch) {
  const Tensor<float> expected = reference(batch);
  spoil_the_rest(batch);
  EXPECT_TRUE(kit::testing::matches(run(batch), expected, kTolerance))
      << "Likely cause: slots behind context_len are read. A weight of 0 does not help: 0 * NaN is NaN.";
}

KIT_CUDA_TEST(DecodeAttentionCuda, IgnoresWhatLiesBehindTheEnd) {
  expect_ignores_the_rest(contiguous_batch({.context_lens = {1, 33, 50}}, 2943));
}

KIT_CUDA_TEST(PagedDecodeAttentionCuda, IgnoresWhatLiesBehindTheEnd) {
  expect_ignores_the_rest(paged_batch({.context_lens = {1, 33, 50, 64}}, 16, 2944));
}

/// Adds `shift` to every score: one element of all keys, times sqrt(head_dim) in all queries.
void shift_scores(DecodeBatch& batch, float shift) {
  const std::int64_t head_dim = batch.q.dim(2);
  for (std::int64_t at = 0; at < batch.q.size(); at += head_dim)
    batch.q.data()[at] = std::sqrt(static_cast<float>(head_dim));
  for (std::int64_t at = 0; at < batch.k.size(); at += head_dim) batch.k.data()[at] = shift;
}

void expect_any_size_of_scores(DecodeBatch batch) {
  for (const float shift : {300.0F, -300.0F}) {
    SCOPED_TRACE(fmt::format("scores are near {}", shift));
    shift_scores(batch, shift);
    // Products sum up to 300 sqrt(64) = 2400, where a float is exact to 1.2e-4, and a few such roundings over
    // sqrt(64) shift a score by less than 2e-4.
    EXPECT_TRUE(kit::testing::matches(run(batch), reference(batch), {1e-3, 1e-3}))
        << (shift > 0
                ? "Likely cause of a NaN: e^300 is infinite. Subtract the maximum first."
                : "Likely cause of a NaN or 0: a maximum that starts at 0 instead of -infinity, so that "
                  "all weights are e^-300 = 0.");
  }
}

KIT_CUDA_TEST(DecodeAttentionCuda, ScoresOfAnySize) {
  expect_any_size_of_scores(contiguous_batch({.context_lens = {2, 45}}, 2945));
}

KIT_CUDA_TEST(PagedDecodeAttentionCuda, ScoresOfAnySize) {
  expect_any_size_of_scores(paged_batch({.context_lens = {2, 45}}, 16, 2946));
}

/// Position `peak` has a score 8 above all others, which are equal, and the value a; the others have b. So
/// out = (a + w b) / (1 + w), w = (n - 1) e^-8 = 0.032. Parts that are added up without bringing them to a
/// common maximum give some w from 1 to n - 1, whatever the parts are.
void expect_one_maximum(DecodeBatch batch, std::int64_t peak) {
  constexpr float kA = 1.0F;
  constexpr float kB = -2.0F;
  const auto n = static_cast<double>(batch.context_lens.front());
  batch.v = Tensor<float>(batch.v.shape(), kB);
  batch.k = Tensor<float>(batch.k.shape(), 0.0F);  // but for one element of each head of `peak`
  const std::int64_t row_size = batch.k.dim(2) * batch.k.dim(3);
  const std::int64_t at = batch.row_of(0, peak) * row_size;
  std::fill_n(batch.v.data() + at, row_size, kA);
  shift_scores(batch, 0.0F);
  for (std::int64_t i = 0; i < row_size; i += batch.k.dim(3)) batch.k.data()[at + i] = 8.0F;

  const Tensor<float> got = run(batch);
  const double w = (kA - double{got(0, 0, 0)}) / (double{got(0, 0, 0)} - kB);
  const bool unscaled = w > 0.5 && w < n;
  EXPECT_TRUE(kit::testing::matches(got, reference(batch), kTolerance))
      << (unscaled
              ? "Likely cause: sums of parts of the sequence (tiles, warps) are added up although each is "
                "relative to a maximum of its own. Multiply a part's sum and its weighted values by "
                "exp(its maximum - the common maximum) first."
              : "");
}

KIT_CUDA_TEST(DecodeAttentionCuda, MergesPartsUnderOneMaximum) {
  for (const std::int64_t peak : {0, 50, 95}) {
    SCOPED_TRACE(fmt::format("the largest score is that of position {} of 96", peak));
    expect_one_maximum(contiguous_batch({.context_lens = {96}}, 2947), peak);
  }
}

KIT_CUDA_TEST(PagedDecodeAttentionCuda, MergesPartsUnderOneMaximum) {
  for (const std::int64_t peak : {0, 50, 95}) {
    SCOPED_TRACE(fmt::format("the largest score is that of position {} of 96", peak));
    expect_one_maximum(paged_batch({.context_lens = {96}}, 16, 2948), peak);
  }
}

/// Short and long alike: one launch, as much shared memory, and nothing stored but the output.
void expect_one_launch(const DecodeBatch& short_batch, const DecodeBatch& long_batch) {
  std::vector<std::int64_t> shared_bytes;
  for (const DecodeBatch* batch : {&short_batch, &long_batch}) {
    SCOPED_TRACE(fmt::format("context_len {}", batch->context_lens.front()));
    const LaunchCounts counts = counts_of(*batch);
    ASSERT_EQ(counts.launches().size(), 1U) << "one launch for all sequences and heads";
    EXPECT_EQ(counts.bytes(Space::kGlobal, Access::kStore), 4 * batch->q.size())
        << "bytes stored in device memory: each element of out once, and nothing else\n"
        << counts.to_string();
    shared_bytes.push_back(counts.launches()[0].static_shared_bytes +
                           counts.launches()[0].dynamic_shared_bytes);
  }
  EXPECT_EQ(shared_bytes[0], shared_bytes[1]) << "bytes of shared memory grow with context_len. Likely "
                                                 "cause: the scores of all positions are kept; an "
                                                 "online softmax needs a maximum and a sum.";
}

KIT_CUDA_TEST(DecodeAttentionCuda, KeepsNothingOfTheSizeOfTheContext) {
  KIT_SKIP_WITHOUT_COUNTS();
  expect_one_launch(contiguous_batch({.context_lens = {40, 7, 3}}, 2949),
                    contiguous_batch({.context_lens = {400, 70, 30}}, 2950));
}

KIT_CUDA_TEST(PagedDecodeAttentionCuda, KeepsNothingOfTheSizeOfTheContext) {
  KIT_SKIP_WITHOUT_COUNTS();
  expect_one_launch(paged_batch({.context_lens = {40, 7, 3}}, 16, 2951),
                    paged_batch({.context_lens = {400, 70, 30}}, 16, 2952));
}

/// All arguments in device memory, with shapes that a test can bend.
struct Arguments {
  DeviceBuffer<float> q_memory, k_memory, v_memory;
  DeviceBuffer<std::int32_t> lens_memory, tables_memory;
  DeviceBuffer<float> out_memory = nan_device_buffer(4096);
  Shape q{2, 4, 64}, k{2, 8, 2, 64}, v{2, 8, 2, 64}, lens{2}, tables{2, 3}, out{2, 4, 64};

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
    lab02::decode_attention_cuda({q_memory.data(), q}, {k_memory.data(), k}, {v_memory.data(), v},
                                 {lens_memory.data(), lens}, {out_memory.data(), out});
  }
  void paged() {
    lab02::paged_decode_attention_cuda({q_memory.data(), q}, {k_memory.data(), k}, {v_memory.data(), v},
                                       {tables_memory.data(), tables}, {lens_memory.data(), lens},
                                       {out_memory.data(), out});
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
  expect_refuses(call, "more kv heads than heads", [](Arguments& x) { x.k = x.v = {2, 4, 8, 64}; });
  expect_refuses(call, "a group of 16 query heads, 8 are allowed", [](Arguments& x) {
    x.q = x.out = {2, 16, 64};
    x.k = x.v = {2, 8, 1, 64};
  });
  expect_refuses(call, "head_dim 48 is no multiple of 32", [](Arguments& x) {
    x.q = x.out = {2, 4, 48};
    x.k = x.v = {2, 8, 2, 48};
  });
  expect_refuses(call, "head_dim 160 is above 128", [](Arguments& x) {
    x.q = x.out = {2, 4, 160};
    x.k = x.v = {2, 8, 2, 160};
  });
  expect_refuses(call, "one length for two sequences", [](Arguments& x) { x.lens = {1}; });
}

KIT_CUDA_TEST(DecodeAttentionCuda, RejectsShapesThatDisagree) {
  expect_refuses_bad_shapes(&Arguments::decode);
  expect_refuses(&Arguments::decode, "caches of 3 sequences for queries of 2", [](Arguments& x) {
    x.k = x.v = {3, 8, 2, 64};
  });
}

KIT_CUDA_TEST(PagedDecodeAttentionCuda, RejectsShapesThatDisagree) {
  expect_refuses_bad_shapes(&Arguments::paged);
  expect_refuses(&Arguments::paged, "one table for two sequences", [](Arguments& x) { x.tables = {1, 3}; });
  expect_refuses(&Arguments::paged, "a table without rows", [](Arguments& x) { x.tables = {6}; });
}

KIT_CUDA_TEST(DecodeAttentionCuda, NoSequencesNoLaunch) {
  KIT_SKIP_WITHOUT_COUNTS();
  Arguments x;
  x.q = x.out = {0, 4, 64};
  x.k = x.v = {0, 8, 2, 64};
  x.lens = {0};
  EXPECT_TRUE(kit::simt::profile([&] { x.decode(); }).empty()) << "a launch although there is nothing to do";
}

KIT_CUDA_TEST(PagedDecodeAttentionCuda, NoSequencesNoLaunch) {
  KIT_SKIP_WITHOUT_COUNTS();
  Arguments x;
  x.q = x.out = {0, 4, 64};
  x.lens = {0};
  x.tables = {0, 3};
  EXPECT_TRUE(kit::simt::profile([&] { x.paged(); }).empty()) << "a launch although there is nothing to do";
}

}  // namespace
