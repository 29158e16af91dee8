#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kit/cuda/device_buffer.h"
#include "kit/simt/profile.h"

/// What the tests of CUDA tasks share: device memory to be written, and what launches did.
namespace kit::testing {

/// Device memory to be written, all NaN. The executor also knows that nothing has been written there yet.
DeviceBuffer<float> nan_device_buffer(std::int64_t size);
/// What was written there; NaN is the usual one, where the executor's poison is a negative NaN.
Tensor<float> to_host(const DeviceBuffer<float>& buffer, const Shape& shape);

/// Equal to the last bit, so that a NaN equals itself.
bool same_bits(std::span<const float> a, std::span<const float> b);

/// `statement` throws kit::Error before a kernel runs, and `out`, all NaN, stays untouched.
::testing::AssertionResult refuses(const std::function<void()>& statement, const DeviceBuffer<float>& out);

/// What the launches of `body` did.
class LaunchCounts {
 public:
  explicit LaunchCounts(const std::function<void()>& body);

  const std::vector<simt::LaunchReport>& launches() const { return launches_; }
  /// All launches together; `width` 0 is any.
  simt::Counters total(simt::Space space, simt::Access access, int width = 0) const;
  /// The same over the lines that `counts` chooses.
  simt::Counters total(const std::function<bool(const simt::LineReport&)>& counts) const;
  /// Sectors that loads of arrays in device memory touch. Left out are lookups, which are lines with at most
  /// one sector a request: where all lanes read the same length, slot or table entry, or only few do.
  std::int64_t array_load_sectors() const;
  /// Bytes that the threads asked for.
  std::int64_t bytes(simt::Space space, simt::Access access) const;
  /// One line for each place in the source that accesses memory, with its counts.
  std::string to_string() const;
  /// Of the line whose requests are farthest from the ideal: "32 sectors per request in line 18: ", and why.
  std::string explain_sectors(simt::Access access) const;

 private:
  std::vector<simt::LaunchReport> launches_;
};

}  // namespace kit::testing
