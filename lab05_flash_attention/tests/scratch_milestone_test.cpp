#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "attention_cases.h"
#include "kit/heap_usage.h"
#include "kit/memory.h"
#include "kit/parallel.h"

namespace {

using kit::Tensor;
using kit::testing::nan_tensor;
using lab05::FlashConfig;
using namespace lab05_tests;  // NOLINT(google-build-using-namespace): the lab's own test helpers

/// log-log slope of least squares: 1 is linear, 2 quadratic.
double slope(std::span<const double> x, std::span<const double> y) {
  double mean_x = 0.0;
  double mean_y = 0.0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    mean_x += std::log(x[i]) / static_cast<double>(x.size());
    mean_y += std::log(y[i]) / static_cast<double>(x.size());
  }
  double covariance = 0.0;
  double variance = 0.0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    covariance += (std::log(x[i]) - mean_x) * (std::log(y[i]) - mean_y);
    variance += (std::log(x[i]) - mean_x) * (std::log(x[i]) - mean_x);
  }
  return covariance / variance;
}

struct Memory {
  std::int64_t scratch_bytes = 0;  // most at a time, from `scratch`
  std::int64_t heap_bytes = 0;  // most at a time, from malloc: scratch too, and whatever came from elsewhere
};

/// One causal call at q_len = kv_len = n, and that it did its work: some rows against the reference.
Memory measure(int n) {
  const Inputs in = random_inputs({n, n, 1, 1, 4}, static_cast<std::uint64_t>(n));
  const FlashConfig config{.br = 16, .bc = 16};
  Result got{nan_tensor(in.q.shape()), nan_tensor({n, 1})};
  kit::CountingResource counting;
  kit::OneThreadResource scratch(counting);
  kit::reset_heap_peak();
  const kit::HeapUsage before = kit::heap_usage();
  lab05::flash_attention(in.q, in.k, in.v, config, scratch, got.out, got.log_sum_exp);
  const kit::HeapUsage after = kit::heap_usage();
  EXPECT_EQ(counting.live_bytes(), 0) << "bytes of scratch that were not given back";
  for (const std::int64_t i : {0, n / 3, n / 2 + 1, n - 1}) {
    const Inputs row{rows_of(in.q, i, i + 1), rows_of(in.k, 0, i + 1), rows_of(in.v, 0, i + 1)};
    const Result expected = reference(row, config);
    EXPECT_TRUE(kit::testing::matches(rows_of(got.out, i, i + 1), expected.out, tolerance)) << "query " << i;
    expect_log_sum_exp(rows_of(got.log_sum_exp, i, i + 1), expected.log_sum_exp, {}, tolerance);
  }
  return {counting.peak_bytes(), after.peak_bytes - before.live_bytes};
}

// The figure's quadratic line is what an N x N array of float takes. An array of a bit for each score, N^2 /
// 8 bytes, is the least that is refused, beyond what tiles, threads and their bookkeeping take: 64 KiB and 16
// KiB a thread is three times what 16 x 16 tiles need.
TEST(ScratchMilestone, GrowsNoFasterThanLinearly) {
  constexpr double kKibibyte = 1024.0;
  const std::int64_t allowance = (std::int64_t{64} + 16 * kit::n_threads()) * 1024;
  (void)measure(64);  // the threads start, and the pool's own memory is allocated
  std::vector<double> lengths;
  std::vector<double> kib;
  std::vector<double> scratch_kib;
  std::vector<double> quadratic_kib;
  for (int n = 256; n <= 16384; n *= 2) {
    const Memory memory = measure(n);
    if (::testing::Test::HasFailure()) return;
    const std::int64_t squared = std::int64_t{n} * n;
    lengths.push_back(n);
    // A KiB of noise must not look like growth.
    kib.push_back(
        std::max(1.0, static_cast<double>(std::max(memory.heap_bytes, memory.scratch_bytes)) / kKibibyte));
    scratch_kib.push_back(static_cast<double>(memory.scratch_bytes) / kKibibyte);
    quadratic_kib.push_back(4.0 * static_cast<double>(squared) / kKibibyte);
    // Larger sizes would only take longer to say the same.
    ASSERT_LE(memory.scratch_bytes, squared / 8 + allowance)
        << "at N = " << n << " scratch holds " << memory.scratch_bytes << " bytes, an N x N array of float "
        << 4 * squared << ": scores are kept for more than a tile";
    ASSERT_LE(memory.heap_bytes, squared / 8 + allowance)
        << "at N = " << n << " " << memory.heap_bytes << " bytes are allocated, " << memory.scratch_bytes
        << " of them from scratch; an N x N array of float has " << 4 * squared
        << ": scores are kept for more than a tile, in an array (or the rows of one) that is hidden from "
           "scratch";
  }
  const double growth = slope(lengths, kib);
  kit::testing::record_series("n", lengths);
  kit::testing::record_series("allocated_kib", kib);
  kit::testing::record_series("scratch_kib", scratch_kib);
  kit::testing::record_series("n_by_n_kib", quadratic_kib);
  kit::testing::record_value("memory_slope", growth);
  kit::testing::record_value("memory_slope_bar", 1.1);
  EXPECT_TRUE(growth <= 1.1) << "memory grows like N^" << growth << ", at most N^1.1 is linear";
}

}  // namespace
