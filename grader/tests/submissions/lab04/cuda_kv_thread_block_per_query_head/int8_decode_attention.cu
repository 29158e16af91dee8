#include <cmath>
#include <cstdint>

#include "kit/cuda/kernel.h"
#include "lab04/cuda_kernels.h"

namespace lab04 {

namespace {

constexpr int kWarp = 32;
constexpr int kWarps = 8;  // of a thread block
constexpr int kThreads = kWarps * kWarp;
constexpr int kMaxHeadDim = 4 * kWarp;  // a lane has 4 elements of a head
constexpr int kMaxGroup = kWarps;       // query heads that share a key/value head
constexpr int kTile = 4;                // positions whose keys and values a warp asks for at a time
constexpr unsigned kAllLanes = 0xffffffffU;
constexpr float kLog2E = 1.44269504F;  // e^x = 2^(x kLog2E), and the GPU has an instruction for 2^x

__device__ __forceinline__ float warp_sum(float value) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(kAllLanes, value, offset);
  return value;
}

__device__ __forceinline__ float4 operator*(float s, const float4& v) {
  return make_float4(s * v.x, s * v.y, s * v.z, s * v.w);
}
__device__ __forceinline__ float4 operator+(const float4& a, const float4& b) {
  return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}
__device__ __forceinline__ float4 to_float4(const char4& codes) {
  return make_float4(codes.x, codes.y, codes.z, codes.w);
}

// A warp's softmax over the positions it has seen, for one query head; not yet divided by the sum.
struct Partial {
  float max = -INFINITY;               // of the scores, which are exponents of 2
  float sum = 0.0F;                    // of 2^(score - max)
  float4 acc{0.0F, 0.0F, 0.0F, 0.0F};  // of 2^(score - max) * value: this lane's elements
};

// This lane's codes of a tile's keys and values, and their scales.
struct Codes {
  char4 k[kTile];
  char4 v[kTile];
  float k_scales[kTile];
  float v_scales[kTile];
};

// Adds a tile to what a query head has seen; only its first n_visible positions are there. A scale is that of
// all elements of a key or value: it multiplies the score, or the weight, instead of each of them.
// Milakov and Gimelshein 2018, "Online normalizer calculation for softmax", algorithm 3.
__device__ __forceinline__ void attend(const float4& query, const Codes& tile, int n_visible, Partial& seen) {
  float scores[kTile];
  float max = seen.max;
#pragma unroll
  for (int t = 0; t < kTile; ++t) {
    const float4 k = to_float4(tile.k[t]);
    const float score =
        tile.k_scales[t] * warp_sum(query.x * k.x + query.y * k.y + query.z * k.z + query.w * k.w);
    scores[t] = t < n_visible ? score : -INFINITY;
    max = fmaxf(max, scores[t]);
  }
  // Sums under the old maximum are brought to the new one. At first that is 0 * 2^(-infinity).
  const float rescale = exp2f(seen.max - max);
  seen.max = max;
  seen.sum *= rescale;
  seen.acc = rescale * seen.acc;
#pragma unroll
  for (int t = 0; t < kTile; ++t) {
    const float weight = exp2f(scores[t] - max);
    seen.sum += weight;
    seen.acc = seen.acc + weight * tile.v_scales[t] * to_float4(tile.v[t]);
  }
}

// What the warps of a thread block hand over.
struct Handover {
  float max[kWarps][kMaxGroup];
  float sum[kWarps][kMaxGroup];
  float4 acc[kWarps][kMaxGroup][kWarp];
};

// Brings what the warps have seen to one maximum and adds it up, query head g in warp g, whose result it is.
// All threads must call.
__device__ __forceinline__ float4 merge_warps(const Partial (&seen)[kMaxGroup], int group, Handover& shared) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
#pragma unroll
  for (int g = 0; g < kMaxGroup; ++g) {
    if (lane == 0 && g < group) shared.max[warp][g] = seen[g].max;
    if (lane == 0 && g < group) shared.sum[warp][g] = seen[g].sum;
    if (g < group) shared.acc[warp][g][lane] = seen[g].acc;
  }
  __syncthreads();
  Partial all;
  if (warp >= group) return all.acc;
  for (int w = 0; w < kWarps; ++w) all.max = fmaxf(all.max, shared.max[w][warp]);
  for (int w = 0; w < kWarps; ++w) {
    const float rescale = exp2f(shared.max[w][warp] - all.max);  // 0 for a warp that had no position
    all.sum += rescale * shared.sum[w][warp];
    all.acc = all.acc + rescale * shared.acc[w][warp][lane];
  }
  return 1.0F / all.sum * all.acc;
}

// A thread block has a key/value head of a sequence, a warp every eighth tile of positions, lane l elements
// 4 l to 4 l + 3: one word of a key. What it loads of a key or a value serves all query heads of the group.
// PRECOND: n_seqs * n_kv_heads thread blocks; n_words = head_dim / 4 <= 32; group <= 8; context_lens >= 1.
// Bytes: 2 head_dim + 8 for a position of a kv head. FLOPs: 4 head_dim group for it.
// Dao et al. 2023, "Flash-Decoding for long-context inference"; here the splits are a thread block's warps.
__global__ void __launch_bounds__(kThreads, 2)
    decode_attention_int8_kernel(const float4* q, const char4* k, const float* k_scales, const char4* v,
                                 const float* v_scales, const std::int32_t* context_lens, float4* out,
                                 std::int64_t max_len, int n_kv_heads, int n_heads, int n_words) {
  constexpr int group = 1;
  __shared__ Handover shared;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const bool has_word = lane < n_words;  // a head of less than 128 elements leaves lanes without
  const std::int64_t seq = blockIdx.x / n_heads;
  const std::int64_t kv_head = blockIdx.x % n_heads / (n_heads / n_kv_heads);
  const std::int64_t first = std::int64_t{blockIdx.x} * group * n_words + lane;  // in q and out
  const int context_len = context_lens[seq];

  const float scale = kLog2E / sqrtf(4.0F * static_cast<float>(n_words));  // scores are exponents of 2
  float4 query[kMaxGroup] = {};
#pragma unroll
  for (int g = 0; g < kMaxGroup; ++g) {
    if (g >= group || !has_word) break;
    query[g] = scale * q[first + g * n_words];
  }

  Partial seen[kMaxGroup];
  for (int begin = warp * kTile; begin < context_len; begin += kWarps * kTile) {
    Codes tile = {};  // zeros behind the end, where anything may lie
#pragma unroll
    for (int t = 0; t < kTile; ++t) {
      if (begin + t >= context_len) break;
      const std::int64_t row = (seq * max_len + begin + t) * n_kv_heads + kv_head;
      if (has_word) tile.k[t] = k[row * n_words + lane];
      if (has_word) tile.v[t] = v[row * n_words + lane];
      tile.k_scales[t] = k_scales[row];
      tile.v_scales[t] = v_scales[row];
    }
#pragma unroll
    for (int g = 0; g < kMaxGroup; ++g) {
      if (g < group) attend(query[g], tile, context_len - begin, seen[g]);
    }
  }
  const float4 result = merge_warps(seen, group, shared);
  if (warp < group && has_word) out[first + warp * n_words] = result;
}

void check_shapes(kit::TensorView<const float> q, kit::TensorView<const std::int8_t> k_cache,
                  kit::TensorView<const float> k_scales, kit::TensorView<const std::int8_t> v_cache,
                  kit::TensorView<const float> v_scales, kit::TensorView<const std::int32_t> context_lens,
                  kit::TensorView<float> out) {
  const kit::Shape scales{k_cache.dim(0), k_cache.dim(1), k_cache.dim(2)};
  KIT_CHECK(k_cache.rank() == 4 && v_cache.shape() == k_cache.shape() && k_scales.shape() == scales &&
                v_scales.shape() == scales,
            "k_cache {}, v_cache {}, k_scales {}, v_scales {}: want caches [n_seqs, max_len, n_kv_heads, "
            "head_dim], and scales without the last",
            k_cache.shape().to_string(), v_cache.shape().to_string(), k_scales.shape().to_string(),
            v_scales.shape().to_string());
  KIT_CHECK(
      q.rank() == 3 && out.shape() == q.shape() && k_cache.dim(0) == q.dim(0) && k_cache.dim(3) == q.dim(2) &&
          context_lens.rank() == 1 && context_lens.dim(0) == q.dim(0),
      "q {}, out {}, context_lens {} for k_cache {}: want q and out [n_seqs, n_heads, head_dim], lengths "
      "[n_seqs]",
      q.shape().to_string(), out.shape().to_string(), context_lens.shape().to_string(),
      k_cache.shape().to_string());
  KIT_CHECK(q.dim(2) % kWarp == 0 && q.dim(2) >= kWarp && q.dim(2) <= kMaxHeadDim,
            "head_dim is {}, must be 32, 64, 96 or 128", q.dim(2));
  const std::int64_t n_kv_heads = k_cache.dim(2);
  KIT_CHECK(n_kv_heads > 0 && q.dim(1) % n_kv_heads == 0 && q.dim(1) >= n_kv_heads &&
                q.dim(1) <= kMaxGroup * n_kv_heads,
            "{} query heads for {} key/value heads, must be 1 to {} for each", q.dim(1), n_kv_heads,
            kMaxGroup);
}

}  // namespace

void decode_attention_int8_cuda(kit::TensorView<const float> q, kit::TensorView<const std::int8_t> k_cache,
                                kit::TensorView<const float> k_scales,
                                kit::TensorView<const std::int8_t> v_cache,
                                kit::TensorView<const float> v_scales,
                                kit::TensorView<const std::int32_t> context_lens,
                                kit::TensorView<float> out) {
  check_shapes(q, k_cache, k_scales, v_cache, v_scales, context_lens, out);
  if (q.size() == 0) return;  // there is no launch of no thread blocks
  const auto n_kv_heads = static_cast<int>(k_cache.dim(2));
  kit::launch(decode_attention_int8_kernel, {static_cast<unsigned>(q.dim(0) * q.dim(1)), kThreads},
              reinterpret_cast<const float4*>(q.data()), reinterpret_cast<const char4*>(k_cache.data()),
              k_scales.data(), reinterpret_cast<const char4*>(v_cache.data()), v_scales.data(),
              context_lens.data(), reinterpret_cast<float4*>(out.data()), k_cache.dim(1), n_kv_heads,
              static_cast<int>(q.dim(1)), static_cast<int>(q.dim(2) / 4));
}

}  // namespace lab04
