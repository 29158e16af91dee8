#include "kit/cuda/testing.h"

#include "kit/cuda/device.h"

namespace kit::cuda {

Backend backend() {
  return Backend::kGpu;
}

}  // namespace kit::cuda

namespace kit::testing {

std::vector<simt::LaneOrder> lane_orders() {
  return {simt::LaneOrder{}};  // a GPU has one order, its own
}

void run_in_lane_orders(const std::function<void()>& body) {
  body();
  // A fault of the last kernel belongs to this test, not to the next.
  if (cuda::device_present()) cuda::synchronize();
}

}  // namespace kit::testing
