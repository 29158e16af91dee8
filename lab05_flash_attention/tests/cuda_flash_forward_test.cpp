#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "cuda_support.h"
#include "lab05/cuda_kernels.h"

// Task 6: flash_attention_cuda and flash_attention_half_cuda, against attention in double and by what the
// executor counts. Each suite is one element type; the kernel is meant to be one source for both.

namespace {

using kit::simt::Counters;
using kit::simt::LineReport;
using kit::simt::Space;
using lab05_tests::conflicts;
using lab05_tests::counts_of;
using lab05_tests::expect_attends;
using lab05_tests::FlashInput;
using lab05_tests::FlashKernel;
using lab05_tests::random_flash;

constexpr FlashKernel kFloat = FlashKernel::kFloat;
constexpr FlashKernel kHalf = FlashKernel::kHalf;

/// Scores of about `first` at the first key and `last` at the last, plus random ones of size 1.
FlashInput with_drifting_scores(FlashInput input, float first, float last) {
  const auto n = static_cast<float>(std::max<std::int64_t>(input.k.dim(0) - 1, 1));
  // Element 0 of queries is sqrt(head_dim), so that element 0 of a key is what its score is moved by.
  for (std::int64_t i = 0; i < input.q.dim(0); ++i) {
    for (std::int64_t h = 0; h < input.q.dim(1); ++h)
      input.q(i, h, 0) = std::sqrt(static_cast<float>(input.q.dim(2)));
  }
  for (std::int64_t j = 0; j < input.k.dim(0); ++j) {
    for (std::int64_t h = 0; h < input.k.dim(1); ++h)
      input.k(j, h, 0) = kit::to_float(kit::to_half(first + (last - first) * static_cast<float>(j) / n));
  }
  return input;
}

KIT_CUDA_TEST(FlashAttentionCuda, MatchesTheReference) {
  expect_attends({128, 128, 2, 2, 64, true}, kFloat, 15600);
  expect_attends({128, 64, 1, 1, 64, false}, kFloat, 15601);
  expect_attends({256, 256, 1, 1, 64, true}, kFloat, 15602);
}

KIT_CUDA_TEST(FlashAttentionCuda, LengthsThatAreNoMultiplesOfTiles) {
  for (const bool causal : {true, false}) {
    expect_attends({1, 1, 2, 1, 32, causal}, kFloat, 15603);
    expect_attends({31, 33, 2, 1, 32, causal}, kFloat, 15604);
    expect_attends({129, 131, 1, 1, 64, causal}, kFloat, 15605);
    expect_attends({1, 200, 1, 1, 64, causal}, kFloat, 15606);
  }
  expect_attends({65, 1, 1, 1, 64, false}, kFloat, 15607);
}

KIT_CUDA_TEST(FlashAttentionCuda, HeadsOf32And128Elements) {
  expect_attends({130, 97, 1, 1, 32, false}, kFloat, 15608);
  expect_attends({70, 140, 2, 1, 32, true}, kFloat, 15609);
  expect_attends({130, 97, 1, 1, 128, false}, kFloat, 15610);
  expect_attends({70, 140, 1, 1, 128, true}, kFloat, 15611);
}

KIT_CUDA_TEST(FlashAttentionCuda, GroupsOfQueryHeadsShareKeysAndValues) {
  expect_attends({40, 40, 6, 2, 64, true}, kFloat, 15612);
  expect_attends({17, 70, 8, 1, 32, true}, kFloat, 15613);
  expect_attends({20, 30, 4, 4, 64, false}, kFloat, 15614);
}

KIT_CUDA_TEST(FlashAttentionCuda, CausalMaskIsAlignedToTheLastKey) {
  expect_attends({40, 100, 2, 1, 64, true}, kFloat, 15615);
  expect_attends({130, 300, 1, 1, 64, true}, kFloat, 15616);
  expect_attends({100, 99, 1, 1, 64, true}, kFloat, 15617);
}

KIT_CUDA_TEST(FlashAttentionCuda, RowsThatSeeNoKey) {
  const char* const hint =
      "Rows that see no key have out 0 and log_sum_exp -infinity. Likely cause of NaN: -infinity - -infinity "
      "or 0 / 0. Likely cause of an average of values: a finite number such as -1e30 for a hidden score, so "
      "that a row of hidden scores has weights of 1.";
  expect_attends(random_flash({100, 40, 2, 1, 64, true}, 15618), kFloat, hint);
  expect_attends(random_flash({300, 70, 1, 1, 64, true}, 15619), kFloat, hint);
  expect_attends(random_flash({5, 0, 2, 1, 64, true}, 15620), kFloat, hint);
  expect_attends(random_flash({5, 0, 2, 1, 64, false}, 15621), kFloat, hint);
}

KIT_CUDA_TEST(FlashAttentionCuda, TheMaximumMayGrowFromTileToTile) {
  const FlashInput input = random_flash({64, 200, 2, 1, 64, false}, 15622);
  expect_attends(with_drifting_scores(input, -4.0F, 4.0F), kFloat);
  expect_attends(with_drifting_scores(input, 4.0F, -4.0F), kFloat);
}

KIT_CUDA_TEST(FlashAttentionCuda, ScoresOfAnySize) {
  for (const float size : {300.0F, -300.0F}) {
    expect_attends(with_drifting_scores(random_flash({33, 100, 1, 1, 64, true}, 15623), size, size), kFloat,
                   size > 0 ? "Likely cause of a NaN: e^300 is infinite. Subtract the maximum first."
                            : "Likely cause of a NaN or 0: a maximum that starts at 0, so that all weights "
                              "are e^-300 = 0.",
                   300.0);
  }
}

/// Scores below every number that could stand for -infinity, but for -infinity itself.
KIT_CUDA_TEST(FlashAttentionCuda, ScoresBelowAnyFiniteStandIn) {
  FlashInput input = random_flash({20, 70, 1, 1, 64, true}, 15624);
  for (std::int64_t i = 0; i < input.q.dim(0); ++i) {
    std::ranges::fill(input.q.row(i, 0), 0.0F);
    input.q(i, 0, 0) = -std::ldexp(1.0F, 115);
  }
  // Scores are -2^112 times 1, 2, 3 or 4: the least of them have all the weight.
  for (std::int64_t j = 0; j < input.k.dim(0); ++j) input.k(j, 0, 0) = static_cast<float>(1 + j % 4);
  expect_attends(
      input, kFloat,
      "Scores are near -1e34. Likely cause: a finite number such as -1e30 for the score of a hidden "
      "key, or for the maximum of no keys: it is larger than these.");
}

KIT_CUDA_TEST(FlashAttentionCuda, StoresTheResultsAlone) {
  KIT_SKIP_WITHOUT_COUNTS();
  lab05_tests::expect_stores_results_alone(kFloat, 15625);
}

KIT_CUDA_TEST(FlashAttentionCuda, LoadsWholeSectors) {
  KIT_SKIP_WITHOUT_COUNTS();
  lab05_tests::expect_whole_sectors({128, 128, 2, 1, 64, false}, kFloat, 15626);
  lab05_tests::expect_whole_sectors({70, 100, 2, 1, 32, true}, kFloat, 15627);
  lab05_tests::expect_whole_sectors({70, 64, 1, 1, 128, false}, kFloat, 15628);
}

KIT_CUDA_TEST(FlashAttentionCuda, LoadsKeysAndValuesOnceAThreadBlock) {
  KIT_SKIP_WITHOUT_COUNTS();
  lab05_tests::expect_loads_once({256, 128, 2, 1, 64, false}, kFloat, 15629);
  lab05_tests::expect_loads_once({130, 100, 1, 1, 64, false}, kFloat, 15630);
}

KIT_CUDA_TEST(FlashAttentionCuda, NoBankConflicts) {
  KIT_SKIP_WITHOUT_COUNTS();
  for (const std::int64_t head_dim : {32, 64, 128}) {
    const FlashInput input = random_flash({128, 128, 1, 1, head_dim, false}, 15631);
    SCOPED_TRACE(input.to_string());
    const kit::testing::LaunchCounts counts = counts_of(input, kFloat);
    // Line by line: a line whose lanes share words takes less than the ideal, and must not make up for
    // others.
    const Counters bad = counts.total([](const LineReport& line) {
      return line.space == Space::kShared && line.counters.wavefronts > line.counters.ideal_wavefronts;
    });
    EXPECT_EQ(bad.wavefronts - bad.ideal_wavefronts, 0) << "wavefronts of shared memory too many\n"
                                                        << conflicts(counts);
    EXPECT_GT(counts.total([](const LineReport& line) { return line.space == Space::kShared; }).requests, 0)
        << "no tile in shared memory";
  }
}

KIT_CUDA_TEST(FlashAttentionCuda, RejectsShapesThatDisagree) {
  lab05_tests::expect_refuses_bad_shapes(kFloat);
}

KIT_CUDA_TEST(FlashAttentionCuda, NoRowsNoLaunch) {
  KIT_SKIP_WITHOUT_COUNTS();
  lab05_tests::expect_no_launch_without_rows(kFloat);
}

KIT_CUDA_TEST(FlashAttentionHalfCuda, MatchesTheReference) {
  expect_attends({128, 128, 2, 2, 64, true}, kHalf, 15640);
  expect_attends({130, 97, 2, 1, 32, false}, kHalf, 15641);
  expect_attends({70, 140, 2, 1, 128, true}, kHalf, 15642);
  expect_attends({20, 70, 6, 2, 64, true}, kHalf, 15643);
}

KIT_CUDA_TEST(FlashAttentionHalfCuda, LengthsThatAreNoMultiplesOfTiles) {
  expect_attends({1, 1, 2, 1, 64, true}, kHalf, 15644);
  expect_attends({31, 33, 2, 1, 64, false}, kHalf, 15645);
  expect_attends({100, 40, 1, 1, 64, true}, kHalf, 15646);
  expect_attends({1, 200, 2, 1, 64, true}, kHalf, 15647);
}

/// Sums of 1000 terms in 16 bits are off by about 1 %.
KIT_CUDA_TEST(FlashAttentionHalfCuda, SumsAreFloat) {
  expect_attends(random_flash({2, 1000, 1, 1, 32, false}, 15648), kHalf,
                 "Likely cause: l or o is summed up in 16 bits. Keep sums in float.");
}

/// Products that 16 bits do not hold: scores are near 300 and differ by less than a unit in their last place.
KIT_CUDA_TEST(FlashAttentionHalfCuda, ScoresAreFloat) {
  expect_attends(with_drifting_scores(random_flash({33, 100, 1, 1, 64, true}, 15649), 300.0F, 300.0F), kHalf,
                 "Likely cause: scores are rounded to 16 bits, which at 300 are multiples of 0.25.", 300.0);
}

KIT_CUDA_TEST(FlashAttentionHalfCuda, StoresTheResultsAlone) {
  KIT_SKIP_WITHOUT_COUNTS();
  lab05_tests::expect_stores_results_alone(kHalf, 15650);
}

KIT_CUDA_TEST(FlashAttentionHalfCuda, LoadsWholeSectors) {
  KIT_SKIP_WITHOUT_COUNTS();
  lab05_tests::expect_whole_sectors({128, 128, 2, 1, 64, false}, kHalf, 15651);
  lab05_tests::expect_whole_sectors({70, 100, 2, 1, 32, true}, kHalf, 15652);
}

KIT_CUDA_TEST(FlashAttentionHalfCuda, LoadsKeysAndValuesOnceAThreadBlock) {
  KIT_SKIP_WITHOUT_COUNTS();
  lab05_tests::expect_loads_once({256, 128, 2, 1, 64, false}, kHalf, 15653);
}

KIT_CUDA_TEST(FlashAttentionHalfCuda, RejectsShapesThatDisagree) {
  lab05_tests::expect_refuses_bad_shapes(kHalf);
}

KIT_CUDA_TEST(FlashAttentionHalfCuda, NoRowsNoLaunch) {
  KIT_SKIP_WITHOUT_COUNTS();
  lab05_tests::expect_no_launch_without_rows(kHalf);
}

}  // namespace
