#pragma once

#include <utility>

/// Streams under one name for both back ends.
namespace kit::cuda {

/// Throws kit::Error when the GPU refuses.
void* stream_create();
void stream_destroy(void* stream) noexcept;
void stream_synchronize(void* stream);

/// Launches on one stream run in their order; launches on different streams may overlap on a GPU. On the
/// executor a launch has ended when it returns, so a stream does nothing there. Copies of a DeviceBuffer wait
/// for all streams.
class Stream {
 public:
  Stream() : handle_(stream_create()) {}
  Stream(Stream&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Stream& operator=(Stream&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream() { stream_destroy(handle_); }

  /// Waits until everything launched on it has ended; throws kit::Error when a kernel failed.
  void synchronize() { stream_synchronize(handle_); }
  /// A cudaStream_t on a GPU.
  void* handle() const { return handle_; }

 private:
  void* handle_ = nullptr;
};

}  // namespace kit::cuda
