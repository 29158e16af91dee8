#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "kit/cuda/device_buffer.h"
#include "kit/simt/profile.h"
#include "kit/testing.h"

/// Tests of CUDA code. The same test objects are linked with the executor and, where there is nvcc, with the
/// GPU build.
namespace kit::cuda {

enum class Backend { kExecutor, kGpu };
/// What this program was linked with.
Backend backend();

}  // namespace kit::cuda

namespace kit::testing {

/// Forward, reverse and one seeded by the run's seed; KIT_LANE_ORDERS=N gives N seeded ones.
std::vector<simt::LaneOrder> lane_orders();

/// Runs `body` in each lane order on the executor, once on a GPU; stops after an order in which it failed.
/// With KIT_KERNEL_REPORT=FILE the first order's launches are appended to FILE, one JSON object a test.
void run_in_lane_orders(const std::function<void()>& body);

}  // namespace kit::testing

/// A test of kernels: KIT_CUDA_TEST(Suite, Name) { ... }.
#define KIT_CUDA_TEST(Suite, Name)                                      \
  static void Suite##_##Name##_in_one_order();                          \
  TEST(Suite, Name) {                                                   \
    ::kit::testing::run_in_lane_orders(&Suite##_##Name##_in_one_order); \
  }                                                                     \
  static void Suite##_##Name##_in_one_order()

/// At the start of a test that asserts counts: the executor has them, a GPU's come from Nsight Compute.
#define KIT_SKIP_WITHOUT_COUNTS()                           \
  if (::kit::cuda::backend() == ::kit::cuda::Backend::kGpu) \
  GTEST_SKIP() << "counted by the executor, not on a GPU"
