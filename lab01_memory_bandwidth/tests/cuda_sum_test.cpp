#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <optional>
#include <vector>

#include "cuda_support.h"
#include "lab01/cuda_kernels.h"

namespace {

using kit::DeviceBuffer;
using kit::Tensor;
using kit::simt::Access;
using kit::simt::Counters;
using kit::simt::LaunchReport;
using kit::simt::Space;
using kit::testing::nan_device_buffer;
using kit::testing::refuses;
using lab01_tests::Profile;
using lab01_tests::run;

float sum(const Tensor<float>& in) {
  return run(lab01::sum_cuda, in, {1})(0);
}

/// The definition, in double, over the elements that `counts` names.
template <class Predicate>
double reference(const Tensor<float>& in, Predicate counts) {
  double total = 0.0;
  for (std::int64_t i = 0; i < in.size(); ++i) total += counts(i) ? double{in(i)} : 0.0;
  return total;
}
double reference(const Tensor<float>& in) {
  return reference(in, [](std::int64_t) { return true; });
}

/// Whole numbers from 1 to 8. Every partial sum is below 2^24 for up to two million of them, so float adds
/// them exactly, in any order.
Tensor<float> whole_numbers(std::int64_t n, std::uint64_t stream) {
  kit::Rng rng = kit::testing::make_rng(stream);
  Tensor<float> result({n});
  for (float& x : result.span()) x = static_cast<float>(1 + rng.below(8));
  return result;
}

std::vector<kit::testing::KnownValue> known_mistakes(const Tensor<float>& in) {
  const std::int64_t n = in.size();
  std::vector<kit::testing::KnownValue> mistakes;
  const double half = reference(in, [](std::int64_t i) { return i % 32 < 16; });
  mistakes.push_back({"the sum of lanes 0 to 15 of each warp: offsets begin with 16", half});
  for (const double factor : {2.0, 4.0, 8.0, 16.0}) {
    // Where the lane it asks for is outside of its segment, a lane gets its own value.
    mistakes.push_back(
        {fmt::format(
             "{} times the sum: an offset that is as large as the width of the shuffle (32 where none is "
             "given) doubles a lane's own value; offsets are 16, 8, 4, 2, 1",
             factor),
         factor * reference(in)});
    mistakes.push_back(
        {fmt::format(
             "{} times the sum of lanes 0 to 15 of each warp: a width of 16 adds up half warps, and an "
             "offset of 16 then doubles a lane's own value",
             factor),
         factor * half});
  }
  for (const std::int64_t piece : {4, 32, 64, 128, 256, 512, 1024})
    mistakes.push_back({fmt::format("a sum without the last n mod {} elements", piece),
                        reference(in, [&](std::int64_t i) { return i < n / piece * piece; })});
  for (const std::int64_t piece : {32, 64, 128, 256, 512, 1024})
    mistakes.push_back({fmt::format("the sum of the first {} elements alone", piece),
                        reference(in, [&](std::int64_t i) { return i < piece; })});
  return mistakes;
}

KIT_CUDA_TEST(SumCuda, WholeNumbersExactly) {
  std::uint64_t stream = 900;
  for (const std::int64_t n : {1000, 32, 33, 1, 2, 31, 255, 256, 257, 4096, 65537, 300001}) {
    SCOPED_TRACE(fmt::format("n = {}", n));
    const Tensor<float> in = whole_numbers(n, stream++);
    EXPECT_TRUE(kit::testing::matches_value(double{sum(in)}, reference(in), 0.0, known_mistakes(in)));
  }
}

KIT_CUDA_TEST(SumCuda, FractionsWithinRounding) {
  std::uint64_t stream = 920;
  for (const std::int64_t n : {33, 1000, 100003}) {
    SCOPED_TRACE(fmt::format("n = {}", n));
    kit::Rng rng = kit::testing::make_rng(stream++);
    Tensor<float> in({n});
    rng.fill_uniform(in.span(), 0.5F, 1.5F);
    // |error| <= k u sum |x| (Higham, Accuracy and Stability of Numerical Algorithms, section 4.2), u =
    // 2^-24, with k the most additions that an element goes through: a share of n / 32 even if a single warp
    // does all, and at most ten in each of two launches' trees. With positive elements sum |x| is the sum.
    const double k = static_cast<double>(n) / 32.0 + 20.0;
    EXPECT_TRUE(kit::testing::matches_value(double{sum(in)}, reference(in), k * std::ldexp(1.0, -24)));
  }
}

KIT_CUDA_TEST(SumCuda, EmptySumIsZero) {
  EXPECT_EQ(sum(Tensor<float>({0})), 0.0F) << "the sum of nothing is 0, and must be written";
}

KIT_CUDA_TEST(SumCuda, SameBitsOnEveryRun) {
  constexpr std::int64_t kCount = 50021;
  kit::Rng rng = kit::testing::make_rng(930);
  Tensor<float> in({kCount});
  // Magnitudes over 40 powers of two and both signs: another order of additions gives other bits.
  for (float& x : in.span()) x = std::ldexp(rng.uniform(-1.0F, 1.0F), static_cast<int>(rng.below(40)) - 20);
  // Kept from one lane order to the next.
  static std::optional<float> first;
  float result = 0.0F;
  std::int64_t n_atomics = 0;
  for (int repeat = 0; repeat < 3; ++repeat) {
    for (const LaunchReport& launch : kit::simt::profile([&] { result = sum(in); }))
      n_atomics += launch.total(Space::kGlobal, Access::kAtomic).requests;
    if (!first) first = result;
    ASSERT_EQ(std::bit_cast<std::uint32_t>(result), std::bit_cast<std::uint32_t>(*first))
        << fmt::format("the sum is {:.9g} in this run and was {:.9g} before, of the same numbers.", result,
                       *first)
        << (n_atomics > 0
                ? "\nLikely cause: atomicAdd adds in the order in which thread blocks happen to end. Store "
                  "each thread block's sum, and add them up in a second launch."
                : "\nLikely cause: the order of additions depends on which thread or thread block is first.");
  }
}

KIT_CUDA_TEST(SumCuda, LeavesItsNeighboursAlone) {
  EXPECT_TRUE(lab01_tests::writes_only_its_output(lab01::sum_cuda, whole_numbers(1000, 931), {1}));
}

KIT_CUDA_TEST(SumCuda, RejectsAnOutputOfAnotherShape) {
  const DeviceBuffer<float> in(whole_numbers(100, 932).span());
  DeviceBuffer<float> out = nan_device_buffer(2);
  for (const std::int64_t size : {0, 2}) {
    EXPECT_TRUE(refuses(
        [&] {
          lab01::sum_cuda(in.view({100}), {out.data(), {size}});
        },
        out))
        << "out has shape [" << size << "]";
  }
}

KIT_CUDA_TEST(SumCuda, ReadsEachElementOnce) {
  KIT_SKIP_WITHOUT_COUNTS();
  constexpr std::int64_t kCount = 1 << 16;
  const Tensor<float> in = whole_numbers(kCount, 933);
  const Profile profile(lab01::sum_cuda, in, {1}, nullptr);
  const Counters load = profile.total(Space::kGlobal, Access::kLoad);
  const std::int64_t n_read = profile.bytes(Space::kGlobal, Access::kLoad) / 4;
  // Sums of parts are read again, at most one for each warp's worth of elements.
  EXPECT_GE(n_read, kCount) << "not all elements are read\n" << profile.to_string();
  EXPECT_LE(n_read, kCount + kCount / 32)
      << "elements are read more than once, or sums of parts go through device memory. A thread adds its "
         "elements in a register, a warp by shuffles, and only a thread block's sum is written\n"
      << profile.to_string();
  EXPECT_LE(load.requests, (kCount + kCount / 32) / 32 + kCount / 1024)
      << "requests: a warp's 32 threads should read 32 neighbours at once, here "
      << load.threads_per_request() << " of them take part in a request\n"
      << profile.to_string();
}

KIT_CUDA_TEST(SumCuda, AddsWithShuffles) {
  KIT_SKIP_WITHOUT_COUNTS();
  const Profile profile(lab01::sum_cuda, whole_numbers(1 << 16, 934), {1}, nullptr);
  for (const LaunchReport& launch : profile.launches()) {
    const std::int64_t n_blocks = std::int64_t{launch.grid[0]} * launch.grid[1] * launch.grid[2];
    const std::int64_t stored = launch.total(Space::kShared, Access::kStore).thread_accesses +
                                launch.total(Space::kShared, Access::kAtomic).thread_accesses;
    // Twice, for those who clear them first.
    EXPECT_LE(stored, 2 * 32 * n_blocks)
        << launch.kernel << " puts " << stored / n_blocks
        << " values of a thread block into shared memory. One of "
        << "each warp, at most 32, is enough: lanes of a warp pass values by "
           "__shfl_down_sync, register to register.\n"
        << profile.to_string();
  }
  ASSERT_FALSE(profile.launches().empty());
  const LaunchReport& largest = *std::ranges::max_element(
      profile.launches(), {},
      [](const LaunchReport& launch) { return launch.total(Space::kGlobal, Access::kLoad).thread_accesses; });
  const std::int64_t n_warps =
      std::int64_t{largest.grid[0]} * largest.grid[1] * largest.grid[2] *
      ((largest.thread_block[0] * largest.thread_block[1] * largest.thread_block[2] + 31) / 32);
  // Offsets 16, 8, 4, 2, 1: log2(32) = 5 shuffles add up a warp.
  EXPECT_GE(largest.shuffles, 5 * n_warps)
      << largest.kernel << " has " << n_warps << " warps, each of which needs 5 shuffles\n"
      << profile.to_string();
}

}  // namespace
