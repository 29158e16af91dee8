#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <vector>

#include "calibration.h"
#include "kit/cuda/testing.h"
#include "scheduling.h"

/// How threads are run and requests put together, and what device memory and reports promise.
namespace {

using kit::DeviceBuffer;
using kit::simt::Access;
using kit::simt::Space;

DeviceBuffer<float> ones(std::int64_t n) {
  return DeviceBuffer<float>(std::span<const float>(std::vector<float>(static_cast<std::size_t>(n), 1.0F)));
}

kit::simt::LaunchReport profile_one(const std::function<void()>& body) {
  auto reports = kit::simt::profile(body);
  EXPECT_EQ(reports.size(), 1U);
  return reports.at(0);
}

// Lanes run one after the other, yet 1000 iterations are 1000 requests of 4 sectors: the window lets no lane
// run away.
KIT_CUDA_TEST(Executor, LongLoopsAreWarpInstructions) {
  const auto in = ones(32'000);
  DeviceBuffer<float> out(32);
  const auto report = profile_one([&] { scheduling::long_loop(in.view({32'000}), out.view({32})); });
  const auto load = report.total(Space::kGlobal, Access::kLoad);
  EXPECT_EQ(load.requests, 1000);
  EXPECT_EQ(load.sectors, 4000);
  EXPECT_EQ(load.partial_requests, 0);
  EXPECT_EQ(out.to_host().at(7), 1000.0F);
}

// Iteration i has the lanes above i: 31 requests, 31 * 32 / 2 accesses, all lanes of one on one element.
KIT_CUDA_TEST(Executor, LoopsOfDifferentLengths) {
  const auto in = ones(32);
  DeviceBuffer<float> out(32);
  const auto report = profile_one([&] { scheduling::triangle(in.view({32}), out.view({32})); });
  const auto load = report.total(Space::kGlobal, Access::kLoad);
  EXPECT_EQ(load.requests, 31);
  EXPECT_EQ(load.thread_accesses, 31 * 32 / 2);
  EXPECT_EQ(load.sectors, 31);
  EXPECT_EQ(load.partial_requests, 31);
}

// Two branches, each 1000 requests of half a warp.
KIT_CUDA_TEST(Executor, LanesOnDifferentPaths) {
  const auto in = ones(2000);
  DeviceBuffer<float> out(32);
  const auto report = profile_one([&] { scheduling::two_paths(in.view({2000}), out.view({32})); });
  const auto load = report.total(Space::kGlobal, Access::kLoad);
  EXPECT_EQ(load.requests, 2000);
  EXPECT_EQ(load.thread_accesses, 32'000);
  EXPECT_DOUBLE_EQ(load.threads_per_request(), 16.0);
}

KIT_CUDA_TEST(Executor, AThreadMayWaitForOthersOfItsBlock) {
  DeviceBuffer<int> out(1);
  scheduling::wait_for_others(out.view({1}));
  EXPECT_EQ(out.to_host().at(0), 1);
}

TEST(Executor, EveryOrderRunsEveryBlockOnce) {
  for (const std::int64_t n : {1, 2, 3, 31, 32, 33, 1000, 4097}) {
    for (std::uint64_t seed = 0; seed < 5; ++seed) {
      kit::simt::Options options;
      options.order = {.kind = kit::simt::LaneOrder::Kind::kSeeded, .seed = seed};
      const kit::simt::ScopedOptions scope(options);
      DeviceBuffer<int> out(n);
      out.fill_bytes(0);
      scheduling::visit_blocks(out.view({n}));
      EXPECT_EQ(out.to_host(), std::vector<int>(static_cast<std::size_t>(n), 1))
          << n << " blocks, seed " << seed;
    }
  }
}

KIT_CUDA_TEST(Executor, ABarrierThatTheCompilerCopiedIsOneBarrier) {
  for (const int times : {1, 3}) {
    auto data = ones(64);
    EXPECT_NO_THROW(scheduling::uniform_branch(data.view({64}), times));
    EXPECT_EQ(data.to_host().at(5), times > 2 ? 3.0F : 1.0F);
  }
}

// One line of a device function, inlined twice: two warp instructions, in one row of the report.
KIT_CUDA_TEST(Executor, AFunctionInlinedTwiceIsTwoRequests) {
  const auto in = ones(64);
  DeviceBuffer<float> out(32);
  const auto report = profile_one([&] { scheduling::inlined_twice(in.view({64}), out.view({32})); });
  EXPECT_EQ(report.total(Space::kGlobal, Access::kLoad).requests, 2);
  EXPECT_EQ(report.total(Space::kGlobal, Access::kLoad).sectors, 8);
}

// 12-byte elements go by three 4-byte accesses, each with a stride of 12 bytes over 384 bytes: all 12
// sectors, three times.
KIT_CUDA_TEST(Executor, TriplesAreThreeRequests) {
  const auto in = ones(96);
  DeviceBuffer<float> out(96);
  const auto report = profile_one([&] { scheduling::copy_triples(in.view({96}), out.view({96})); });
  for (const Access access : {Access::kLoad, Access::kStore}) {
    EXPECT_EQ(report.total(Space::kGlobal, access).requests, 3);
    EXPECT_EQ(report.total(Space::kGlobal, access).sectors, 36);
  }
  EXPECT_EQ(out.to_host().at(95), 1.0F);
}

TEST(Executor, WithoutTracingTheResultIsTheSame) {
  kit::simt::Options options;
  options.trace = false;
  const kit::simt::ScopedOptions scope(options);
  const auto in = ones(256);
  DeviceBuffer<float> out(1);
  const auto reports = kit::simt::profile(
      [&] { calibration::reduce(in.view({256}), out.view({1}), calibration::Reduction::kSequential); });
  EXPECT_TRUE(reports.empty());
  EXPECT_EQ(out.to_host().at(0), 256.0F);
}

TEST(Executor, CountsDoNotDependOnTheOrder) {
  const auto in = ones(64 * 64);
  std::string first;
  for (const auto& order : kit::testing::lane_orders()) {
    kit::simt::Options options;
    options.order = order;
    const kit::simt::ScopedOptions scope(options);
    DeviceBuffer<float> out(64 * 64);
    const auto report = profile_one([&] {
      calibration::transpose(in.view({64, 64}), out.view({64, 64}), calibration::Transpose::kTiled);
    });
    if (first.empty()) first = to_json(report);
    EXPECT_EQ(to_json(report), first);
  }
}

TEST(LaunchReport, NamesKernelAndLines) {
  const auto in = ones(64 * 64);
  DeviceBuffer<float> out(64 * 64);
  const auto report = profile_one([&] {
    calibration::transpose(in.view({64, 64}), out.view({64, 64}), calibration::Transpose::kPadded);
  });
  EXPECT_EQ(report.kernel, "calibration::transpose_tiled_kernel<1>");
  ASSERT_EQ(report.lines.size(), 4U);
  for (const auto& line : report.lines) {
    EXPECT_TRUE(line.file.ends_with("calibration.cu")) << line.file;
    EXPECT_GT(line.line, 0);
    EXPECT_NE(line.function.find("transpose_tiled_kernel"), std::string::npos) << line.function;
  }
  const auto json = nlohmann::json::parse(to_json(report));
  EXPECT_EQ(json["totals"]["global_load"]["memory_l2_theoretical_sectors_global"], 512);
  EXPECT_EQ(json["totals"]["shared_load"]["memory_l1_wavefronts_shared"], 128);
  EXPECT_EQ(json["barriers"], 4);
}

TEST(LaunchReport, ProfilesNest) {
  const auto in = ones(256);
  DeviceBuffer<float> out(256);
  const auto copy = [&] { calibration::copy(in.view({256}), out.view({256}), 4); };
  std::vector<kit::simt::LaunchReport> inner;
  const auto outer = kit::simt::profile([&] {
    copy();
    inner = kit::simt::profile(copy);
    copy();
  });
  EXPECT_EQ(inner.size(), 1U);
  EXPECT_EQ(outer.size(), 3U);
}

TEST(DeviceBuffer, IsPoisonedUntilWritten) {
  const DeviceBuffer<float> buffer(3);
  for (const float value : buffer.to_host()) EXPECT_TRUE(std::isnan(value));
}

// Copies of odd lengths mark exactly their bytes as written; the next byte stays uninitialised.
TEST(DeviceBuffer, PartialCopiesInitialiseTheirBytesOnly) {
  for (const std::size_t begin : {0, 1, 2, 3, 4, 7}) {
    for (const std::size_t length : {1, 2, 3, 4, 5, 8, 11}) {
      DeviceBuffer<std::uint8_t> buffer(32);
      const std::vector<std::uint8_t> bytes(length, 7);
      kit::cuda::copy_to_device(buffer.data() + begin, bytes.data(), length);
      DeviceBuffer<std::uint8_t> out(32);
      const auto copy = [&](std::size_t n) { scheduling::copy_bytes(buffer.data() + begin, out.data(), n); };
      EXPECT_NO_THROW(copy(length));
      EXPECT_THROW(copy(length + 1), kit::simt::LaunchError) << begin << " " << length;
    }
  }
}

// A loop that a compiler would turn into memset is seen all the same.
TEST(DeviceBuffer, AKernelThatFillsItInitialisesIt) {
  DeviceBuffer<std::uint8_t> buffer(64);
  DeviceBuffer<std::uint8_t> out(64);
  const auto reports = kit::simt::profile([&] { scheduling::clear_bytes(buffer.data(), 64); });
  EXPECT_EQ(reports.at(0).total(Space::kGlobal, Access::kStore).thread_accesses, 64);
  EXPECT_NO_THROW(scheduling::copy_bytes(buffer.data(), out.data(), 64));
}

TEST(DeviceBuffer, CopiesAndMoves) {
  const std::vector<int> values = {1, 2, 3};
  DeviceBuffer<int> a{std::span<const int>(values)};
  DeviceBuffer<int> b = std::move(a);
  EXPECT_EQ(b.to_host(), values);
  EXPECT_EQ(a.size(), 0);  // NOLINT(bugprone-use-after-move): what a moved-from buffer is
  const DeviceBuffer<int> empty(0);
  EXPECT_EQ(empty.size(), 0);
  EXPECT_EQ(empty.to_host().size(), 0U);
}

TEST(DeviceBuffer, RejectsBadSizes) {
  EXPECT_TRUE(kit::testing::throws_error([] { DeviceBuffer<float> buffer(-1); }, "-1"));
  EXPECT_TRUE(
      kit::testing::throws_error([] { DeviceBuffer<float> buffer(std::int64_t{1} << 50); }, "device memory"));
  DeviceBuffer<float> buffer(4);
  const std::vector<float> five(5);
  EXPECT_TRUE(kit::testing::throws_error([&] { buffer.copy_from(five); }, "5 elements"));
  EXPECT_TRUE(kit::testing::throws_error([&] { (void)buffer.view({5}); }, "[5]"));
  EXPECT_TRUE(kit::testing::throws_error([&] { kit::cuda::copy_to_host(nullptr, five.data(), 4); },
                                         "not device memory"));
}

TEST(DeviceBuffer, ManyOfAllSizesComeAndGo) {
  std::vector<DeviceBuffer<std::uint8_t>> buffers;
  for (std::int64_t i = 0; i < 500; ++i) {
    buffers.emplace_back(1 + i * 977 % 100'000);
    buffers.back().fill_bytes(static_cast<int>(i % 251));
    if (i % 3 == 2) buffers.erase(buffers.begin() + static_cast<std::ptrdiff_t>(buffers.size()) / 2);
  }
  for (const auto& buffer : buffers) {
    const auto host = buffer.to_host();
    for (const auto byte : host) ASSERT_EQ(byte, host.front());
  }
  // Larger than a chunk.
  DeviceBuffer<std::uint8_t> large(100 << 20);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(large.data()) % 256, 0U);
}

TEST(Options, UnknownDeviceNamesTheKnown) {
  EXPECT_TRUE(kit::testing::throws_error([] { (void)kit::simt::device_limits("gtx480"); }, "h100"));
}

}  // namespace
