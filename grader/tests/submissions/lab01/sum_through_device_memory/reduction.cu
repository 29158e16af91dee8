#include <algorithm>
#include <cstdint>

#include "kit/cuda/kernel.h"
#include "lab01/cuda_kernels.h"

namespace lab01 {

namespace {

constexpr unsigned kThreads = 256;

// Thread i adds element i of the second half to element i of the first.
// PRECOND: in holds n elements, out (n + 1) / 2; the grid has at least as many threads. in may be out.
// Bytes: 4 n read, 2 n written. FLOPs: n / 2.
// Harris, "Optimizing Parallel Reduction in CUDA", with device memory in place of shared memory.
__global__ void sum_halves_kernel(const float* in, float* out, std::int64_t n) {
  const std::int64_t half = (n + 1) / 2;
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < half) out[i] = in[i] + (i + half < n ? in[i + half] : 0.0F);
}

__global__ void clear_kernel(float* sum) {
  *sum = 0.0F;
}

}  // namespace

void sum_cuda(kit::TensorView<const float> in, kit::TensorView<float> out) {
  KIT_CHECK(out.shape() == kit::Shape{1}, "a sum is [1], not {}", out.shape().to_string());
  if (in.size() == 0) return kit::launch(clear_kernel, {1, 1}, out.data());
  kit::DeviceBuffer<float> sums((in.size() + 1) / 2);
  const float* from = in.data();
  std::int64_t n = in.size();
  do {
    const std::int64_t half = (n + 1) / 2;
    float* to = half == 1 ? out.data() : sums.data();
    kit::launch(sum_halves_kernel, {kit::ceil_div(half, kThreads), kThreads}, from, to, n);
    from = to;
    n = half;
  } while (n > 1);
}

}  // namespace lab01
