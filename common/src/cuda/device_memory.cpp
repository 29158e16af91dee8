#include <cuda_runtime_api.h>

#include "kit/cuda/cuda_error.h"
#include "kit/cuda/device_buffer.h"
#include "kit/cuda/stream.h"

namespace kit::cuda {

void* device_allocate(std::size_t n_bytes) {
  void* data = nullptr;
  KIT_CUDA_CHECK(cudaMalloc(&data, n_bytes));
  return data;
}

void device_free(void* data) noexcept {
  // After a kernel's fault every call fails, also this one; that fault has been or will be reported
  // elsewhere.
  cudaFree(data);
}

void copy_to_device(void* device, const void* host, std::size_t n_bytes) {
  KIT_CUDA_CHECK(cudaMemcpy(device, host, n_bytes, cudaMemcpyHostToDevice));
}

void copy_to_host(void* host, const void* device, std::size_t n_bytes) {
  KIT_CUDA_CHECK(cudaMemcpy(host, device, n_bytes, cudaMemcpyDeviceToHost));
}

void device_fill(void* device, int byte, std::size_t n_bytes) {
  KIT_CUDA_CHECK(cudaMemset(device, byte, n_bytes));
}

void synchronize() {
  KIT_CUDA_CHECK(cudaDeviceSynchronize());
}

void* stream_create() {
  cudaStream_t stream = nullptr;
  KIT_CUDA_CHECK(cudaStreamCreate(&stream));
  return stream;
}

void stream_destroy(void* stream) noexcept {
  if (stream != nullptr) cudaStreamDestroy(static_cast<cudaStream_t>(stream));
}

void stream_synchronize(void* stream) {
  KIT_CUDA_CHECK(cudaStreamSynchronize(static_cast<cudaStream_t>(stream)));
}

}  // namespace kit::cuda
