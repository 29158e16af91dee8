#include <cstdint>

#include "kit/cuda/kernel.h"
#include "lab02/cuda_kernels.h"

namespace lab02 {

namespace {

__global__ void put_tokens_kernel(const float4* k, const float4* v, const std::int64_t* slots,
                                  float4* k_blocks, float4* v_blocks, std::int64_t n_row) {
  __shared__ std::int64_t slot;
  if (threadIdx.x == 0) slot = slots[blockIdx.x];
  __syncthreads();
  if (slot < 0) return;
  for (std::int64_t i = threadIdx.x; i < n_row; i += blockDim.x) {
    k_blocks[slot * n_row + i] = k[blockIdx.x * n_row + i];
    v_blocks[slot * n_row + i] = v[blockIdx.x * n_row + i];
  }
}

__global__ void copy_pairs_kernel(const int2* pairs, float4* k_blocks, float4* v_blocks,
                                  std::int64_t n_block) {
  const int2 pair = pairs[blockIdx.x];
  float4* array = blockIdx.y == 0 ? k_blocks : v_blocks;
  for (std::int64_t i = threadIdx.x; i < n_block; i += blockDim.x)
    array[pair.y * n_block + i] = array[pair.x * n_block + i];
}

void check(kit::TensorView<const float> a, kit::TensorView<const float> b) {
  KIT_CHECK(a.rank() == 4 && a.shape() == b.shape() && a.dim(3) % 32 == 0 && a.dim(3) <= 128, "{} and {}",
            a.shape().to_string(), b.shape().to_string());
  KIT_CHECK(reinterpret_cast<std::uintptr_t>(a.data()) % 16 == 0 &&
                reinterpret_cast<std::uintptr_t>(b.data()) % 16 == 0,
            "blocks must begin at a multiple of {} bytes", 16);
}

}  // namespace

void reshape_and_cache_cuda(kit::TensorView<const float> k, kit::TensorView<const float> v,
                            kit::TensorView<const std::int64_t> slot_mapping, kit::TensorView<float> k_blocks,
                            kit::TensorView<float> v_blocks) {
  check(k_blocks, v_blocks);
  KIT_CHECK(k.rank() == 3 && k.shape() == v.shape() && slot_mapping.shape() == kit::Shape{k.dim(0)} &&
                k.dim(1) == k_blocks.dim(2) && k.dim(2) == k_blocks.dim(3),
            "k {}", k.shape().to_string());
  if (k.dim(0) == 0) return;
  kit::launch(put_tokens_kernel, {static_cast<unsigned>(k.dim(0)), 64},
              reinterpret_cast<const float4*>(k.data()), reinterpret_cast<const float4*>(v.data()),
              slot_mapping.data(), reinterpret_cast<float4*>(k_blocks.data()),
              reinterpret_cast<float4*>(v_blocks.data()), k.dim(1) * k.dim(2) / 4);
}

void copy_blocks_cuda(kit::TensorView<const std::int32_t> pairs, kit::TensorView<float> k_blocks,
                      kit::TensorView<float> v_blocks) {
  check(k_blocks, v_blocks);
  KIT_CHECK(pairs.rank() == 2 && pairs.dim(1) == 2, "pairs {}", pairs.shape().to_string());
  if (pairs.dim(0) == 0) return;
  kit::launch(copy_pairs_kernel, {dim3(static_cast<unsigned>(pairs.dim(0)), 2), 128},
              reinterpret_cast<const int2*>(pairs.data()), reinterpret_cast<float4*>(k_blocks.data()),
              reinterpret_cast<float4*>(v_blocks.data()), k_blocks.size() / k_blocks.dim(0) / 4);
}

}  // namespace lab02
