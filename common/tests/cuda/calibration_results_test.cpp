#include <gtest/gtest.h>

#include <array>
#include <numeric>
#include <vector>

#include "../simt/calibration.h"
#include "kit/cuda/testing.h"

// What the calibration kernels compute, on the executor and on a GPU. (What they cost:
// ../simt/calibration_test.cpp.)
namespace {

using kit::DeviceBuffer;

std::vector<float> numbered(std::int64_t n) {
  std::vector<float> values(static_cast<std::size_t>(n));
  std::iota(values.begin(), values.end(), 1.0F);
  return values;
}

DeviceBuffer<float> on_device(const std::vector<float>& values) {
  return DeviceBuffer<float>(std::span<const float>(values));
}

/// An output to be written: NaN everywhere.
DeviceBuffer<float> unwritten(std::int64_t n) {
  DeviceBuffer<float> buffer(n);
  buffer.fill_bytes(0xFF);
  return buffer;
}

KIT_CUDA_TEST(CudaCalibration, CopiesByEachWidth) {
  constexpr std::int64_t kN = 4096;
  const std::vector<float> values = numbered(kN);
  const auto in = on_device(values);
  for (const int width : {4, 8, 16}) {
    auto out = unwritten(kN);
    calibration::copy(in.view({kN}), out.view({kN}), width);
    EXPECT_EQ(out.to_host(), values) << "by " << width << " bytes";
  }
}

KIT_CUDA_TEST(CudaCalibration, CopiesEveryStrideThElement) {
  constexpr std::int64_t kN = 1000;
  const std::vector<float> values = numbered(kN * 32);
  const auto in = on_device(values);
  for (const int stride : {1, 2, 7, 32}) {
    auto out = unwritten(kN);
    calibration::strided_copy(in.view({kN * 32}), out.view({kN}), stride);
    const std::vector<float> got = out.to_host();
    for (std::int64_t i = 0; i < kN; ++i)
      ASSERT_EQ(got[static_cast<std::size_t>(i)], values[static_cast<std::size_t>(i * stride)])
          << "stride " << stride;
  }
}

KIT_CUDA_TEST(CudaCalibration, TransposesInEachVariant) {
  constexpr std::int64_t kN = 96;
  const std::vector<float> values = numbered(kN * kN);
  const auto in = on_device(values);
  using calibration::Transpose;
  for (const Transpose variant : {Transpose::kNaive, Transpose::kTiled, Transpose::kPadded}) {
    auto out = unwritten(kN * kN);
    calibration::transpose(in.view({kN, kN}), out.view({kN, kN}), variant);
    const std::vector<float> got = out.to_host();
    for (std::int64_t i = 0; i < kN; ++i) {
      for (std::int64_t j = 0; j < kN; ++j)
        ASSERT_EQ(got[static_cast<std::size_t>(j * kN + i)], values[static_cast<std::size_t>(i * kN + j)]);
    }
  }
}

KIT_CUDA_TEST(CudaCalibration, CountsIntoBins) {
  constexpr std::int64_t kN = 4096;
  std::vector<int> values(kN);
  std::vector<int> expected(256, 0);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<int>(i * i % 251);
    ++expected[static_cast<std::size_t>(values[i])];
  }
  const DeviceBuffer<int> in{std::span<const int>(values)};
  for (const auto variant :
       {calibration::Histogram::kGlobalAtomics, calibration::Histogram::kSharedAtomics}) {
    DeviceBuffer<int> bins(256);
    bins.fill_bytes(0);
    calibration::histogram(in.view({kN}), bins.view({256}), variant);
    EXPECT_EQ(bins.to_host(), expected);
  }
}

KIT_CUDA_TEST(CudaCalibration, AddsUpEach256) {
  constexpr std::int64_t kN = 2048;
  const std::vector<float> values = numbered(kN);  // sums of integers under 2^24: exact in any order
  const auto in = on_device(values);
  for (const auto variant : {calibration::Reduction::kDivergent, calibration::Reduction::kSequential}) {
    auto out = unwritten(kN / 256);
    calibration::reduce(in.view({kN}), out.view({kN / 256}), variant);
    const std::vector<float> got = out.to_host();
    for (std::size_t b = 0; b < got.size(); ++b) {
      const auto first = values.begin() + static_cast<std::ptrdiff_t>(256 * b);
      EXPECT_EQ(got[b], std::accumulate(first, first + 256, 0.0F)) << "thread block " << b;
    }
  }
}

KIT_CUDA_TEST(CudaCalibration, ReversesEach32TimesFourFloats) {
  constexpr std::int64_t kN = 512;
  const std::vector<float> values = numbered(kN);
  const auto in = on_device(values);
  auto out = unwritten(kN);
  calibration::shared_16_bytes(in.view({kN}), out.view({kN}));
  const std::vector<float> got = out.to_host();
  for (std::size_t i = 0; i < got.size(); ++i) {
    const std::size_t lane = i % 128 / 4;
    ASSERT_EQ(got[i], values[i / 128 * 128 + (31 - lane) * 4 + i % 4]);
  }
}

}  // namespace
