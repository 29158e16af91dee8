#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "cuda_support.h"
#include "lab05/cuda_kernels.h"

// What the executor counts of flash_attention_cuda, against what tiles of kFlashCudaBr x kFlashCudaBc must
// move. Counts do not depend on the order of lanes: one is enough.

namespace {

using kit::simt::Access;
using kit::simt::Counters;
using kit::simt::LineReport;
using kit::simt::Space;
using kit::testing::LaunchCounts;
using kit::testing::record_series;
using kit::testing::record_value;
using lab05_tests::counts_of;
using lab05_tests::FlashKernel;
using lab05_tests::random_flash;

/// Device memory of one head of n queries and keys, floats. q and out once; keys and values once for every
/// kFlashCudaBr queries; log_sum_exp. Source: Dao et al. 2022, theorem 2, counted exactly for query tiles
/// outside.
double flash_bytes(double n, double head_dim) {
  const double n_tiles = std::ceil(n / lab05::kFlashCudaBr);
  return 4.0 * (2.0 * n * head_dim + 2.0 * n * head_dim * n_tiles + n);
}

/// The same with scores and weights in device memory: three kernels, each reads its inputs and writes its
/// result. Dao et al. 2022, algorithm 0.
double standard_bytes(double n, double head_dim) {
  return 4.0 * (4.0 * n * head_dim + 4.0 * n * n);
}

/// Of all sectors that the launch touches.
double counted_bytes(const LaunchCounts& counts) {
  double bytes = 0.0;
  for (const auto& launch : counts.launches()) bytes += static_cast<double>(launch.global_bytes());
  return bytes;
}

TEST(FlashCudaMilestone, DeviceMemoryTrafficIsThatOfTheModel) {
  KIT_SKIP_WITHOUT_COUNTS();
  constexpr double kBar = 15.0;
  double worst = 0.0;
  std::vector<double> lengths, counted, formula, standard;
  for (const std::int64_t head_dim : {32, 128}) {
    for (const std::int64_t n : {64, 128, 256, 512, 1024}) {
      if (head_dim == 128 && n > 256) continue;  // the executor needs seconds for it
      const LaunchCounts counts =
          counts_of(random_flash({n, n, 1, 1, head_dim, false}, 15700), FlashKernel::kFloat);
      const auto length = static_cast<double>(n);
      const auto dim = static_cast<double>(head_dim);
      const double got = counted_bytes(counts);
      const double expected = flash_bytes(length, dim);
      worst = std::max(worst, 100.0 * std::abs(got / expected - 1.0));
      const double in_order = 4.0 * (2.0 * length * dim + 2.0 * length * dim * length + length);
      EXPECT_TRUE(kit::testing::matches_value(
          got, expected, kBar / 100.0,
          std::vector<kit::testing::KnownValue>{
              {"keys and values loaded for every 64 query rows: kFlashCudaBr of them share a tile",
               flash_bytes(length, dim) +
                   4.0 * 2.0 * length * dim *
                       (std::ceil(length / 64.0) - std::ceil(length / lab05::kFlashCudaBr))},
              {"keys and values loaded for every query", in_order},
              {"standard attention, with scores and weights in device memory", standard_bytes(length, dim)}}))
          << "bytes of device memory, N " << n << ", head_dim " << head_dim << "\n"
          << counts.to_string();
      if (head_dim != 32) continue;
      lengths.push_back(length);
      counted.push_back(got / 1024.0);
      formula.push_back(expected / 1024.0);
      standard.push_back(standard_bytes(length, dim) / 1024.0);
    }
  }
  // On chip memory is the same for all lengths, so traffic grows as N^2 N^0 = (N / Br) N: from 512 to 1024
  // it is all but four times as much.
  EXPECT_NEAR(std::log2(counted[4] / counted[3]), 2.0, 0.25)
      << "growth from N = 512 to 1024, as a power of N";
  record_value("worst_deviation_percent", worst);
  record_value("deviation_bar_percent", kBar);
  record_value("times_less_than_standard", standard[4] / counted[4]);
  record_series("n", lengths);
  record_series("counted_kib", counted);
  record_series("formula_kib", formula);
  record_series("standard_kib", standard);
}

TEST(FlashCudaMilestone, CausalMaskHalvesTheWork) {
  KIT_SKIP_WITHOUT_COUNTS();
  double worst = 0.0;
  std::vector<double> lengths, loads, wavefronts, formula;
  for (const std::int64_t n : {128, 256, 384, 512}) {
    // Of T query tiles tile t sees the keys of t + 1: (T + 1) / (2 T) of T^2. Of the loads, those
    // of q are left out.
    const double n_tiles = static_cast<double>(n) / lab05::kFlashCudaBr;
    const double share = (n_tiles + 1.0) / (2.0 * n_tiles);
    const auto work = [&](bool causal) {
      const LaunchCounts counts =
          counts_of(random_flash({n, n, 1, 1, 32, causal}, 15710), FlashKernel::kFloat);
      const Counters shared =
          counts.total([](const LineReport& line) { return line.space == Space::kShared; });
      return std::pair{static_cast<double>(counts.bytes(Space::kGlobal, Access::kLoad) - 4 * n * 32),
                       static_cast<double>(shared.wavefronts)};
    };
    const auto causal = work(true);
    const auto full = work(false);
    const double load_share = causal.first / full.first;
    const double work_share = causal.second / full.second;
    EXPECT_TRUE(kit::testing::matches_value(
        load_share, share, 1e-9,
        std::vector<kit::testing::KnownValue>{
            {"a kernel that loads every tile: those that a mask hides from all rows are left out", 1.0}}))
        << "bytes of keys and values loaded with a causal mask, as a share of those without, N " << n;
    // Queries are put into shared memory once, whatever the mask: less than 2 % of the wavefronts of a tile.
    // Less than the share is right, too: a warp may leave out keys of a tile that none of its rows sees.
    EXPECT_TRUE(kit::testing::matches_value(
        std::max(work_share, share), share, 0.02,
        std::vector<kit::testing::KnownValue>{
            {"a kernel that computes with every tile: those that a mask hides from all rows are left out",
             1.0}}))
        << "wavefronts of shared memory with a causal mask, as a share of those without, N " << n;
    worst = std::max({worst, load_share / share, work_share / share});
    lengths.push_back(static_cast<double>(n));
    loads.push_back(load_share);
    wavefronts.push_back(work_share);
    formula.push_back(share);
  }
  record_value("share_over_formula", worst);
  record_value("share_over_formula_bar", 1.02);
  record_series("n", lengths);
  record_series("load_share", loads);
  record_series("work_share", wavefronts);
  record_series("formula_share", formula);
}

}  // namespace
