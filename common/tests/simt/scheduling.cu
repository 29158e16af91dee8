#include "scheduling.h"

#include "kit/cuda/kernel.h"

namespace scheduling {

namespace {

__global__ void long_loop_kernel(const float* in, float* out, int n) {
  float sum = 0.0F;
  for (int i = 0; i < n; ++i) sum += in[i * 32 + static_cast<int>(threadIdx.x)];
  out[threadIdx.x] = sum;
}

__global__ void triangle_kernel(const float* in, float* out) {
  float sum = 0.0F;
  for (unsigned i = 0; i < threadIdx.x; ++i) sum += in[i];
  out[threadIdx.x] = sum;
}

__global__ void two_paths_kernel(const float* in, float* out, int n) {
  float sum = 0.0F;
  if (threadIdx.x % 2 == 0) {
    for (int i = 0; i < n; ++i) sum += in[i];
  } else {
    for (int i = 0; i < n; ++i) sum -= in[n + i];
  }
  out[threadIdx.x] = sum;
}

__global__ void wait_for_others_kernel(int* out) {
  __shared__ int n_arrived;
  if (threadIdx.x == 0) n_arrived = 0;
  __syncthreads();
  if (threadIdx.x == 0) {
    while (atomicAdd(&n_arrived, 0) != static_cast<int>(blockDim.x) - 1) {
    }
    out[0] = 1;
  } else {
    atomicAdd(&n_arrived, 1);
  }
}

__global__ void visit_kernel(int* out) {
  out[blockIdx.x] += 1;
}

__global__ void uniform_branch_kernel(float* data, int times) {
  __shared__ float values[64];
  const unsigned i = threadIdx.x;
  values[i] = data[i];
  if (times > 2) values[i] *= 2.0F;
  __syncthreads();
  float value = values[63 - i];
  if (times > 2) value += 1.0F;
  data[i] = value;
}

__device__ float element(const float* in, unsigned i) {
  return __ldg(in + i);
}
__global__ void inlined_twice_kernel(const float* in, float* out) {
  out[threadIdx.x] = element(in, threadIdx.x) + element(in, 32 + threadIdx.x);
}

__global__ void copy_bytes_kernel(const std::uint8_t* in, std::uint8_t* out, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) out[i] = in[i];
}

__global__ void clear_bytes_kernel(std::uint8_t* out, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) out[i] = 0;
}

__global__ void copy_triples_kernel(const float3* in, float3* out) {
  out[threadIdx.x] = in[threadIdx.x];
}

}  // namespace

void copy_triples(kit::TensorView<const float> in, kit::TensorView<float> out) {
  kit::launch(copy_triples_kernel, {1, 32}, reinterpret_cast<const float3*>(in.data()),
              reinterpret_cast<float3*>(out.data()));
}
void clear_bytes(std::uint8_t* out, std::size_t n) {
  kit::launch(clear_bytes_kernel, {1, 1}, out, n);
}
void copy_bytes(const std::uint8_t* in, std::uint8_t* out, std::size_t n) {
  kit::launch(copy_bytes_kernel, {1, 1}, in, out, n);
}
void long_loop(kit::TensorView<const float> in, kit::TensorView<float> out) {
  kit::launch(long_loop_kernel, {1, 32}, in.data(), out.data(), static_cast<int>(in.size() / 32));
}
void triangle(kit::TensorView<const float> in, kit::TensorView<float> out) {
  kit::launch(triangle_kernel, {1, 32}, in.data(), out.data());
}
void two_paths(kit::TensorView<const float> in, kit::TensorView<float> out) {
  kit::launch(two_paths_kernel, {1, 32}, in.data(), out.data(), static_cast<int>(in.size() / 2));
}
void wait_for_others(kit::TensorView<int> out) {
  kit::launch(wait_for_others_kernel, {1, 96}, out.data());
}
void visit_blocks(kit::TensorView<int> out) {
  kit::launch(visit_kernel, {static_cast<unsigned>(out.size()), 1}, out.data());
}
void uniform_branch(kit::TensorView<float> data, int times) {
  kit::launch(uniform_branch_kernel, {1, 64}, data.data(), times);
}
void inlined_twice(kit::TensorView<const float> in, kit::TensorView<float> out) {
  kit::launch(inlined_twice_kernel, {1, 32}, in.data(), out.data());
}

}  // namespace scheduling
