#include <cstdint>

#include "kit/cuda/kernel.h"
#include "lab01/cuda_kernels.h"

namespace lab01 {

namespace {

constexpr unsigned kThreads = 96;
constexpr unsigned kPerThread = 4;

// A thread block copies 384 neighbours, its threads four each, 96 apart.
__global__ void copy_unrolled_kernel(const float* in, float* out, std::int64_t n) {
  const std::int64_t begin = std::int64_t{blockIdx.x} * (kThreads * kPerThread) + threadIdx.x;
  for (unsigned j = 0; j < kPerThread; ++j) {
    const std::int64_t i = begin + j * kThreads;
    if (i < n) out[i] = in[i];
  }
}

// The last thread takes what does not fill 16 bytes.
__global__ void copy_double2_kernel(const float* in, float* out, std::int64_t n) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (4 * i + 4 <= n) {
    *reinterpret_cast<double2*>(out + 4 * i) = *reinterpret_cast<const double2*>(in + 4 * i);
    return;
  }
  for (std::int64_t k = 4 * i; k < n; ++k) out[k] = in[k];
}

__global__ void copy_strided_kernel(const float* in, float* out, unsigned n, std::size_t stride) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  in += i * stride;
  out[i] = *in;
}

}  // namespace

void copy_cuda(kit::TensorView<const float> in, kit::TensorView<float> out) {
  KIT_CHECK(in.shape() == out.shape(), "shapes");
  if (in.size() == 0) return;
  kit::launch(copy_unrolled_kernel, {kit::ceil_div(in.size(), kThreads * kPerThread), kThreads}, in.data(),
              out.data(), in.size());
}

void copy_vectorized_cuda(kit::TensorView<const float> in, kit::TensorView<float> out) {
  KIT_CHECK(in.shape() == out.shape(), "shapes");
  KIT_CHECK(reinterpret_cast<std::uintptr_t>(in.data()) % 16 == 0, "in");
  KIT_CHECK(reinterpret_cast<std::uintptr_t>(out.data()) % 16 == 0, "out");
  if (in.size() == 0) return;
  kit::launch(copy_double2_kernel, {kit::ceil_div(in.size(), 4 * 512), 512}, in.data(), out.data(),
              in.size());
}

void copy_strided_cuda(kit::TensorView<const float> in, kit::TensorView<float> out, std::int64_t stride) {
  KIT_CHECK(stride >= 1, "stride");
  KIT_CHECK(out.size() == 0 || in.size() >= (out.size() - 1) * stride + 1, "sizes");
  if (out.size() == 0) return;
  const auto n = static_cast<unsigned>(out.size());
  kit::launch(copy_strided_kernel, {kit::ceil_div(n, 1024U), 1024}, in.data(), out.data(), n,
              static_cast<std::size_t>(stride));
}

}  // namespace lab01
