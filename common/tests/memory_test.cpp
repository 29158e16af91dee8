#include "kit/memory.h"

#include <gtest/gtest.h>

#include <memory_resource>
#include <string>
#include <thread>
#include <vector>

#include "kit/check.h"
#include "kit/testing.h"

namespace {

TEST(CountingResource, CountsLivePeakAndLargest) {
  kit::CountingResource resource;
  {
    const std::pmr::vector<double> a(100, &resource);
    EXPECT_EQ(resource.live_bytes(), 800);
    const std::pmr::vector<double> b(25, &resource);
    EXPECT_EQ(resource.live_bytes(), 1000);
  }
  EXPECT_EQ(resource.live_bytes(), 0);
  EXPECT_EQ(resource.peak_bytes(), 1000);
  EXPECT_EQ(resource.largest_bytes(), 800);
  EXPECT_EQ(resource.n_allocations(), 2);
  resource.reset_peak();
  EXPECT_EQ(resource.peak_bytes(), 0);
}

TEST(CountingResource, RefusesWhatExceedsItsLimitAndNamesIt) {
  kit::CountingResource resource(1000);
  const std::pmr::vector<char> kept(600, &resource);
  try {
    const std::pmr::vector<char> more(500, &resource);
    FAIL() << "nothing was thrown";
  } catch (const kit::Error& error) {
    EXPECT_NE(std::string(error.what()).find("1000"), std::string::npos) << error.what();
  }
  EXPECT_EQ(resource.live_bytes(), 600);
  EXPECT_NO_THROW((std::pmr::vector<char>(400, &resource)));
}

TEST(CountingResource, IsThreadSafe) {
  kit::CountingResource resource;
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 2000; ++i) resource.deallocate(resource.allocate(64), 64);
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(resource.live_bytes(), 0);
  EXPECT_EQ(resource.n_allocations(), 8000);
  EXPECT_LE(resource.peak_bytes(), 256);
}

TEST(OneThreadResource, RefusesOtherThreads) {
  kit::CountingResource counting;
  kit::OneThreadResource resource(counting);
  void* pointer = resource.allocate(100, 64);
  EXPECT_EQ(counting.live_bytes(), 100);
  bool refused = false;
  std::thread([&] {
    refused = static_cast<bool>(
        kit::testing::throws_error([&] { (void)resource.allocate(7); }, "7 bytes of scratch"));
  }).join();
  EXPECT_TRUE(refused);
  resource.deallocate(pointer, 100, 64);
  EXPECT_EQ(counting.live_bytes(), 0);
  EXPECT_EQ(counting.peak_bytes(), 100);
}

}  // namespace
