#include "calibration.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <numeric>
#include <vector>

#include "kit/cuda/testing.h"

/// Counts of the executor against counts derived by hand, in each lane order. A warp is 32 threads; a sector
/// is 32 bytes.
namespace {

using kit::DeviceBuffer;
using kit::simt::Access;
using kit::simt::Counters;
using kit::simt::LaunchReport;
using kit::simt::Space;

std::vector<float> iota(std::int64_t n) {
  std::vector<float> values(static_cast<std::size_t>(n));
  std::iota(values.begin(), values.end(), 1.0F);
  return values;
}

DeviceBuffer<float> device_iota(std::int64_t n) {
  return DeviceBuffer<float>(std::span<const float>(iota(n)));
}

LaunchReport profile_one(const std::function<void()>& body) {
  auto reports = kit::simt::profile(body);
  EXPECT_EQ(reports.size(), 1U);
  return reports.empty() ? LaunchReport{} : reports.front();
}

void expect_global(const Counters& counters, std::int64_t requests, std::int64_t sectors,
                   std::int64_t ideal) {
  EXPECT_EQ(counters.requests, requests);
  EXPECT_EQ(counters.sectors, sectors);
  EXPECT_EQ(counters.ideal_sectors, ideal);
}

void expect_shared(const Counters& counters, std::int64_t requests, std::int64_t wavefronts,
                   std::int64_t ideal) {
  EXPECT_EQ(counters.requests, requests);
  EXPECT_EQ(counters.wavefronts, wavefronts);
  EXPECT_EQ(counters.ideal_wavefronts, ideal);
}

// 4096 floats are 16,384 bytes, 512 sectors, whatever the width. By 4 bytes 4096 threads, 128 warps, 4
// sectors each; by 8 bytes 64 warps, 8 sectors; by 16 bytes 32 warps, 16 sectors.
KIT_CUDA_TEST(Calibration, CopyBy4And8And16Bytes) {
  constexpr std::int64_t kN = 4096;
  const auto in = device_iota(kN);
  for (const int width : {4, 8, 16}) {
    SCOPED_TRACE(width);
    DeviceBuffer<float> out(kN);
    const auto report = profile_one([&] { calibration::copy(in.view({kN}), out.view({kN}), width); });
    const std::int64_t requests = 128 * 4 / width;
    expect_global(report.total(Space::kGlobal, Access::kLoad), requests, 512, 512);
    expect_global(report.total(Space::kGlobal, Access::kStore), requests, 512, 512);
    EXPECT_EQ(report.total(Space::kGlobal, Access::kLoad).useful_bytes, 4 * kN);
    EXPECT_EQ(report.global_bytes(), 2 * 4 * kN);
    EXPECT_EQ(out.to_host(), iota(kN));
    for (const auto& line : report.lines) EXPECT_EQ(line.width, width);
  }
}

// 1000 threads: 31 full warps and one with 8 threads, whose 32 bytes are one sector. 31 * 4 + 1 = 125.
KIT_CUDA_TEST(Calibration, CopyOfAPartialWarp) {
  const auto in = device_iota(1000);
  DeviceBuffer<float> out(1000);
  const auto report = profile_one([&] { calibration::copy(in.view({1000}), out.view({1000}), 4); });
  const Counters load = report.total(Space::kGlobal, Access::kLoad);
  expect_global(load, 32, 125, 125);
  EXPECT_EQ(load.thread_accesses, 1000);
  EXPECT_EQ(load.partial_requests, 1);
}

// Lane l of a warp reads float l * stride of an aligned stretch: 32 lanes cover 32 * stride floats. Up to
// stride 8 every sector (8 floats) in there holds at least one: 4 * stride sectors. Beyond, each lane has a
// sector of its own: 32. Writes are coalesced.
KIT_CUDA_TEST(Calibration, StridesFrom1To32) {
  constexpr std::int64_t kN = 1024;
  for (int stride = 1; stride <= 32; ++stride) {
    SCOPED_TRACE(stride);
    const auto in = device_iota(kN * stride);
    DeviceBuffer<float> out(kN);
    const auto report =
        profile_one([&] { calibration::strided_copy(in.view({kN * stride}), out.view({kN}), stride); });
    expect_global(report.total(Space::kGlobal, Access::kLoad), 32, 32 * std::min(4 * stride, 32), 32 * 4);
    expect_global(report.total(Space::kGlobal, Access::kStore), 32, 32 * 4, 32 * 4);
  }
}

// 64 x 64 elements, 4 thread blocks of 8 warps, each warp 4 rows of the tile: 4 * 8 * 4 = 128 requests either
// way. Loads run along a row: 4 sectors. Naive stores run down a column of 256-byte rows: 32 sectors. Tiled:
// both coalesced. The tile is written by rows (bank = x: 1 pass) and read by columns: bank (32 x + y) mod 32
// = y for all lanes, 32 passes; with rows of 33 floats (33 x + y) mod 32 takes each value once: 1 pass.
KIT_CUDA_TEST(Calibration, TransposeNaiveTiledPadded) {
  constexpr std::int64_t kN = 64;
  const auto in = device_iota(kN * kN);
  using calibration::Transpose;
  for (const Transpose variant : {Transpose::kNaive, Transpose::kTiled, Transpose::kPadded}) {
    SCOPED_TRACE(static_cast<int>(variant));
    DeviceBuffer<float> out(kN * kN);
    const auto report = profile_one([&] {
      calibration::transpose(in.view({kN, kN}), out.view({kN, kN}), variant);
    });
    expect_global(report.total(Space::kGlobal, Access::kLoad), 128, 128 * 4, 128 * 4);
    expect_global(report.total(Space::kGlobal, Access::kStore), 128,
                  128 * (variant == Transpose::kNaive ? 32 : 4), 128 * 4);
    if (variant != Transpose::kNaive) {
      expect_shared(report.total(Space::kShared, Access::kStore), 128, 128, 128);
      expect_shared(report.total(Space::kShared, Access::kLoad), 128,
                    variant == Transpose::kTiled ? 128 * 32 : 128, 128);
      EXPECT_EQ(report.barriers, 4);
      EXPECT_EQ(report.static_shared_bytes, variant == Transpose::kTiled ? 32 * 32 * 4 : 32 * 33 * 4);
    }
    const auto got = out.to_host();
    for (std::int64_t i = 0; i < kN * kN; ++i)
      ASSERT_EQ(got[static_cast<std::size_t>(i)], static_cast<float>(i % kN * kN + i / kN + 1));
  }
}

// 512 elements, 2 thread blocks of 8 warps. Element i falls into bin i % 16: in a warp each of 16 bins twice.
// Global atomics: the 16 bins are 64 bytes, 2 sectors a request. Shared atomics: two lanes on each of 16
// banks, 2 passes. Then 256 bins by 256 threads a block: 8 requests of 4 sectors each, twice.
KIT_CUDA_TEST(Calibration, HistogramWithGlobalAndSharedAtomics) {
  std::vector<int> values(512);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<int>(i % 16);
  const DeviceBuffer<int> in{std::span<const int>(values)};
  using calibration::Histogram;
  for (const Histogram variant : {Histogram::kGlobalAtomics, Histogram::kSharedAtomics}) {
    DeviceBuffer<int> bins(256);
    bins.fill_bytes(0);
    const auto report =
        profile_one([&] { calibration::histogram(in.view({512}), bins.view({256}), variant); });
    expect_global(report.total(Space::kGlobal, Access::kLoad), 16, 16 * 4, 16 * 4);
    const Counters global = report.total(Space::kGlobal, Access::kAtomic);
    if (variant == Histogram::kGlobalAtomics) {
      expect_global(global, 16, 16 * 2, 16 * 4);
    } else {
      expect_global(global, 16, 16 * 4, 16 * 4);
      expect_shared(report.total(Space::kShared, Access::kAtomic), 16, 16 * 2, 16);
      // Zeroing and reading the bins: conflict-free.
      expect_shared(report.total(Space::kShared, Access::kStore), 16, 16, 16);
      expect_shared(report.total(Space::kShared, Access::kLoad), 16, 16, 16);
      EXPECT_EQ(report.barriers, 2 * 2);
    }
    const auto got = bins.to_host();
    for (std::size_t bin = 0; bin < 256; ++bin) EXPECT_EQ(got[bin], bin < 16 ? 32 : 0);
  }
}

// One thread block of 256, 8 warps; 8 steps, in each two loads and a store by the threads that add.
// Sequential: steps of 128, 64, 32 use 4, 2, 1 full warps, then 16, 8, 4, 2, 1 lanes of one warp: 12 requests
// a line, the last 5 of them partial. No conflicts: neighbours read neighbouring words. Divergent: step s = 1
// .. 16 uses every (2 s)-th lane of all 8 warps (5 steps, 40 requests), s = 32, 64, 128 one lane of 4, 2, 1
// warps: 47 requests, all partial. A warp's 32 words are its own 32 banks: no conflicts either. The last
// load, of sums[0], is one more request by one lane.
KIT_CUDA_TEST(Calibration, ReductionDivergentAndSequential) {
  const std::vector<float> ones(256, 1.0F);
  const DeviceBuffer<float> in{std::span<const float>(ones)};
  using calibration::Reduction;
  for (const Reduction variant : {Reduction::kDivergent, Reduction::kSequential}) {
    SCOPED_TRACE(static_cast<int>(variant));
    DeviceBuffer<float> out(1);
    const auto report = profile_one([&] { calibration::reduce(in.view({256}), out.view({1}), variant); });
    const bool divergent = variant == Reduction::kDivergent;
    const std::int64_t requests = divergent ? 47 : 12;
    const Counters load = report.total(Space::kShared, Access::kLoad);
    const Counters store = report.total(Space::kShared, Access::kStore);
    expect_shared(load, 2 * requests + 1, 2 * requests + 1, 2 * requests + 1);
    expect_shared(store, requests + 8, requests + 8, requests + 8);  // 8 warps fill the array
    EXPECT_EQ(load.thread_accesses, 2 * 255 + 1);
    EXPECT_EQ(load.partial_requests, divergent ? 2 * 47 + 1 : 2 * 5 + 1);
    EXPECT_EQ(report.barriers, 1 + 8);
    EXPECT_EQ(out.to_host().front(), 256.0F);
  }
}

// 128 threads in 4 thread blocks: each warp stores and loads 32 * 16 = 512 bytes, 4 passes of 128, in
// quarter-warps without conflicts, forwards or backwards.
KIT_CUDA_TEST(Calibration, Shared16Bytes) {
  const auto in = device_iota(512);
  DeviceBuffer<float> out(512);
  const auto report = profile_one([&] { calibration::shared_16_bytes(in.view({512}), out.view({512})); });
  expect_shared(report.total(Space::kShared, Access::kStore), 4, 16, 16);
  expect_shared(report.total(Space::kShared, Access::kLoad), 4, 16, 16);
  expect_global(report.total(Space::kGlobal, Access::kLoad), 4, 64, 64);
  EXPECT_EQ(report.warp_syncs, 4);
  EXPECT_EQ(out.to_host().front(), 125.0F);
}

}  // namespace
