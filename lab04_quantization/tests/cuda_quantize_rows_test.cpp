#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kit/cuda/launch_counts.h"
#include "kit/cuda/testing.h"
#include "lab04/cuda_kernels.h"
#include "reference_quantizers.h"

// quantize_rows_cuda: every operation is fixed by the contract, so codes and scales are compared exactly.

namespace {

using kit::DeviceBuffer;
using kit::Shape;
using kit::Tensor;
using kit::simt::Access;
using kit::simt::Space;
using kit::testing::LaunchCounts;
using kit::testing::nan_device_buffer;
using kit::testing::refuses;
using lab04_tests::Int8Matrix;
using lab04_tests::reference_int8_rows;

struct Result {
  Tensor<float> codes;   // [n, dim]
  Tensor<float> scales;  // [n]
};

Tensor<float> to_floats(std::span<const std::int8_t> codes, const Shape& shape) {
  Tensor<float> floats(shape);
  std::ranges::copy(codes, floats.data());
  return floats;
}

Result run(const Tensor<float>& x) {
  const DeviceBuffer<float> device_x(x.span());
  DeviceBuffer<std::int8_t> q(x.size());
  q.fill_bytes(0x80);  // -128, which is no code
  DeviceBuffer<float> scales = nan_device_buffer(x.dim(0));
  lab04::quantize_rows_cuda(device_x.view(x.shape()), q.view(x.shape()), scales.view({x.dim(0)}));
  EXPECT_TRUE(kit::testing::same_bits(device_x.to_host(), x.span())) << "x was changed";
  return {to_floats(q.to_host(), x.shape()), kit::testing::to_host(scales, {x.dim(0)})};
}

/// max / levels of the elements of a row that `counts` chooses.
Tensor<float> scales_of(const Tensor<float>& x, float levels,
                        const std::function<bool(std::int64_t row, std::int64_t i)>& counts) {
  Tensor<float> scales({x.dim(0)});
  for (std::int64_t row = 0; row < x.dim(0); ++row) {
    float largest = 0.0F;
    for (std::int64_t i = 0; i < x.dim(1); ++i)
      if (counts(row, i)) largest = std::max(largest, std::abs(x(row, i)));
    scales(row) = largest / levels;
  }
  return scales;
}

std::vector<kit::KnownMistake> scale_mistakes(const Tensor<float>& x) {
  const auto all = [](auto, auto) { return true; };
  Tensor<float> largest = scales_of(x, 127.0F, all);
  std::ranges::fill(largest.span(), *std::ranges::max_element(largest.span()));
  const char* const half_a_warp =
      "the maximum of half of each warp's lanes: a sum or maximum over 32 lanes takes offsets 16, 8, 4, 2, 1";
  return {
      {"max / 128", scales_of(x, 128.0F, all)},
      {"one maximum for all rows", largest},
      {half_a_warp, scales_of(x, 127.0F, [](auto, auto i) { return i / 4 % 32 < 16; })},
      {half_a_warp, scales_of(x, 127.0F, [](auto, auto i) { return i % 32 < 16; })},
      {"the maximum of the first half of a row",
       scales_of(x, 127.0F, [&](auto, auto i) { return i < x.dim(1) / 2; })},
      {"the maximum of a row's first 32 elements", scales_of(x, 127.0F, [](auto, auto i) { return i < 32; })},
  };
}

/// Codes by the right scale and another rounding.
Tensor<float> codes_by(const Tensor<float>& x, std::span<const float> scales, float (*round)(float)) {
  Tensor<float> codes(x.shape());
  for (std::int64_t row = 0; row < x.dim(0); ++row) {
    for (std::int64_t i = 0; i < x.dim(1); ++i)
      codes(row, i) = std::clamp(round(x(row, i) / scales[static_cast<std::size_t>(row)]), -127.0F, 127.0F);
  }
  return codes;
}

void expect_quantizes(const Tensor<float>& x) {
  SCOPED_TRACE(fmt::format("x {}", x.shape().to_string()));
  const Int8Matrix expected = reference_int8_rows(x);
  Tensor<float> scales({x.dim(0)});
  std::ranges::copy(expected.scales, scales.data());
  const Result got = run(x);
  ASSERT_TRUE(kit::testing::matches(got.scales, scales, {}, scale_mistakes(x))) << "scales";
  const std::vector<kit::KnownMistake> mistakes = {
      {"truncation: a cast to int rounds towards zero. __float2int_rn rounds to nearest",
       codes_by(x, expected.scales, std::trunc)},
      {"rounding of ties away from zero; __float2int_rn and rintf take them to the even integer",
       codes_by(x, expected.scales, std::round)},
      {"rounding down", codes_by(x, expected.scales, std::floor)},
  };
  EXPECT_TRUE(kit::testing::matches(got.codes, to_floats(expected.codes.span(), x.shape()), {}, mistakes))
      << "codes";
}

/// Rows of very different size.
Tensor<float> random_rows(std::int64_t n, std::int64_t dim, std::uint64_t stream) {
  kit::Rng rng = kit::testing::make_rng(stream);
  Tensor<float> x = kit::testing::random_tensor({n, dim}, rng);
  for (std::int64_t row = 0; row < n; ++row) {
    for (float& value : x.row(row)) value *= std::pow(10.0F, static_cast<float>(row % 7 - 3));
  }
  return x;
}

KIT_CUDA_TEST(QuantizeRowsCuda, EveryRowByItsOwnMaximum) {
  expect_quantizes(random_rows(33, 128, 14100));
  expect_quantizes(random_rows(5, 1000, 14101));
  expect_quantizes(random_rows(2, 4096, 14102));
}

KIT_CUDA_TEST(QuantizeRowsCuda, AnyNumberOfFours) {
  std::uint64_t stream = 14103;
  for (const std::int64_t dim : {4, 8, 28, 32, 36, 124, 260, 1028})
    expect_quantizes(random_rows(3, dim, stream++));
  expect_quantizes(random_rows(100, 4, stream));
}

KIT_CUDA_TEST(QuantizeRowsCuda, TheMaximumMayBeAnywhere) {
  // Row i has its maximum, which is negative in every other row, at element 5 i.
  Tensor<float> x = random_rows(80, 400, 14120);
  for (std::int64_t row = 0; row < x.dim(0); ++row) {
    for (float& value : x.row(row)) value = std::fmod(value, 1.0F);
    x(row, 5 * row) = row % 2 == 0 ? 3.0F : -3.0F;
  }
  expect_quantizes(x);
}

KIT_CUDA_TEST(QuantizeRowsCuda, TiesGoToTheEvenInteger) {
  Tensor<float> x({2, 12});
  const std::vector<float> values = {127.0F, 0.5F,  1.5F,  2.5F,   -0.5F,   -1.5F,
                                     -2.5F,  3.49F, 3.51F, 126.5F, -125.5F, -127.0F};
  std::ranges::copy(values, x.row(0).begin());
  for (std::int64_t i = 0; i < x.dim(1); ++i) x(1, i) = 0.25F * x(0, i);  // exact: the scale is 1/4
  expect_quantizes(x);
}

KIT_CUDA_TEST(QuantizeRowsCuda, RowsOfZerosHaveScaleOne) {
  Tensor<float> x({4, 64}, 0.0F);
  for (float& value : x.row(1)) value = std::numeric_limits<float>::denorm_min();
  for (float& value : x.row(2)) value = -1.0F;
  const Result got = run(x);
  for (const std::int64_t row : {0, 1, 3}) {
    EXPECT_EQ(got.scales(row), 1.0F) << "the scale of row " << row << ": max / 127 is "
                                     << (row == 1 ? "less than 2^-126"
                                                  : "0, by which nothing can be divided");
    for (const float code : got.codes.row(row)) ASSERT_EQ(code, 0.0F) << "a code of row " << row;
  }
  expect_quantizes(x);
}

KIT_CUDA_TEST(QuantizeRowsCuda, StoresCodesAndScalesAlone) {
  KIT_SKIP_WITHOUT_COUNTS();
  const Tensor<float> x = random_rows(6, 256, 14121);
  const LaunchCounts counts([&] { run(x); });
  EXPECT_EQ(counts.bytes(Space::kGlobal, Access::kStore), x.size() + 4 * x.dim(0))
      << "bytes stored in device memory: codes and scales, each once\n"
      << counts.to_string();
}

struct Arguments {
  DeviceBuffer<float> x_memory{std::span<const float>(std::vector<float>(1024, 1.0F))};
  DeviceBuffer<std::int8_t> q_memory{std::span<const std::int8_t>(std::vector<std::int8_t>(1024))};
  DeviceBuffer<float> scales_memory = nan_device_buffer(64);
  Shape x{3, 64}, q{3, 64}, scales{3};

  void call() {
    lab04::quantize_rows_cuda({x_memory.data(), x}, {q_memory.data(), q}, {scales_memory.data(), scales});
  }
};

KIT_CUDA_TEST(QuantizeRowsCuda, RejectsShapesThatDisagree) {
  const auto expect_refuses = [](const char* what, const std::function<void(Arguments&)>& bend) {
    Arguments arguments;
    bend(arguments);
    EXPECT_TRUE(refuses([&] { arguments.call(); }, arguments.scales_memory)) << what;
  };
  expect_refuses("x is [n * dim]", [](Arguments& a) { a.x = a.q = {192}; });
  expect_refuses("q is [dim, n]", [](Arguments& a) { a.q = {64, 3}; });
  expect_refuses("one scale for three rows", [](Arguments& a) { a.scales = {1}; });
  expect_refuses("dim 62 is no multiple of 4", [](Arguments& a) { a.x = a.q = {3, 62}; });
}

KIT_CUDA_TEST(QuantizeRowsCuda, NoRowsNoLaunch) {
  KIT_SKIP_WITHOUT_COUNTS();
  Arguments a;
  a.x = a.q = {0, 64};
  a.scales = {0};
  EXPECT_TRUE(kit::simt::profile([&] { a.call(); }).empty()) << "a launch although there is nothing to do";
}

}  // namespace
