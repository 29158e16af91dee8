#include <gtest/gtest.h>

#include "cuda_support.h"
#include "lab05/cuda_kernels.h"

// Task 8. On the executor products of matrices are computed by kit/simt/wmma.h.

namespace {

using lab05_tests::expect_attends;
using lab05_tests::FlashInput;
using lab05_tests::FlashKernel;
using lab05_tests::random_flash;

constexpr FlashKernel kTensorCores = FlashKernel::kTensorCores;

KIT_CUDA_TEST(FlashTensorCoresCuda, MatchesTheReference) {
  expect_attends({128, 128, 1, 1, 64, true}, kTensorCores, 15800);
  expect_attends({130, 97, 1, 1, 32, false}, kTensorCores, 15801);
  expect_attends({70, 140, 1, 1, 128, true}, kTensorCores, 15802);
}

KIT_CUDA_TEST(FlashTensorCoresCuda, LengthsThatAreNoMultiplesOfTiles) {
  expect_attends({1, 1, 2, 1, 64, true}, kTensorCores, 15803);
  expect_attends({31, 33, 4, 2, 32, false}, kTensorCores, 15804);
  expect_attends({1, 200, 2, 1, 64, true}, kTensorCores, 15805);
}

KIT_CUDA_TEST(FlashTensorCoresCuda, RowsThatSeeNoKey) {
  expect_attends({100, 40, 2, 1, 32, true}, kTensorCores, 15806);
  expect_attends({5, 0, 2, 1, 64, true}, kTensorCores, 15807);
}

KIT_CUDA_TEST(FlashTensorCoresCuda, TheMaximumMayGrowFromTileToTile) {
  FlashInput input = random_flash({16, 200, 1, 1, 64, false}, 15808);
  for (std::int64_t i = 0; i < input.q.dim(0); ++i) input.q(i, 0, 0) = 8.0F;
  for (std::int64_t j = 0; j < input.k.dim(0); ++j) input.k(j, 0, 0) = static_cast<float>(j / 64);
  expect_attends(input, kTensorCores);
}

KIT_CUDA_TEST(FlashTensorCoresCuda, SumsAreFloat) {
  expect_attends(random_flash({2, 1000, 1, 1, 32, false}, 15809), kTensorCores,
                 "Likely cause: l is summed up in 16 bits. Keep sums in float.");
}

KIT_CUDA_TEST(FlashTensorCoresCuda, StoresTheResultsAlone) {
  KIT_SKIP_WITHOUT_COUNTS();
  lab05_tests::expect_stores_results_alone(kTensorCores, 15810);
}

KIT_CUDA_TEST(FlashTensorCoresCuda, LoadsWholeSectorsOnce) {
  KIT_SKIP_WITHOUT_COUNTS();
  lab05_tests::expect_whole_sectors({128, 128, 1, 1, 64, false}, kTensorCores, 15811);
  lab05_tests::expect_loads_once({256, 128, 1, 1, 32, true}, kTensorCores, 15812);
}

KIT_CUDA_TEST(FlashTensorCoresCuda, RejectsShapesThatDisagree) {
  lab05_tests::expect_refuses_bad_shapes(kTensorCores);
}

KIT_CUDA_TEST(FlashTensorCoresCuda, NoRowsNoLaunch) {
  KIT_SKIP_WITHOUT_COUNTS();
  lab05_tests::expect_no_launch_without_rows(kTensorCores);
}

}  // namespace
