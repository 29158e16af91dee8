#include <cfloat>
#include <cmath>
#include <cstdint>

#include "kit/cuda/kernel.h"
#include "lab02/cuda_kernels.h"

namespace lab02 {

namespace {

// Eight lanes have a position: four positions to a warp, sixteen to a thread block.
constexpr int kThreads = 128;
constexpr int kParts = kThreads / 8;
constexpr int kTableEntries = 256;

struct Cache {
  const float4* k;
  const float4* v;
  const std::int32_t* tables;  // null: contiguous
  long max_blocks;
  int block_size;
  int n_kv_heads;
};

__device__ float dot(float4 a, float4 b) {
  return a.x * b.x + a.y * b.y + (a.z * b.z + a.w * b.w);
}

__global__ void attention_float4_kernel(const float4* q, Cache cache, const std::int32_t* lens, float* out,
                                        int group, int n_vec) {
  KIT_DYNAMIC_SHARED(float4, memory);
  __shared__ std::int32_t table[kTableEntries];
  __shared__ float part_max[8][kParts];
  __shared__ float part_sum[8][kParts];
  const int tid = static_cast<int>(threadIdx.x);
  const int lane = tid % 8;
  const int part = tid / 8;
  const long seq = blockIdx.y;
  const long kv_head = blockIdx.x;
  const int row = 8 * n_vec;  // float4 in head_dim
  const long first = (seq * gridDim.x + kv_head) * group * row;
  const int len = lens[seq];
  float4* queries = memory;             // [group, row]
  float4* sums = memory + group * row;  // [group, kParts, row]
  for (int i = tid; i < group * row; i += kThreads) queries[i] = q[first + i];

  float4 acc[8][4] = {};
  float max_of[8];
  float sum_of[8] = {};
  for (float& m : max_of) m = -FLT_MAX;
  int loaded = -1;  // first entry of the table that is in shared memory
  for (int start = 0; start < len; start += kParts) {
    if (cache.tables != nullptr &&
        (loaded < 0 || (start + kParts - 1) / cache.block_size >= loaded + kTableEntries)) {
      loaded = start / cache.block_size;
      __syncthreads();
      const int last = (len - 1) / cache.block_size;
      for (int i = tid; i < kTableEntries && loaded + i <= last; i += kThreads)
        table[i] = cache.tables[seq * cache.max_blocks + loaded + i];
    }
    if (start == 0 || loaded >= 0) __syncthreads();
    const int t = start + part;
    const bool there = t < len;
    long at = 0;
    if (there && cache.tables != nullptr)
      at = static_cast<long>(table[t / cache.block_size - loaded]) * cache.block_size + t % cache.block_size;
    if (there && cache.tables == nullptr) at = seq * cache.block_size + t;
    at = (at * cache.n_kv_heads + kv_head) * row + lane;
    float4 key[4] = {};
    float4 value[4] = {};
    for (int j = 0; there && j < n_vec; ++j) key[j] = cache.k[at + 8 * j];
    for (int j = 0; there && j < n_vec; ++j) value[j] = cache.v[at + 8 * j];
    for (int g = 0; g < group; ++g) {
      float score = 0.0F;
      for (int j = 0; j < n_vec; ++j) score += dot(queries[g * row + 8 * j + lane], key[j]);
      for (int offset = 4; offset > 0; offset /= 2) score += __shfl_xor_sync(~0U, score, offset, 8);
      score /= sqrtf(static_cast<float>(32 * n_vec));
      if (!there) continue;
      const float larger = fmaxf(max_of[g], score);
      const float shrink = expf(max_of[g] - larger);
      const float weight = expf(score - larger);
      max_of[g] = larger;
      sum_of[g] = sum_of[g] * shrink + weight;
      for (int j = 0; j < n_vec; ++j) {
        float4& a = acc[g][j];
        a = make_float4(a.x * shrink + weight * value[j].x, a.y * shrink + weight * value[j].y,
                        a.z * shrink + weight * value[j].z, a.w * shrink + weight * value[j].w);
      }
    }
  }
  for (int g = 0; g < group; ++g) {
    if (lane == 0) part_max[g][part] = max_of[g];
    if (lane == 0) part_sum[g][part] = sum_of[g];
    for (int j = 0; j < n_vec; ++j) sums[(g * kParts + part) * row + 8 * j + lane] = acc[g][j];
  }
  __syncthreads();
  const auto* all = reinterpret_cast<const float*>(sums);
  for (int i = tid; i < group * row * 4; i += kThreads) {
    const int g = i / (row * 4);
    float largest = -FLT_MAX;
    for (int p = 0; p < kParts; ++p) largest = fmaxf(largest, part_max[g][p]);
    float above = 0.0F;
    float below = 0.0F;
    for (int p = 0; p < kParts; ++p) {
      const float weight = expf(part_max[g][p] - largest);
      above += weight * all[(g * kParts + p) * row * 4 + i % (row * 4)];
      below += weight * part_sum[g][p];
    }
    out[first * 4 + i] = above / below;
  }
}

void decode(kit::TensorView<const float> q, kit::TensorView<const float> k, kit::TensorView<const float> v,
            const std::int32_t* tables, long max_blocks, kit::TensorView<const std::int32_t> lens,
            kit::TensorView<float> out) {
  KIT_CHECK(q.rank() == 3 && k.rank() == 4 && out.shape() == q.shape() && v.shape() == k.shape() &&
                lens.shape() == kit::Shape{q.dim(0)} && q.dim(2) == k.dim(3) && q.dim(2) % 32 == 0 &&
                q.dim(2) <= 128 && q.dim(1) % k.dim(2) == 0 && q.dim(1) > 0 && q.dim(1) / k.dim(2) <= 8,
            "shapes {} {} {}", q.shape().to_string(), k.shape().to_string(), v.shape().to_string());
  if (q.dim(0) == 0) return;
  const int group = static_cast<int>(q.dim(1) / k.dim(2));
  const int n_vec = static_cast<int>(q.dim(2) / 32);
  const std::size_t bytes = sizeof(float4) * static_cast<std::size_t>(group * 8 * n_vec * (kParts + 1));
  const Cache cache{reinterpret_cast<const float4*>(k.data()),
                    reinterpret_cast<const float4*>(v.data()),
                    tables,
                    max_blocks,
                    static_cast<int>(k.dim(1)),
                    static_cast<int>(k.dim(2))};
  kit::launch(attention_float4_kernel,
              {dim3(static_cast<unsigned>(k.dim(2)), static_cast<unsigned>(q.dim(0))), kThreads, bytes},
              reinterpret_cast<const float4*>(q.data()), cache, lens.data(), out.data(), group, n_vec);
}

}  // namespace

void decode_attention_cuda(kit::TensorView<const float> q, kit::TensorView<const float> k,
                           kit::TensorView<const float> v, kit::TensorView<const std::int32_t> context_lens,
                           kit::TensorView<float> out) {
  KIT_CHECK(q.rank() == 3 && k.rank() == 4 && q.dim(0) == k.dim(0), "q {}, k {}", q.shape().to_string(),
            k.shape().to_string());
  decode(q, k, v, nullptr, 0, context_lens, out);
}

void paged_decode_attention_cuda(kit::TensorView<const float> q, kit::TensorView<const float> k_blocks,
                                 kit::TensorView<const float> v_blocks,
                                 kit::TensorView<const std::int32_t> block_tables,
                                 kit::TensorView<const std::int32_t> context_lens,
                                 kit::TensorView<float> out) {
  KIT_CHECK(block_tables.rank() == 2 && q.rank() == 3 && block_tables.dim(0) == q.dim(0), "block_tables {}",
            block_tables.shape().to_string());
  decode(q, k_blocks, v_blocks, block_tables.data(), block_tables.dim(1), context_lens, out);
}

}  // namespace lab02
