#include <cmath>
#include <cstdint>

#include "kit/cuda/kernel.h"
#include "lab02/cuda_kernels.h"

namespace lab02 {

namespace {

constexpr int kWarp = 32;
constexpr int kWarps = 8;  // of a thread block
constexpr int kThreads = kWarps * kWarp;
constexpr int kTile = 4;      // positions whose keys and values a warp asks for at a time
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

// Adds a tile to what a query head has seen; only its first n_visible positions are there.
// Milakov and Gimelshein 2018, "Online normalizer calculation for softmax", algorithm 3.
template <int kVec>
__device__ __forceinline__ void attend(const float (&query)[kVec], const float (&keys)[kTile][kVec],
                                       const float (&values)[kTile][kVec], int n_visible,
                                       Partial<kVec>& seen) {
  float scores[kTile];
  float max = seen.max;
#pragma unroll
  for (int t = 0; t < kTile; ++t) {
    float products = 0.0F;
    for (int i = 0; i < kVec; ++i) products += query[i] * keys[t][i];
    const float score = warp_sum(products);
    scores[t] = t < n_visible ? score : -INFINITY;
    max = fmaxf(max, scores[t]);
  }
  // Sums under the old maximum are brought to the new one. At first that is 0 * 2^(-infinity).
  const float rescale = exp2f(seen.max - max);
  seen.max = max;
  seen.sum *= rescale;
  for (int i = 0; i < kVec; ++i) seen.acc[i] *= rescale;
#pragma unroll
  for (int t = 0; t < kTile; ++t) {
    const float weight = exp2f(scores[t] - max);
    seen.sum += weight;
    for (int i = 0; i < kVec; ++i) seen.acc[i] += weight * values[t][i];
  }
}

// What the warps of a thread block hand over.
template <int kVec>
struct Handover {
  float max[kWarps][kMaxGroup];
  float sum[kWarps][kMaxGroup];
  float acc[kMaxGroup * kVec * kWarp][kWarps];  // [group, head_dim, kWarps]
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
      shared.acc[g * kHeadDim + i * kWarp + lane][warp] = seen[g].acc[i];
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
      acc += rescale * shared.acc[i][w];
    }
    out[i] = acc / sum;
  }
}

// A thread block has a key/value head of a sequence, a warp every eighth tile of positions, lane l elements
// l, l + 32, ... of head_dim. What it loads of a key or a value serves all query heads of the group.
// PRECOND: n_seqs * n_kv_heads thread blocks; head_dim = 32 kVec; group <= kMaxGroup; context_lens >= 1.
// Bytes: 8 head_dim for a position of a kv head, in 4 sectors a request. FLOPs: 4 head_dim group for it.
// Dao et al. 2023, "Flash-Decoding for long-context inference"; here the splits are a thread block's warps.
template <int kVec, class Rows>
__global__ void __launch_bounds__(kThreads, 2)
    decode_attention_kernel(const float* q, const float* k, const float* v, Rows row_of,
                            const std::int32_t* context_lens, float* out, int n_kv_heads, int group) {
  constexpr int kHeadDim = kVec * kWarp;
  __shared__ Handover<kVec> shared;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const std::int64_t seq = blockIdx.x / n_kv_heads;
  const std::int64_t kv_head = blockIdx.x % n_kv_heads;
  const std::int64_t first = std::int64_t{blockIdx.x} * group * kHeadDim;  // of the group, in q and out
  const int context_len = context_lens[seq];

  const float scale = kLog2E / sqrtf(static_cast<float>(kHeadDim));  // scores are exponents of 2
  float query[kMaxGroup][kVec] = {};
#pragma unroll
  for (int g = 0; g < kMaxGroup; ++g) {
    for (int i = 0; g < group && i < kVec; ++i)
      query[g][i] = scale * q[first + g * kHeadDim + i * kWarp + lane];
  }

  Partial<kVec> seen[kMaxGroup];
  for (int begin = warp * kTile; begin < context_len; begin += kWarps * kTile) {
    // Zeros behind the end, where anything may lie: a weight of 0 times NaN is NaN.
    float keys[kTile][kVec] = {};
    float values[kTile][kVec] = {};
#pragma unroll
    for (int t = 0; t < kTile; ++t) {
      if (begin + t >= context_len) break;
      const std::int64_t at = (row_of(seq, begin + t) * n_kv_heads + kv_head) * kHeadDim + lane;
      for (int i = 0; i < kVec; ++i) keys[t][i] = k[at + i * kWarp];
      for (int i = 0; i < kVec; ++i) values[t][i] = v[at + i * kWarp];
    }
#pragma unroll
    for (int g = 0; g < kMaxGroup; ++g) {
      if (g < group) attend(query[g], keys, values, context_len - begin, seen[g]);
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
