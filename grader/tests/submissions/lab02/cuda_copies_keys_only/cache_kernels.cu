#include <cstdint>

#include "kit/cuda/kernel.h"
#include "lab02/cuda_kernels.h"

namespace lab02 {

namespace {

constexpr unsigned kThreads = 256;  // of a thread block: eight warps

// Thread i moves element i of k and of v. A row is whole warps long, so a warp looks up one slot.
// PRECOND: k, v hold n rows of n_row elements, a multiple of 32; at least n * n_row threads.
// Bytes: 8 read and 8 written for each element, in 4 sectors a request. FLOPs: none.
// Kwon et al. 2023 (PagedAttention), section 5, "fused reshape and block write".
__global__ void reshape_and_cache_kernel(const float* k, const float* v, const std::int64_t* slot_mapping,
                                         float* k_blocks, float* v_blocks, std::int64_t n,
                                         std::int64_t n_row) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= n * n_row) return;
  const std::int64_t slot = slot_mapping[i / n_row];
  if (slot < 0) return;  // a padding token
  // Slots of a block are rows, and so are blocks: slot s is row s of all blocks together.
  const std::int64_t to = slot * n_row + i % n_row;
  k_blocks[to] = k[i];
  v_blocks[to] = v[i];
}

// Thread i moves the i-th 16 bytes of all pairs' blocks, keys and values.
// PRECOND: a block is n_block times 16 bytes; arrays begin at multiples of 16; n_pairs * n_block threads.
// Bytes: 32 read and 32 written by a thread, in 16 sectors a request. FLOPs: none.
// Kwon et al. 2023 (PagedAttention), section 5, "fused block copy".
__global__ void copy_blocks_kernel(const std::int32_t* pairs, float4* k_blocks, float4* v_blocks,
                                   std::int64_t n_pairs, std::int64_t n_block) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= n_pairs * n_block) return;
  const std::int64_t pair = i / n_block;
  const std::int64_t from = pairs[2 * pair] * n_block + i % n_block;
  const std::int64_t to = pairs[2 * pair + 1] * n_block + i % n_block;
  k_blocks[to] = k_blocks[from];
  (void)v_blocks;
}

void check_blocks(kit::TensorView<const float> k_blocks, kit::TensorView<const float> v_blocks) {
  KIT_CHECK(k_blocks.rank() == 4 && v_blocks.shape() == k_blocks.shape(),
            "k_blocks {}, v_blocks {}: want both [n_blocks, block_size, n_kv_heads, head_dim]",
            k_blocks.shape().to_string(), v_blocks.shape().to_string());
  KIT_CHECK(k_blocks.dim(3) % 32 == 0 && k_blocks.dim(3) >= 32 && k_blocks.dim(3) <= 128,
            "head_dim is {}, must be 32, 64, 96 or 128", k_blocks.dim(3));
}

void check_aligned(const float* data, const char* name) {
  KIT_CHECK(reinterpret_cast<std::uintptr_t>(data) % sizeof(float4) == 0,
            "{} begins {} bytes behind a multiple of 16; float4 needs one", name,
            reinterpret_cast<std::uintptr_t>(data) % sizeof(float4));
}

}  // namespace

void reshape_and_cache_cuda(kit::TensorView<const float> k, kit::TensorView<const float> v,
                            kit::TensorView<const std::int64_t> slot_mapping, kit::TensorView<float> k_blocks,
                            kit::TensorView<float> v_blocks) {
  check_blocks(k_blocks, v_blocks);
  KIT_CHECK(k.rank() == 3 && v.shape() == k.shape() && k.dim(1) == k_blocks.dim(2) &&
                k.dim(2) == k_blocks.dim(3) && slot_mapping.shape() == kit::Shape{k.dim(0)},
            "k {}, v {}, slot_mapping {} for blocks {}: want k and v [n, n_kv_heads, head_dim], slots [n]",
            k.shape().to_string(), v.shape().to_string(), slot_mapping.shape().to_string(),
            k_blocks.shape().to_string());
  if (k.size() == 0) return;  // there is no launch of no thread blocks
  kit::launch(reshape_and_cache_kernel, {kit::ceil_div(k.size(), kThreads), kThreads}, k.data(), v.data(),
              slot_mapping.data(), k_blocks.data(), v_blocks.data(), k.dim(0), k.dim(1) * k.dim(2));
}

void copy_blocks_cuda(kit::TensorView<const std::int32_t> pairs, kit::TensorView<float> k_blocks,
                      kit::TensorView<float> v_blocks) {
  check_blocks(k_blocks, v_blocks);
  KIT_CHECK(pairs.rank() == 2 && pairs.dim(1) == 2, "pairs {}: want [n, 2]", pairs.shape().to_string());
  check_aligned(k_blocks.data(), "k_blocks");
  check_aligned(v_blocks.data(), "v_blocks");
  const std::int64_t n_block = k_blocks.dim(1) * k_blocks.dim(2) * k_blocks.dim(3) / 4;
  const std::int64_t n = pairs.dim(0) * n_block;
  if (n == 0) return;
  kit::launch(copy_blocks_kernel, {kit::ceil_div(n, kThreads), kThreads}, pairs.data(),
              reinterpret_cast<float4*>(k_blocks.data()), reinterpret_cast<float4*>(v_blocks.data()),
              pairs.dim(0), n_block);
}

}  // namespace lab02
