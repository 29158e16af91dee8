#include "lab01/stream.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "reference.h"

namespace {

using kit::testing::matches_count;
using kit::testing::throws_error;
using lab01::Stores;
using lab01::StreamKernel;
using namespace lab01_tests;  // NOLINT(google-build-using-namespace): the lab's own test helpers

using Array = std::vector<double>;

Array random_array(std::size_t n, kit::Rng& rng) {
  Array x(n);
  for (double& value : x) value = rng.normal();
  return x;
}

/// The first element that is not `expected`. One rounding of a product and one of a sum, or a single one with
/// a fused multiply-add: both stay within 1e-15 of the larger operand.
::testing::AssertionResult equals(const Array& got, const Array& expected) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (std::abs(got[i] - expected[i]) <= 1e-15 * (8 + std::abs(expected[i]))) continue;  // false on NaN
    return ::testing::AssertionFailure()
           << fmt::format("element {} of {}: expected {}, got {}{}", i, expected.size(), expected[i], got[i],
                          std::isnan(got[i]) ? " (never written? the output starts as NaN)" : "");
  }
  return ::testing::AssertionSuccess();
}

using Run = std::function<void(const Array& x, const Array& y, double s, std::span<double> out)>;
using Rule = std::function<double(double x, double y, double s)>;

/// Runs a kernel on sizes below, at and beyond what cores and vectors divide evenly.
void expect_kernel(const Run& run, const Rule& rule, std::uint64_t stream) {
  kit::Rng rng = kit::testing::make_rng(stream);
  for (const std::size_t n : {0UL, 1UL, 2UL, 31UL, 33UL, 1000UL, 100'003UL}) {
    SCOPED_TRACE(fmt::format("n = {}", n));
    const Array x = random_array(n, rng);
    const Array y = random_array(n, rng);
    const double s = rng.normal();
    constexpr double kGuard = 12345.0;
    Array out(n + 8, kGuard);  // what lies behind the output must stay
    std::fill_n(out.begin(), n, std::numeric_limits<double>::quiet_NaN());
    run(x, y, s, std::span(out).first(n));
    Array expected(n);
    for (std::size_t i = 0; i < n; ++i) expected[i] = rule(x[i], y[i], s);
    EXPECT_TRUE(equals(out, expected));
    for (std::size_t i = n; i < out.size(); ++i) EXPECT_EQ(out[i], kGuard) << "written beyond the end";
  }
}

TEST(Stream, Copy) {
  expect_kernel(
      [](const Array& x, const Array&, double, std::span<double> out) { lab01::stream_copy(x, out); },
      [](double x, double, double) { return x; }, 50);
}

TEST(Stream, Scale) {
  expect_kernel(
      [](const Array& x, const Array&, double s, std::span<double> out) { lab01::stream_scale(s, x, out); },
      [](double x, double, double s) { return s * x; }, 51);
}

TEST(Stream, Add) {
  expect_kernel(
      [](const Array& x, const Array& y, double, std::span<double> out) { lab01::stream_add(x, y, out); },
      [](double x, double y, double) { return x + y; }, 52);
}

TEST(Stream, Triad) {
  expect_kernel([](const Array& x, const Array& y, double s,
                   std::span<double> out) { lab01::stream_triad(s, x, y, out); },
                [](double x, double y, double s) { return x + s * y; }, 53);
}

TEST(Stream, RejectsLengthsThatDiffer) {
  Array five(5);
  Array six(6);
  EXPECT_TRUE(throws_error([&] { lab01::stream_copy(five, six); }, "6"));
  EXPECT_TRUE(throws_error([&] { lab01::stream_scale(2.0, six, five); }, "5"));
  EXPECT_TRUE(throws_error([&] { lab01::stream_add(five, six, five); }, "6"));
  EXPECT_TRUE(throws_error([&] { lab01::stream_add(six, five, five); }, "6"));
  EXPECT_TRUE(throws_error([&] { lab01::stream_triad(2.0, five, five, six); }, "6"));
  EXPECT_TRUE(throws_error([&] { lab01::stream_triad(2.0, five, six, five); }, "6"));
}

TEST(Stream, BytesCountWhatMoves) {
  kit::Rng rng = kit::testing::make_rng(54);
  const auto expect = [&](StreamKernel kernel, const char* name, std::int64_t n_read) {
    const std::int64_t n = 1 + std::int64_t{rng.next_u32()} * 5;  // beyond 32 bits
    SCOPED_TRACE(fmt::format("stream_bytes of {} with n = {}", name, n));
    const std::int64_t plain = 8 * n * (n_read + 1);
    const std::vector<KnownCount> always = {
        {"elements of 4 bytes; a double has 8", plain / 2},
        {"elements of 4 bytes; a double has 8", 8 * n * (n_read + 2) / 2},
        {"the arrays that are read; the write is missing", 8 * n * n_read},
        {"elements where bytes are asked for", n * (n_read + 1)},
        {"the bytes of the other kernels: copy and scale read one array, add and triad two",
         plain + (n_read == 1 ? 8 : -8) * n}};
    std::vector<KnownCount> allocating = always;
    allocating.insert(allocating.begin(),
                      {"reads counted but not the write-allocate: the line that a store changes "
                       "is read from memory first",
                       plain});
    EXPECT_TRUE(matches_count(lab01::stream_bytes(kernel, n, Stores::kWriteAllocate), 8 * n * (n_read + 2),
                              allocating))
        << "stores that write-allocate";
    std::vector<KnownCount> streaming = always;
    streaming.insert(
        streaming.begin(),
        {"a write-allocate counted for non-temporal stores, which read nothing", 8 * n * (n_read + 2)});
    EXPECT_TRUE(matches_count(lab01::stream_bytes(kernel, n, Stores::kNonTemporal), plain, streaming))
        << "non-temporal stores";
  };
  expect(StreamKernel::kCopy, "copy", 1);
  expect(StreamKernel::kScale, "scale", 1);
  expect(StreamKernel::kAdd, "add", 2);
  expect(StreamKernel::kTriad, "triad", 2);
  const auto bytes = [](std::int64_t n) {
    return lab01::stream_bytes(StreamKernel::kCopy, n, Stores::kNonTemporal);
  };
  EXPECT_TRUE(throws_error([&] { (void)bytes(0); }, "0")) << "n = 0";
  EXPECT_TRUE(throws_error([&] { (void)bytes(-9); }, "-9")) << "n = -9";
  EXPECT_TRUE(
      throws_error([&] { (void)bytes(std::int64_t{1} << 61); }, std::to_string(std::int64_t{1} << 61)))
      << "the product does not fit 64 bits";
}

}  // namespace
