#include <gtest/gtest.h>

#include "cuda_support.h"
#include "lab01/cuda_kernels.h"

// What the executor counts of the kernels of task 7, against the least that the bytes need. Whole warps and
// whole tiles, so that the ideal is exact; the tests of the task have the odd sizes.

namespace {

using kit::Tensor;
using kit::simt::Access;
using kit::simt::Counters;
using kit::simt::Space;
using lab01_tests::has_no_bank_conflicts;
using lab01_tests::is_coalesced;
using lab01_tests::Operation;
using lab01_tests::Profile;

constexpr std::int64_t kRows = 128;
constexpr std::int64_t kCols = 256;
constexpr std::int64_t kCount = kRows * kCols;
constexpr std::int64_t kBytes = 4 * kCount;

Tensor<float> random_array(const kit::Shape& shape, std::uint64_t stream) {
  kit::Rng rng = kit::testing::make_rng(stream);
  return kit::testing::random_tensor(shape, rng);
}

Profile profile_transpose(const Operation& transpose, std::uint64_t stream) {
  const Tensor<float> in = random_array({kRows, kCols}, stream);
  Tensor<float> expected({kCols, kRows});
  for (std::int64_t i = 0; i < kRows; ++i) {
    for (std::int64_t j = 0; j < kCols; ++j) expected(j, i) = in(i, j);
  }
  return {transpose, in, {kCols, kRows}, &expected};
}

/// The sum's result is a matter of the task's tests.
Profile profile_sum(std::uint64_t stream) {
  return {lab01::sum_cuda, random_array({kCount}, stream), {1}, nullptr};
}

/// Sectors of device memory, those counted and the fewest possible.
struct Sectors {
  std::int64_t counted = 0;
  std::int64_t ideal = 0;
};

/// Each element is read and written once: 4 bytes of a sector of 32.
void expect_coalesced(const char* function, const Profile& profile, Sectors& sectors) {
  SCOPED_TRACE(function);
  for (const Access access : {Access::kLoad, Access::kStore}) {
    sectors.counted += profile.total(Space::kGlobal, access).sectors;
    sectors.ideal += kBytes / 32;
    EXPECT_EQ(profile.bytes(Space::kGlobal, access), kBytes)
        << "bytes of the threads' " << name(access) << "s";
    EXPECT_TRUE(is_coalesced(profile, access, kBytes / 32));
  }
}

KIT_CUDA_TEST(CoalescedMilestone, SectorsEqualTheIdeal) {
  KIT_SKIP_WITHOUT_COUNTS();
  const Tensor<float> in = random_array({kCount}, 950);
  Sectors sectors;
  expect_coalesced("copy_cuda", {lab01::copy_cuda, in, in.shape(), &in}, sectors);
  expect_coalesced("copy_vectorized_cuda", {lab01::copy_vectorized_cuda, in, in.shape(), &in}, sectors);
  expect_coalesced("transpose_tiled_cuda", profile_transpose(lab01::transpose_tiled_cuda, 951), sectors);
  expect_coalesced("transpose_padded_cuda", profile_transpose(lab01::transpose_padded_cuda, 952), sectors);
  // How many sums of parts there are is the student's choice, so the loads of all launches are held against
  // their own ideal.
  const Profile sum = profile_sum(953);
  const Counters load = sum.total(Space::kGlobal, Access::kLoad);
  sectors.counted += load.sectors;
  sectors.ideal += load.ideal_sectors;
  EXPECT_TRUE(is_coalesced(sum, Access::kLoad, load.ideal_sectors)) << "sum_cuda";
  kit::testing::record_value("sectors", static_cast<double>(sectors.counted));
  kit::testing::record_value("ideal_sectors", static_cast<double>(sectors.ideal));
}

KIT_CUDA_TEST(BankMilestone, WavefrontsEqualTheIdeal) {
  KIT_SKIP_WITHOUT_COUNTS();
  std::int64_t wavefronts = 0;
  std::int64_t ideal = 0;
  const Profile transpose = profile_transpose(lab01::transpose_padded_cuda, 960);
  const Profile sum = profile_sum(961);
  for (const Access access : {Access::kLoad, Access::kStore}) {
    const Counters tile = transpose.total(Space::kShared, access);
    const Counters sums = sum.total(Space::kShared, access);
    wavefronts += tile.wavefronts + sums.wavefronts;
    ideal += kBytes / 128 + sums.ideal_wavefronts;
    EXPECT_TRUE(has_no_bank_conflicts(transpose, access, kBytes)) << "transpose_padded_cuda";
    EXPECT_EQ(sums.wavefronts, sums.ideal_wavefronts)
        << "sum_cuda: " << name(access) << "s of shared memory\n"
        << sum.to_string();
  }
  kit::testing::record_value("wavefronts", static_cast<double>(wavefronts));
  kit::testing::record_value("ideal_wavefronts", static_cast<double>(ideal));
}

}  // namespace
