#include <gtest/gtest.h>

#include <cstdio>

#include "kit/cuda/device.h"

// Every test of a program that is linked with kit_gpu is skipped where there is no GPU, and counted. In an
// object library of its own: the linker would drop an archive's member that nobody calls.
namespace {

class SkipWithoutGpu : public ::testing::EmptyTestEventListener {
 public:
  // The test is already the current one here, and one that is marked as skipped does not run its body.
  void OnTestStart(const ::testing::TestInfo& /*test*/) override {
    if (kit::cuda::device_present()) return;
    ++n_skipped_;
    GTEST_SKIP() << "skipped: no GPU";
  }
  void OnTestProgramEnd(const ::testing::UnitTest& /*unit_test*/) override {
    if (n_skipped_ == 0) return;
    std::printf("on the GPU: skipped: no GPU (%d tests): %s\n", n_skipped_,
                kit::cuda::query_device().reason.c_str());
  }

 private:
  int n_skipped_ = 0;
};

[[maybe_unused]] const bool kRegistered = [] {
  ::testing::UnitTest::GetInstance()->listeners().Append(new SkipWithoutGpu);  // GoogleTest owns it
  return true;
}();

}  // namespace
