#include <cmath>
#include <cstdint>

#include "kit/cuda/kernel.h"
#include "lab02/cuda_kernels.h"

namespace lab02 {

namespace {

constexpr int kWarp = 32;
constexpr int kWarps = 8;  // of a thread block
constexpr int kThreads = kWarps * kWarp;
constexpr int kMaxGroup = 8;  // query heads that share a key/value head
constexpr unsigned kAllLanes = 0xffffffffU;
constexpr float kLog2E = 1.44269504F;  // e^x = 2^(x kLog2E), and the GPU has an instruction for 2^x

// Where a position of a sequence lies: its row in keys and values [rows, n_kv_heads, head_dim].
struct ContiguousRows {
  std::int64_t max_len;
  __device__ std::int64_t operator()(std::int64_t seq, int position) const {
    return seq * max_len + position;
  }
};
struct PagedRows {
  const std::int32_t* block_tables;  // [n_seqs, max_blocks]
  std::int64_t max_blocks;
  int block_size;
  __device__ std::int64_t operator()(std::int64_t seq, int position) const {
    const std::int64_t block = block_tables[seq * max_blocks + position / block_size];
    return block * block_size + position % block_size;
  }
};

// A warp's softmax over the positions it has seen, for one query head; not yet divided by the sum.
template <int kVec>
struct Partial {
  float max = -INFINITY;  // of the scores, which are exponents of 2
  float sum = 0.0F;       // of 2^(score - max)
  float acc[kVec] = {};   // sum of 2^(score - max) * value, for this lane's elements
};

// The sum of all lanes, in all lanes.
__device__ __forceinline__ float warp_sum(float value) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(kAllLanes, value, offset);
  return value;
}

// What the warps of a thread block hand over.
template <int kVec>
struct Handover {
  float max[kWarps][kMaxGroup];
  float sum[kWarps][kMaxGroup];
  float acc[kWarps][kMaxGroup * kVec * kWarp];  // [kWarps, group, head_dim]
};

// Brings what the warps have seen to one maximum, adds it up, and writes out, [group, head_dim].
// Lanes are neighbours in every access: no bank conflicts, whole sectors. All threads must call.
template <int kVec>
__device__ __forceinline__ void merge_warps(const Partial<kVec> (&seen)[kMaxGroup], int group,
                                            Handover<kVec>& shared, float* out) {
  constexpr int kHeadDim = kVec * kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
#pragma unroll
  for (int g = 0; g < kMaxGroup; ++g) {
    if (lane == 0 && g < group) shared.max[warp][g] = seen[g].max;
    if (lane == 0 && g < group) shared.sum[warp][g] = seen[g].sum;
    for (int i = 0; g < group && i < kVec; ++i)
      shared.acc[warp][g * kHeadDim + i * kWarp + lane] = seen[g].acc[i];
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < group * kHeadDim; i += kThreads) {
    const int g = i / kHeadDim;
    float max = -INFINITY;
    for (int w = 0; w < kWarps; ++w) max = fmaxf(max, shared.max[w][g]);
    float sum = 0.0F;
    float acc = 0.0F;
    for (int w = 0; w < kWarps; ++w) {
      const float rescale = exp2f(shared.max[w][g] - max);  // 0 for a warp that had no position
      sum += rescale * shared.sum[w][g];
      acc += rescale * shared.acc[w][i];
    }
    out[i] = acc / sum;
  }
}

// A thread block has a key/value head of a sequence, a warp every eighth 32 positions. For scores lane l has
// position l and all of its elements; for values it has the elements l, l + 32, ... of all positions.
// PRECOND: n_seqs * n_kv_heads thread blocks; head_dim = 32 kVec; group <= kMaxGroup; context_lens >= 1.
// Bytes: 8 head_dim for a position of a kv head, keys in 32 sectors a request. FLOPs: 4 head_dim group for
// it.
template <int kVec, class Rows>
__global__ void __launch_bounds__(kThreads, 2)
    decode_attention_kernel(const float* q, const float* k, const float* v, Rows row_of,
                            const std::int32_t* context_lens, float* out, int n_kv_heads, int group) {
  constexpr int kHeadDim = kVec * kWarp;
  __shared__ Handover<kVec> shared;
  __shared__ float query[kMaxGroup * kHeadDim];
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const std::int64_t seq = blockIdx.x / n_kv_heads;
  const std::int64_t kv_head = blockIdx.x % n_kv_heads;
  const std::int64_t first = std::int64_t{blockIdx.x} * group * kHeadDim;
  const int context_len = context_lens[seq];
  const float scale = kLog2E / sqrtf(static_cast<float>(kHeadDim));
  for (int i = static_cast<int>(threadIdx.x); i < group * kHeadDim; i += kThreads)
    query[i] = scale * q[first + i];
  __syncthreads();

  Partial<kVec> seen[kMaxGroup];
  for (int begin = warp * kWarp; begin < context_len; begin += kThreads) {
    const int n_visible = min(kWarp, context_len - begin);
    float weights[kMaxGroup] = {};
    if (lane < n_visible) {
      const std::int64_t at = (row_of(seq, begin + lane) * n_kv_heads + kv_head) * kHeadDim;
      for (int d = 0; d < kHeadDim; ++d) {
        const float key = k[at + d];
        for (int g = 0; g < group; ++g) weights[g] += query[g * kHeadDim + d] * key;
      }
    }
    __syncwarp();
    for (int g = 0; g < group; ++g) {
      const float score = lane < n_visible ? weights[g] : -INFINITY;
      float max = score;
      for (int offset = kWarp / 2; offset > 0; offset /= 2)
        max = fmaxf(max, __shfl_xor_sync(kAllLanes, max, offset));
      max = fmaxf(max, seen[g].max);
      const float rescale = exp2f(seen[g].max - max);
      weights[g] = exp2f(score - max);
      seen[g].max = max;
      seen[g].sum = seen[g].sum * rescale + warp_sum(weights[g]);
      for (int i = 0; i < kVec; ++i) seen[g].acc[i] *= rescale;
    }
    for (int t = 0; t < n_visible; ++t) {
      const std::int64_t at = (row_of(seq, begin + t) * n_kv_heads + kv_head) * kHeadDim + lane;
      float value[kVec];
      for (int i = 0; i < kVec; ++i) value[i] = v[at + i * kWarp];
      for (int g = 0; g < group; ++g) {
        const float weight = __shfl_sync(kAllLanes, weights[g], t);
        for (int i = 0; i < kVec; ++i) seen[g].acc[i] += weight * value[i];
      }
    }
  }
  merge_warps(seen, group, shared, out + first);
}

void check_shapes(kit::TensorView<const float> q, kit::TensorView<const float> k,
                  kit::TensorView<const float> v, kit::TensorView<const std::int32_t> context_lens,
                  kit::TensorView<float> out) {
  KIT_CHECK(q.rank() == 3 && out.shape() == q.shape() && k.rank() == 4 && v.shape() == k.shape() &&
                k.dim(3) == q.dim(2) && context_lens.shape() == kit::Shape{q.dim(0)},
            "q {}, k {}, v {}, context_lens {}, out {}: want q and out [n_seqs, n_heads, head_dim], k and v "
            "[.., .., n_kv_heads, head_dim], context_lens [n_seqs]",
            q.shape().to_string(), k.shape().to_string(), v.shape().to_string(),
            context_lens.shape().to_string(), out.shape().to_string());
  KIT_CHECK(q.dim(2) % kWarp == 0 && q.dim(2) >= 32 && q.dim(2) <= 128,
            "head_dim is {}, must be 32, 64, 96 or 128", q.dim(2));
  KIT_CHECK(
      k.dim(2) > 0 && q.dim(1) % k.dim(2) == 0 && q.dim(1) >= k.dim(2) && q.dim(1) <= kMaxGroup * k.dim(2),
      "{} query heads for {} key/value heads, must be 1 to {} for each", q.dim(1), k.dim(2), kMaxGroup);
}

template <class Rows>
void launch_decode_attention(kit::TensorView<const float> q, kit::TensorView<const float> k,
                             kit::TensorView<const float> v, const Rows& row_of,
                             kit::TensorView<const std::int32_t> context_lens, kit::TensorView<float> out) {
  if (q.size() == 0) return;
  constexpr decltype(&decode_attention_kernel<1, Rows>) kKernels[] = {
      decode_attention_kernel<1, Rows>, decode_attention_kernel<2, Rows>, decode_attention_kernel<3, Rows>,
      decode_attention_kernel<4, Rows>};
  const auto n_kv_heads = static_cast<int>(k.dim(2));
  const auto group = static_cast<int>(q.dim(1) / k.dim(2));
  kit::launch(kKernels[q.dim(2) / kWarp - 1], {static_cast<unsigned>(q.dim(0) * n_kv_heads), kThreads},
              q.data(), k.data(), v.data(), row_of, context_lens.data(), out.data(), n_kv_heads, group);
}

}  // namespace

void decode_attention_cuda(kit::TensorView<const float> q, kit::TensorView<const float> k,
                           kit::TensorView<const float> v, kit::TensorView<const std::int32_t> context_lens,
                           kit::TensorView<float> out) {
  check_shapes(q, k, v, context_lens, out);
  KIT_CHECK(k.dim(0) == q.dim(0), "k {} holds the caches of {} sequences, q {} the queries of {}",
            k.shape().to_string(), k.dim(0), q.shape().to_string(), q.dim(0));
  launch_decode_attention(q, k, v, ContiguousRows{k.dim(1)}, context_lens, out);
}

void paged_decode_attention_cuda(kit::TensorView<const float> q, kit::TensorView<const float> k_blocks,
                                 kit::TensorView<const float> v_blocks,
                                 kit::TensorView<const std::int32_t> block_tables,
                                 kit::TensorView<const std::int32_t> context_lens,
                                 kit::TensorView<float> out) {
  check_shapes(q, k_blocks, v_blocks, context_lens, out);
  KIT_CHECK(block_tables.rank() == 2 && block_tables.dim(0) == q.dim(0) && k_blocks.dim(1) > 0,
            "block_tables {} for q {} and k_blocks {}: want [n_seqs, max_blocks], blocks of at least 1 token",
            block_tables.shape().to_string(), q.shape().to_string(), k_blocks.shape().to_string());
  const PagedRows row_of{block_tables.data(), block_tables.dim(1), static_cast<int>(k_blocks.dim(1))};
  launch_decode_attention(q, k_blocks, v_blocks, row_of, context_lens, out);
}

}  // namespace lab02
