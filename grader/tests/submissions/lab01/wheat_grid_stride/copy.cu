#include <algorithm>
#include <cstdint>

#include "kit/cuda/kernel.h"
#include "lab01/cuda_kernels.h"

namespace lab01 {

namespace {

constexpr unsigned kThreads = 128;
constexpr unsigned kMaxBlocks = 37;

__device__ std::int64_t first() {
  return std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
}
__device__ std::int64_t step() {
  return std::int64_t{gridDim.x} * blockDim.x;
}

__global__ void copy_grid_stride_kernel(const float* __restrict__ in, float* __restrict__ out, std::int64_t n,
                                        std::int64_t stride) {
  for (std::int64_t i = first(); i < n; i += step()) out[i] = __ldg(in + i * stride);
}

__global__ void copy_int4_kernel(const int4* __restrict__ in, int4* __restrict__ out, std::int64_t n) {
  for (std::int64_t i = first(); i < n; i += step()) {
    const int4 value = in[i];
    out[i] = value;
  }
}

kit::LaunchConfig config(std::int64_t n) {
  return {std::min(kit::ceil_div(n, kThreads), kMaxBlocks), kThreads};
}

}  // namespace

void copy_cuda(kit::TensorView<const float> in, kit::TensorView<float> out) {
  KIT_CHECK(in.shape() == out.shape(), "different shapes");
  if (in.size() > 0)
    kit::launch(copy_grid_stride_kernel, config(in.size()), in.data(), out.data(), in.size(), 1);
}

void copy_vectorized_cuda(kit::TensorView<const float> in, kit::TensorView<float> out) {
  KIT_CHECK(in.shape() == out.shape(), "different shapes");
  KIT_CHECK(
      (reinterpret_cast<std::uintptr_t>(in.data()) | reinterpret_cast<std::uintptr_t>(out.data())) % 16 == 0,
      "not aligned");
  const std::int64_t n_whole = in.size() / 4;
  const std::int64_t n_tail = in.size() % 4;
  if (n_whole > 0) {
    kit::launch(copy_int4_kernel, config(n_whole), reinterpret_cast<const int4*>(in.data()),
                reinterpret_cast<int4*>(out.data()), n_whole);
  }
  if (n_tail > 0) {
    kit::launch(copy_grid_stride_kernel, {1, 32}, in.data() + 4 * n_whole, out.data() + 4 * n_whole, n_tail,
                1);
  }
}

void copy_strided_cuda(kit::TensorView<const float> in, kit::TensorView<float> out, std::int64_t stride) {
  KIT_CHECK(stride > 0, "stride {}", stride);
  KIT_CHECK(out.size() == 0 || (out.size() - 1) * stride < in.size(), "in is too short");
  if (out.size() > 0)
    kit::launch(copy_grid_stride_kernel, config(out.size()), in.data(), out.data(), out.size(), stride);
}

}  // namespace lab01
