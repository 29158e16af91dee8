#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kit/cuda/device_buffer.h"

/// Device memory for tests of kernels.
namespace language {

using Floats = std::vector<float>;
using Integers = std::vector<std::int32_t>;

template <class T>
kit::DeviceBuffer<T> on_device(const std::vector<T>& values) {
  return kit::DeviceBuffer<T>(std::span<const T>(values));
}

/// n elements whose bits are all set: NaN, or -1.
template <class T>
kit::DeviceBuffer<T> unwritten(std::int64_t n) {
  kit::DeviceBuffer<T> buffer(n);
  buffer.fill_bytes(0xFF);
  return buffer;
}

}  // namespace language
