#include "calibration.h"

#include "kit/cuda/kernel.h"

namespace calibration {

namespace {

constexpr int kThreads = 256;
constexpr int kTile = 32;
constexpr int kRows = 8;

template <class T>
__global__ void copy_kernel(const T* in, T* out, int n) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) out[i] = in[i];
}

__global__ void strided_copy_kernel(const float* in, float* out, int n, int stride) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) out[i] = in[static_cast<long>(i) * stride];
}

__global__ void transpose_naive_kernel(const float* in, float* out, int n) {
  const int col = static_cast<int>(blockIdx.x) * kTile + static_cast<int>(threadIdx.x);
  const int row = static_cast<int>(blockIdx.y) * kTile + static_cast<int>(threadIdx.y);
  for (int i = 0; i < kTile; i += kRows) out[col * n + row + i] = in[(row + i) * n + col];
}

template <int kPadding>
__global__ void transpose_tiled_kernel(const float* in, float* out, int n) {
  __shared__ float tile[kTile][kTile + kPadding];
  const int x = static_cast<int>(threadIdx.x);
  const int y = static_cast<int>(threadIdx.y);
  const int col = static_cast<int>(blockIdx.x) * kTile;
  const int row = static_cast<int>(blockIdx.y) * kTile;
  for (int i = 0; i < kTile; i += kRows) tile[y + i][x] = in[(row + y + i) * n + col + x];
  __syncthreads();
  for (int i = 0; i < kTile; i += kRows) out[(col + y + i) * n + row + x] = tile[x][y + i];
}

__global__ void histogram_global_kernel(const int* in, int* bins) {
  atomicAdd(&bins[in[blockIdx.x * blockDim.x + threadIdx.x]], 1);
}

__global__ void histogram_shared_kernel(const int* in, int* bins) {
  __shared__ int block_bins[kThreads];
  block_bins[threadIdx.x] = 0;
  __syncthreads();
  atomicAdd(&block_bins[in[blockIdx.x * blockDim.x + threadIdx.x]], 1);
  __syncthreads();
  atomicAdd(&bins[threadIdx.x], block_bins[threadIdx.x]);
}

__global__ void reduce_divergent_kernel(const float* in, float* out) {
  __shared__ float sums[kThreads];
  const unsigned tid = threadIdx.x;
  sums[tid] = in[blockIdx.x * blockDim.x + tid];
  __syncthreads();
  for (unsigned step = 1; step < blockDim.x; step *= 2) {
    if (tid % (2 * step) == 0) sums[tid] += sums[tid + step];
    __syncthreads();
  }
  if (tid == 0) out[blockIdx.x] = sums[0];
}

__global__ void reduce_sequential_kernel(const float* in, float* out) {
  __shared__ float sums[kThreads];
  const unsigned tid = threadIdx.x;
  sums[tid] = in[blockIdx.x * blockDim.x + tid];
  __syncthreads();
  for (unsigned step = blockDim.x / 2; step > 0; step /= 2) {
    if (tid < step) sums[tid] += sums[tid + step];
    __syncthreads();
  }
  if (tid == 0) out[blockIdx.x] = sums[0];
}

__global__ void shared_16_bytes_kernel(const float4* in, float4* out) {
  __shared__ float4 line[32];
  line[threadIdx.x] = in[blockIdx.x * 32 + threadIdx.x];
  __syncwarp();
  out[blockIdx.x * 32 + threadIdx.x] = line[31 - threadIdx.x];
}

}  // namespace

void copy(kit::TensorView<const float> in, kit::TensorView<float> out, int width) {
  const int n = static_cast<int>(in.size()) * 4 / width;
  const kit::LaunchConfig config{kit::ceil_div(n, kThreads), kThreads};
  if (width == 4) {
    kit::launch(copy_kernel<float>, config, in.data(), out.data(), n);
  } else if (width == 8) {
    kit::launch(copy_kernel<float2>, config, reinterpret_cast<const float2*>(in.data()),
                reinterpret_cast<float2*>(out.data()), n);
  } else {
    kit::launch(copy_kernel<float4>, config, reinterpret_cast<const float4*>(in.data()),
                reinterpret_cast<float4*>(out.data()), n);
  }
}

void strided_copy(kit::TensorView<const float> in, kit::TensorView<float> out, int stride) {
  const int n = static_cast<int>(out.size());
  kit::launch(strided_copy_kernel, {kit::ceil_div(n, kThreads), kThreads}, in.data(), out.data(), n, stride);
}

void transpose(kit::TensorView<const float> in, kit::TensorView<float> out, Transpose variant) {
  const int n = static_cast<int>(in.dim(0));
  const unsigned n_tiles = kit::ceil_div(n, kTile);
  const kit::LaunchConfig config{dim3(n_tiles, n_tiles), dim3(kTile, kRows)};
  if (variant == Transpose::kNaive) kit::launch(transpose_naive_kernel, config, in.data(), out.data(), n);
  if (variant == Transpose::kTiled) kit::launch(transpose_tiled_kernel<0>, config, in.data(), out.data(), n);
  if (variant == Transpose::kPadded) kit::launch(transpose_tiled_kernel<1>, config, in.data(), out.data(), n);
}

void histogram(kit::TensorView<const int> in, kit::TensorView<int> bins, Histogram variant) {
  const kit::LaunchConfig config{kit::ceil_div(in.size(), kThreads), kThreads};
  kit::launch(variant == Histogram::kGlobalAtomics ? histogram_global_kernel : histogram_shared_kernel,
              config, in.data(), bins.data());
}

void reduce(kit::TensorView<const float> in, kit::TensorView<float> out, Reduction variant) {
  const kit::LaunchConfig config{kit::ceil_div(in.size(), kThreads), kThreads};
  kit::launch(variant == Reduction::kDivergent ? reduce_divergent_kernel : reduce_sequential_kernel, config,
              in.data(), out.data());
}

void shared_16_bytes(kit::TensorView<const float> in, kit::TensorView<float> out) {
  kit::launch(shared_16_bytes_kernel, {kit::ceil_div(in.size(), 128), 32},
              reinterpret_cast<const float4*>(in.data()), reinterpret_cast<float4*>(out.data()));
}

}  // namespace calibration
