#include <algorithm>
#include <cstdint>

#include "kit/cuda/kernel.h"
#include "lab01/cuda_kernels.h"

namespace lab01 {

namespace {

constexpr unsigned kMaxWarps = 32;

__device__ float warp_sum(float value) {
  for (int mask = 1; mask < warpSize; mask <<= 1) value += __shfl_xor_sync(0xffffffffU, value, mask);
  return value;
}

// Thread blocks of any whole number of warps, each with a piece of its own; every lane ends up with its
// warp's sum.
__global__ void sum_pieces_kernel(const float* in, float* sums, std::int64_t n, std::int64_t piece) {
  __shared__ float warp_sums[kMaxWarps];
  const std::int64_t begin = blockIdx.x * piece;
  const std::int64_t end = begin + piece < n ? begin + piece : n;
  float value = 0.0F;
  for (std::int64_t i = begin + threadIdx.x; i < end; i += blockDim.x) value += in[i];
  value = warp_sum(value);
  if (blockDim.x > 32) {
    if (threadIdx.x % 32 == 31) warp_sums[threadIdx.x / 32] = value;
    __syncthreads();
    if (threadIdx.x < 32) value = warp_sum(threadIdx.x < blockDim.x / 32 ? warp_sums[threadIdx.x] : 0.0F);
  }
  if (threadIdx.x == 0) sums[blockIdx.x] = value;
}

}  // namespace

void sum_cuda(kit::TensorView<const float> in, kit::TensorView<float> out) {
  KIT_CHECK(out.rank() == 1 && out.dim(0) == 1, "out has shape {}", out.shape().to_string());
  constexpr std::int64_t kPiece = 4096;
  const std::int64_t n = in.size();
  const unsigned n_blocks = std::max(1U, kit::ceil_div(n, kPiece));
  kit::DeviceBuffer<float> sums(n_blocks);
  kit::launch(sum_pieces_kernel, {n_blocks, 512}, in.data(), sums.data(), n, kPiece);
  // One warp is enough for the rest.
  kit::launch(sum_pieces_kernel, {1, 32}, sums.data(), out.data(), std::int64_t{n_blocks},
              std::int64_t{n_blocks});
}

}  // namespace lab01
