#include "cuda_support.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace lab01_tests {

using kit::DeviceBuffer;
using kit::Tensor;
using kit::simt::Access;
using kit::simt::Counters;
using kit::simt::Space;
using kit::testing::same_bits;
using ::testing::AssertionFailure;
using ::testing::AssertionResult;
using ::testing::AssertionSuccess;

namespace {

/// "the last 3 of 1003 elements were never written", and why that may be.
std::string unwritten(const Tensor<float>& got) {
  const auto is_nan = [](float x) { return std::isnan(x); };
  const std::span<const float> all = got.span();
  const auto n = static_cast<std::int64_t>(all.size());
  const std::int64_t n_nan = std::ranges::count_if(all, is_nan);
  if (n_nan == 0 || n_nan == n) return n_nan == 0 ? "" : "nothing was written\n";
  if (n_nan != std::ranges::count_if(all.last(static_cast<std::size_t>(n_nan)), is_nan)) {
    if (got.rank() != 2 || n_nan % 32 != 0) return "";
    return "whole pieces were never written\nLikely cause: the grid does not cover the matrix. Its x counts "
           "tiles along a row of in (cols / 32, rounded up), its y tiles along a column.\n";
  }
  std::string text = fmt::format("the last {} of {} elements were never written\n", n_nan, n);
  if (n_nan == n % 4)
    return text + "Likely cause: the n mod 4 elements that do not fill 16 bytes are left out.\n";
  for (const std::int64_t n_threads : {32, 64, 128, 256, 512, 1024}) {
    if (n_nan != n % n_threads) continue;
    return text + fmt::format(
                      "Likely cause: n / {0} thread blocks are launched instead of n / {0} rounded up "
                      "(kit::ceil_div), so nobody has the last n mod {0} elements.\n",
                      n_threads);
  }
  return text;
}

std::string access_name(Access access) {
  return access == Access::kLoad ? "load" : access == Access::kStore ? "store" : "atomic";
}

std::string per_request(double n) {
  return fmt::format("{:.4g}", n);
}

}  // namespace

Tensor<float> run(const Operation& operation, const Tensor<float>& in, const kit::Shape& out_shape) {
  const DeviceBuffer<float> device_in(in.span());
  DeviceBuffer<float> device_out = kit::testing::nan_device_buffer(out_shape.size());
  operation(device_in.view(in.shape()), device_out.view(out_shape));
  Tensor<float> out = kit::testing::to_host(device_out, out_shape);
  EXPECT_TRUE(same_bits(device_in.to_host(), in.span())) << "the input was changed";
  return out;
}

AssertionResult equals(const Tensor<float>& got, const Tensor<float>& expected,
                       std::span<const kit::KnownMistake> mistakes) {
  AssertionResult result = kit::testing::matches(got, expected, {}, mistakes);
  if (result) return result;
  return result << unwritten(got);
}

AssertionResult writes_only_its_output(const Operation& operation, const Tensor<float>& in,
                                       const kit::Shape& out_shape) {
  constexpr std::int64_t kMargin = 4096;  // more than a thread block's share; keeps the view's alignment
  const std::int64_t n = out_shape.size();
  std::vector<float> host(static_cast<std::size_t>(n + 2 * kMargin));
  for (std::size_t i = 0; i < host.size(); ++i) host[i] = -1.0F - static_cast<float>(i % 1000);
  const DeviceBuffer<float> device_in(in.span());
  DeviceBuffer<float> device_out{std::span<const float>(host)};
  operation(device_in.view(in.shape()), {device_out.data() + kMargin, out_shape});
  const std::vector<float> after = device_out.to_host();
  for (std::size_t i = 0; i < host.size(); ++i) {
    const auto at = static_cast<std::int64_t>(i) - kMargin;
    if ((at >= 0 && at < n) || same_bits({&after[i], 1}, {&host[i], 1})) continue;
    return AssertionFailure() << "element " << at << " was written, but the output has elements 0 .. "
                              << n - 1
                              << "\nLikely cause: threads beyond the end are not held back (if (i < n)).";
  }
  return AssertionSuccess();
}

Profile::Profile(const Operation& operation, const Tensor<float>& in, const kit::Shape& out_shape,
                 const Tensor<float>* expected)
    : LaunchCounts([&] {
        const Tensor<float> out = run(operation, in, out_shape);
        if (expected == nullptr) return;
        EXPECT_TRUE(equals(out, *expected)) << "the result is wrong, so counts say little";
      }) {}

AssertionResult is_coalesced(const Profile& profile, Access access, std::int64_t ideal_sectors) {
  const Counters all = profile.total(Space::kGlobal, access);
  if (all.sectors == ideal_sectors) return AssertionSuccess();
  return AssertionFailure() << access_name(access) << "s of device memory: the elements fill "
                            << ideal_sectors << " sectors of 32 bytes, " << all.sectors << " are moved\n"
                            << profile.to_string() << profile.explain_sectors(access);
}

AssertionResult has_no_bank_conflicts(const Profile& profile, Access access, std::int64_t n_bytes) {
  const Counters all = profile.total(Space::kShared, access);
  const std::int64_t bytes = profile.bytes(Space::kShared, access);
  const std::string name = access_name(access) + "s of shared memory";
  if (bytes != n_bytes) {
    return AssertionFailure() << name << ": the threads ask for " << bytes << " bytes, " << n_bytes
                              << " were expected: each element goes through the tile once\n"
                              << profile.to_string();
  }
  if (all.wavefronts == n_bytes / 128) return AssertionSuccess();
  AssertionResult failure = AssertionFailure();
  failure << name << ": " << n_bytes << " bytes need " << n_bytes / 128 << " wavefronts of 128 bytes, "
          << all.wavefronts << " were counted: " << per_request(all.bank_conflict_degree())
          << " times the ideal\n"
          << profile.to_string();
  if (all.bank_conflict_degree() > 31.0) {
    return failure << "Likely cause: all threads of a warp hit one bank. Elements of a column are a row "
                      "apart, and 32 floats lead back to the same bank. A row must be 33 long: tile[32][33]; "
                      "tile[33][32] adds a row and changes nothing.";
  }
  return failure
         << "Likely cause: the distance of a warp's words shares a factor with the 32 banks, or a warp is "
            "spread over two rows of the tile. Thread blocks 32 wide, and an odd row length (33), spread a "
            "column over all banks.";
}

}  // namespace lab01_tests
