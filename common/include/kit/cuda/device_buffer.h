#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "kit/tensor.h"

/// Device memory, one set of names for the GPU and the SIMT executor. Which of the two answers is decided
/// when a program is linked: library kit_simt or library kit_gpu.
namespace kit {

namespace cuda {

/// Throws kit::Error when the device has no such amount. The memory is uninitialised; on the executor it is
/// poisoned (every byte 0xFF, a NaN) and stands between guard zones.
void* device_allocate(std::size_t n_bytes);
void device_free(void* data) noexcept;
/// Both wait until the copy is done.
void copy_to_device(void* device, const void* host, std::size_t n_bytes);
void copy_to_host(void* host, const void* device, std::size_t n_bytes);
/// Every byte of [device, device + n_bytes) becomes `byte`.
void device_fill(void* device, int byte, std::size_t n_bytes);
/// Waits for everything launched, and throws kit::Error when a kernel failed.
void synchronize();

}  // namespace cuda

/// An array in device memory. Movable, not copyable. T is a plain type: float, kit::Half, std::int8_t, ...
template <class T>
class DeviceBuffer {
  static_assert(std::is_trivially_destructible_v<T>, "device memory holds plain values");

 public:
  DeviceBuffer() = default;
  /// `size` uninitialised elements. Throws kit::Error on a negative size, or when the memory is not there.
  explicit DeviceBuffer(std::int64_t size) : size_(size) {
    KIT_CHECK(size >= 0, "a DeviceBuffer of {} elements", size);
    if (size > 0) data_ = static_cast<T*>(cuda::device_allocate(n_bytes()));
  }
  /// A copy of host memory.
  explicit DeviceBuffer(std::span<const T> host) : DeviceBuffer(static_cast<std::int64_t>(host.size())) {
    copy_from(host);
  }
  DeviceBuffer(DeviceBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;
  ~DeviceBuffer() {
    if (data_ != nullptr) cuda::device_free(data_);
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  std::int64_t size() const { return size_; }
  std::size_t n_bytes() const { return static_cast<std::size_t>(size_) * sizeof(T); }
  /// The buffer as an array of `shape`, for kernels. Throws kit::Error when the sizes differ.
  TensorView<T> view(const Shape& shape) {
    return {std::span<T>(data_, static_cast<std::size_t>(size_)), shape};
  }
  TensorView<const T> view(const Shape& shape) const {
    return {std::span<const T>(data_, static_cast<std::size_t>(size_)), shape};
  }

  /// Throws kit::Error when host.size() is not size().
  void copy_from(std::span<const T> host) {
    KIT_CHECK(static_cast<std::int64_t>(host.size()) == size_, "{} elements copied into a DeviceBuffer of {}",
              host.size(), size_);
    if (size_ > 0) cuda::copy_to_device(data_, host.data(), n_bytes());
  }
  /// Waits for the kernels that write it. Throws kit::Error when host.size() is not size().
  void copy_to(std::span<T> host) const {
    KIT_CHECK(static_cast<std::int64_t>(host.size()) == size_, "a DeviceBuffer of {} elements copied into {}",
              size_, host.size());
    if (size_ > 0) cuda::copy_to_host(host.data(), data_, n_bytes());
  }
  std::vector<T> to_host() const {
    std::vector<T> host(static_cast<std::size_t>(size_));
    copy_to(host);
    return host;
  }
  /// Every byte becomes `byte`.
  void fill_bytes(int byte) {
    if (size_ > 0) cuda::device_fill(data_, byte, n_bytes());
  }

 private:
  T* data_ = nullptr;
  std::int64_t size_ = 0;
};

}  // namespace kit
