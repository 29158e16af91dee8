#include <cmath>
#include <cstdint>

#include "kit/cuda/kernel.h"
#include "lab04/cuda_kernels.h"

namespace lab04 {

namespace {

constexpr int kWarp = 32;
constexpr int kMaxGroup = 8;
constexpr unsigned kAllLanes = 0xffffffffU;

// A thread block of one warp has a key/value head of a sequence, lane l elements l, l + 32, ...: bytes. It
// goes through the positions one by one, with a running maximum for each query head.
// PRECOND: a grid of (n_kv_heads, n_seqs); head_dim = 32 kVec; group <= 8; context_lens >= 1.
// Bytes: 2 head_dim + 8 for a position. FLOPs: 4 head_dim group for it.
// Milakov and Gimelshein 2018, "Online normalizer calculation for softmax", algorithm 3.
template <int kVec>
__global__ void decode_attention_int8_warp_kernel(const float* q, const std::int8_t* k, const float* k_scales,
                                                  const std::int8_t* v, const float* v_scales,
                                                  const std::int32_t* context_lens, float* out,
                                                  std::int64_t max_len, int group) {
  constexpr int kHeadDim = kVec * kWarp;
  const auto lane = static_cast<int>(threadIdx.x);
  const std::int64_t first = (std::int64_t{blockIdx.y} * gridDim.x + blockIdx.x) * group * kHeadDim + lane;
  float query[kMaxGroup][kVec] = {};
  for (int g = 0; g < group; ++g)
    for (int i = 0; i < kVec; ++i) query[g][i] = q[first + g * kHeadDim + i * kWarp];

  float maxima[kMaxGroup];
  float sums[kMaxGroup] = {};
  float acc[kMaxGroup][kVec] = {};
  for (float& max : maxima) max = -INFINITY;
  const int context_len = context_lens[blockIdx.y];
  for (int t = 0; t < context_len; ++t) {
    const std::int64_t row = (blockIdx.y * max_len + t) * gridDim.x + blockIdx.x;
    float key[kVec];
    float value[kVec];
    for (int i = 0; i < kVec; ++i) key[i] = k_scales[row] * k[row * kHeadDim + i * kWarp + lane];
    for (int i = 0; i < kVec; ++i) value[i] = v_scales[row] * v[row * kHeadDim + i * kWarp + lane];
    for (int g = 0; g < group; ++g) {
      float score = 0.0F;
      for (int i = 0; i < kVec; ++i) score += query[g][i] * key[i];
      for (int offset = 1; offset < kWarp; offset *= 2) score += __shfl_xor_sync(kAllLanes, score, offset);
      score /= sqrtf(static_cast<float>(kHeadDim));
      const float max = fmaxf(maxima[g], score);
      const float rescale = expf(maxima[g] - max);
      const float weight = expf(score - max);
      maxima[g] = max;
      sums[g] = rescale * sums[g] + weight;
      for (int i = 0; i < kVec; ++i) acc[g][i] = rescale * acc[g][i] + weight * value[i];
    }
  }
  for (int g = 0; g < group; ++g)
    for (int i = 0; i < kVec; ++i) out[first + g * kHeadDim + i * kWarp] = acc[g][i] / sums[g];
}

}  // namespace

void decode_attention_int8_cuda(kit::TensorView<const float> q, kit::TensorView<const std::int8_t> k_cache,
                                kit::TensorView<const float> k_scales,
                                kit::TensorView<const std::int8_t> v_cache,
                                kit::TensorView<const float> v_scales,
                                kit::TensorView<const std::int32_t> context_lens,
                                kit::TensorView<float> out) {
  KIT_CHECK(q.rank() == 3 && out.shape() == q.shape() && k_cache.rank() == 4 && context_lens.rank() == 1 &&
                context_lens.dim(0) == q.dim(0),
            "q {}, out {}, k_cache {}, context_lens {}", q.shape().to_string(), out.shape().to_string(),
            k_cache.shape().to_string(), context_lens.shape().to_string());
  const kit::Shape cache{q.dim(0), k_cache.dim(1), k_cache.dim(2), q.dim(2)};
  const kit::Shape scales{q.dim(0), k_cache.dim(1), k_cache.dim(2)};
  KIT_CHECK(k_cache.shape() == cache && v_cache.shape() == cache && k_scales.shape() == scales &&
                v_scales.shape() == scales,
            "k_cache {}, v_cache {}, k_scales {}, v_scales {} for q {}", k_cache.shape().to_string(),
            v_cache.shape().to_string(), k_scales.shape().to_string(), v_scales.shape().to_string(),
            q.shape().to_string());
  KIT_CHECK(q.dim(2) % 32 == 0 && q.dim(2) >= 32 && q.dim(2) <= 128, "head_dim is {}", q.dim(2));
  const std::int64_t n_kv_heads = k_cache.dim(2);
  KIT_CHECK(n_kv_heads > 0 && q.dim(1) % n_kv_heads == 0 && q.dim(1) / n_kv_heads >= 1 &&
                q.dim(1) / n_kv_heads <= kMaxGroup,
            "{} query heads, {} key/value heads", q.dim(1), n_kv_heads);
  if (q.size() == 0) return;
  constexpr decltype(&decode_attention_int8_warp_kernel<1>) kKernels[] = {
      decode_attention_int8_warp_kernel<1>, decode_attention_int8_warp_kernel<2>,
      decode_attention_int8_warp_kernel<3>, decode_attention_int8_warp_kernel<4>};
  kit::launch(kKernels[q.dim(2) / 32 - 1],
              {{static_cast<unsigned>(n_kv_heads), static_cast<unsigned>(q.dim(0))}, kWarp}, q.data(),
              k_cache.data(), k_scales.data(), v_cache.data(), v_scales.data(), context_lens.data(),
              out.data(), k_cache.dim(1), static_cast<int>(q.dim(1) / n_kv_heads));
}

}  // namespace lab04
