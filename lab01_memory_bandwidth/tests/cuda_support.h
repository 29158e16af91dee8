#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>

#include "kit/cuda/launch_counts.h"
#include "kit/cuda/testing.h"

/// What the tests of task 7 share.
namespace lab01_tests {

/// A copy, a transpose or a sum: from device memory to device memory.
using Operation = std::function<void(kit::TensorView<const float> in, kit::TensorView<float> out)>;

/// Runs `operation` on a copy of `in` in device memory and returns what it wrote; `in` must not have changed.
kit::Tensor<float> run(const Operation& operation, const kit::Tensor<float>& in, const kit::Shape& out_shape);

/// got == expected. A failure also says which part was never written, and a likely reason.
::testing::AssertionResult equals(const kit::Tensor<float>& got, const kit::Tensor<float>& expected,
                                  std::span<const kit::KnownMistake> mistakes = {});

/// Runs `operation` with an output that has neighbours, which must stay as they are.
::testing::AssertionResult writes_only_its_output(const Operation& operation, const kit::Tensor<float>& in,
                                                  const kit::Shape& out_shape);

/// What the launches of an operation did.
class Profile : public kit::testing::LaunchCounts {
 public:
  /// Runs `operation` like run() does, and checks that the result is `expected` where it is given: counts of
  /// work that produced something else are worth nothing.
  Profile(const Operation& operation, const kit::Tensor<float>& in, const kit::Shape& out_shape,
          const kit::Tensor<float>* expected);
};

/// `access` of device memory, all launches together, touches no more than the ideal number of sectors.
::testing::AssertionResult is_coalesced(const Profile& profile, kit::simt::Access access,
                                        std::int64_t ideal_sectors);

/// `access` of shared memory moves n_bytes in as few wavefronts as they fill.
::testing::AssertionResult has_no_bank_conflicts(const Profile& profile, kit::simt::Access access,
                                                 std::int64_t n_bytes);

}  // namespace lab01_tests
