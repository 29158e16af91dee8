// A memory resource of one process, used in another.
#include "kit/remote/scratch.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "kit/memory.h"
#include "kit/testing.h"
#include "worker_process.h"

namespace kit::remote {
namespace {

using testing::throws_error;

double sum_of_squares(int n, std::pmr::memory_resource& scratch) {
  std::pmr::vector<double> squares(static_cast<std::size_t>(n), &scratch);
  const std::pmr::vector<char> more(10, &scratch);
  double sum = 0.0;
  for (int i = 0; i < n; ++i) sum += squares[i] = i * i;
  return sum;
}

TEST(RemoteScratch, CountsWhereTheResourceIs) {
  WorkerProcess worker;
  CountingResource scratch;
  EXPECT_EQ(ask<&sum_of_squares>(worker, 1000, scratch), 332833500.0);
  EXPECT_EQ(scratch.peak_bytes(), 8010);
  EXPECT_EQ(scratch.largest_bytes(), 8000);
  EXPECT_EQ(scratch.n_allocations(), 2);
  EXPECT_EQ(scratch.live_bytes(), 0);
}

TEST(RemoteScratch, TheResourceMayRefuse) {
  WorkerProcess worker;
  CountingResource scratch(8000);
  EXPECT_TRUE(throws_error([&] { ask<&sum_of_squares>(worker, 1000, scratch); }, "limit is 8000"));
  EXPECT_EQ(scratch.live_bytes(), 0);
  EXPECT_EQ(ask<&sum_of_squares>(worker, 3, scratch), 5.0);
}

TEST(RemoteScratch, ReservesNoMoreThanAGibibyte) {
  WorkerProcess worker;
  CountingResource scratch;
  EXPECT_TRUE(throws_error([&] { ask<&sum_of_squares>(worker, 1 << 28, scratch); }, "can be counted"));
  EXPECT_EQ(scratch.n_allocations(), 0);
}

void leak(std::pmr::memory_resource& scratch) {
  (void)scratch.allocate(100);
}

TEST(RemoteScratch, ShowsWhatWasNotGivenBack) {
  WorkerProcess worker;
  CountingResource scratch;
  ask<&leak>(worker, scratch);
  EXPECT_EQ(scratch.live_bytes(), 100);
}

bool other_thread_is_refused(std::pmr::memory_resource& scratch) {
  bool refused = false;
  std::thread([&] {
    try {
      (void)scratch.allocate(1);
    } catch (const Error&) {
      refused = true;
    }
  }).join();
  return refused;
}

TEST(RemoteScratch, IsForTheThreadOfTheCall) {
  WorkerProcess worker;
  CountingResource scratch;
  EXPECT_TRUE(ask<&other_thread_is_refused>(worker, scratch));
  EXPECT_EQ(scratch.n_allocations(), 0);
}

}  // namespace
}  // namespace kit::remote
