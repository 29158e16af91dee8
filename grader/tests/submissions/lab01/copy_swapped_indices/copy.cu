#include <cstdint>

#include "kit/cuda/kernel.h"
#include "lab01/cuda_kernels.h"

namespace lab01 {

namespace {

constexpr unsigned kThreads = 256;  // of a thread block: eight warps

// Thread i moves element i, so a warp moves 32 neighbours.
// PRECOND: in and out hold n elements; the grid has at least n threads.
// Bytes: 4 n read, 4 n written, in 4 sectors a request. FLOPs: none.
// NVIDIA, CUDA C++ Best Practices Guide, "Coalesced access to global memory".
__global__ void copy_coalesced_kernel(const float* in, float* out, std::int64_t n) {
  const std::int64_t i = std::int64_t{threadIdx.x} * gridDim.x + blockIdx.x;
  if (i < n) out[i] = in[i];
}

// Thread i moves the i-th 16 bytes; threads behind the last whole 16 bytes move the n mod 4 elements left.
// PRECOND: in, out hold n elements, begin at multiples of 16 bytes; at least n / 4 + n mod 4 threads.
// Bytes: 4 n read, 4 n written, in 16 sectors a request. FLOPs: none.
// Luitjens, "CUDA Pro Tip: Increase Performance with Vectorized Memory Access".
__global__ void copy_vectorized_kernel(const float* in, float* out, std::int64_t n) {
  const std::int64_t n_whole = n / 4;
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < n_whole) {
    reinterpret_cast<float4*>(out)[i] = reinterpret_cast<const float4*>(in)[i];
  } else if (const std::int64_t element = 4 * n_whole + (i - n_whole); element < n) {
    out[element] = in[element];
  }
}

// Thread i fetches element i of out from i * stride: a warp's 128 bytes lie in min(32, 4 * stride) sectors.
// PRECOND: in holds (n - 1) * stride + 1 elements, out n; the grid has at least n threads.
// Bytes: 4 n useful of up to 32 n read, 4 n written. FLOPs: none.
// NVIDIA, CUDA C++ Best Practices Guide, "Strided accesses".
__global__ void copy_strided_kernel(const float* in, float* out, std::int64_t n, std::int64_t stride) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < n) out[i] = in[i * stride];
}

void check_same_shape(kit::TensorView<const float> in, kit::TensorView<float> out) {
  KIT_CHECK(in.shape() == out.shape(), "a copy from {} to {}", in.shape().to_string(),
            out.shape().to_string());
}

void check_aligned(const float* data, const char* name) {
  KIT_CHECK(reinterpret_cast<std::uintptr_t>(data) % sizeof(float4) == 0,
            "{} begins {} bytes behind a multiple of 16; float4 needs one", name,
            reinterpret_cast<std::uintptr_t>(data) % sizeof(float4));
}

}  // namespace

void copy_cuda(kit::TensorView<const float> in, kit::TensorView<float> out) {
  check_same_shape(in, out);
  const std::int64_t n = in.size();
  if (n == 0) return;  // there is no launch of no thread blocks
  kit::launch(copy_coalesced_kernel, {kit::ceil_div(n, kThreads), kThreads}, in.data(), out.data(), n);
}

void copy_vectorized_cuda(kit::TensorView<const float> in, kit::TensorView<float> out) {
  check_same_shape(in, out);
  check_aligned(in.data(), "in");
  check_aligned(out.data(), "out");
  const std::int64_t n = in.size();
  if (n == 0) return;
  kit::launch(copy_vectorized_kernel, {kit::ceil_div(n / 4 + n % 4, kThreads), kThreads}, in.data(),
              out.data(), n);
}

void copy_strided_cuda(kit::TensorView<const float> in, kit::TensorView<float> out, std::int64_t stride) {
  KIT_CHECK(stride >= 1, "a stride of {}, must be at least 1", stride);
  const std::int64_t n = out.size();
  if (n == 0) return;
  // The last element read is (n - 1) * stride; the quotient says the same and cannot overflow.
  KIT_CHECK(in.size() > 0 && (n == 1 || stride <= (in.size() - 1) / (n - 1)),
            "{} elements at a stride of {} do not lie in {}", n, stride, in.size());
  kit::launch(copy_strided_kernel, {kit::ceil_div(n, kThreads), kThreads}, in.data(), out.data(), n, stride);
}

}  // namespace lab01
