#include "kit/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "kit/probe.h"
#include "kit/testing.h"

namespace kit::testing {
namespace {

TEST(ParallelFor, CoversEveryItemOnceInWholeGrains) {
  for (const std::int64_t n : {0, 1, 7, 8, 9, 1000, 1003}) {
    std::vector<std::atomic<int>> visits(static_cast<std::size_t>(n));
    parallel_for(n, 8, [&](std::int64_t begin, std::int64_t end) {
      EXPECT_LT(begin, end);
      EXPECT_EQ(begin % 8, 0);
      EXPECT_TRUE(end % 8 == 0 || end == n);
      for (std::int64_t i = begin; i < end; ++i) ++visits[i];
    });
    for (const auto& count : visits) EXPECT_EQ(count, 1);
  }
}

TEST(ParallelFor, StaysOnTheCallingThreadBelowTheGrain) {
  int calls = 0;
  parallel_for(8, 8, [&](std::int64_t begin, std::int64_t end) {
    ++calls;
    EXPECT_EQ(std::make_pair(begin, end), std::make_pair(std::int64_t{0}, std::int64_t{8}));
  });
  EXPECT_EQ(calls, 1);
}

TEST(ParallelFor, PassesExceptionsOn) {
  const auto run = [] {
    parallel_for(100, 1, [](std::int64_t begin, std::int64_t end) {
      if (begin <= 50 && 50 < end) throw std::out_of_range("item 50");
    });
  };
  EXPECT_THROW(run(), std::out_of_range);
}

TEST(ParallelFor, NestsWithoutMoreThreads) {
  std::mutex mutex;
  std::set<std::thread::id> threads;
  std::atomic<int> sum = 0;
  parallel_for(16, 1, [&](std::int64_t outer_begin, std::int64_t outer_end) {
    for (std::int64_t i = outer_begin; i < outer_end; ++i) {
      parallel_for(16, 1, [&](std::int64_t begin, std::int64_t end) {
        sum += static_cast<int>(end - begin);
        const std::lock_guard lock(mutex);
        threads.insert(std::this_thread::get_id());
      });
    }
  });
  EXPECT_EQ(sum, 256);
  EXPECT_LE(threads.size(), static_cast<std::size_t>(n_threads()));
}

TEST(ParallelFor, RejectsBadRanges) {
  EXPECT_TRUE(throws_error([] { parallel_for(-1, 1, [](auto, auto) {}); }, "-1"));
  EXPECT_TRUE(throws_error([] { parallel_for(1, 0, [](auto, auto) {}); }, "grain"));
}

TEST(Probe, ReadsBandwidthAndRejectsNonsense) {
  EXPECT_GE(n_threads(), 1);
  EXPECT_GE(last_level_cache_bytes(), 0);
  EXPECT_GT(measure_read_gb_per_s(1 << 20, 2), 0.0);
  EXPECT_TRUE(throws_error([] { measure_read_gb_per_s(0, 1); }, "0 bytes"));
  EXPECT_TRUE(throws_error([] { measure_read_gb_per_s(1 << 20, 0); }, "0 passes"));
}

}  // namespace
}  // namespace kit::testing
