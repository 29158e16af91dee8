#include <cmath>
#include <cstdint>

#include "kit/cuda/kernel.h"
#include "lab03/ragged_attention.h"

namespace lab03 {

namespace {

__global__ void ragged_warp_kernel(const float* q, const float* k, const float* v, const std::int32_t* cu,
                                   float* out, int group, int head_dim, float scale) {
  const auto lane = static_cast<int>(threadIdx.x);
  const std::int64_t seq = blockIdx.y;
  const std::int64_t kv_head = blockIdx.x;
  const std::int64_t row = std::int64_t{gridDim.x} * head_dim;
  const std::int64_t first = (seq * gridDim.x + kv_head) * group * head_dim;
  float queries[8][4] = {};
  float acc[8][4] = {};
  float max_of[8];
  float sum_of[8] = {};
  for (int g = 0; g < group; ++g) {
    max_of[g] = -INFINITY;
    for (int i = 0; 32 * i < head_dim; ++i) queries[g][i] = q[first + g * head_dim + 32 * i + lane];
  }
  for (std::int64_t t = cu[seq]; t < cu[seq + 1]; ++t) {
    float key[4] = {};
    float value[4] = {};
    for (int i = 0; 32 * i < head_dim; ++i) {
      key[i] = k[t * row + kv_head * head_dim + 32 * i + lane];
      value[i] = v[t * row + kv_head * head_dim + 32 * i + lane];
    }
    for (int g = 0; g < group; ++g) {
      float score = 0.0F;
      for (int i = 0; i < 4; ++i) score += queries[g][i] * key[i];
      for (int offset = 16; offset > 0; offset /= 2) score += __shfl_down_sync(~0U, score, offset);
      score = __shfl_sync(~0U, score, 0) * scale;
      const float larger = fmaxf(max_of[g], score);
      const float shrink = expf(max_of[g] - larger);
      const float weight = expf(score - larger);
      max_of[g] = larger;
      sum_of[g] = sum_of[g] * shrink + weight;
      for (int i = 0; i < 4; ++i) acc[g][i] = acc[g][i] * shrink + weight * value[i];
    }
  }
  for (int g = 0; g < group; ++g) {
    for (int i = 0; 32 * i < head_dim; ++i) out[first + g * head_dim + 32 * i + lane] = acc[g][i] / sum_of[g];
  }
}

}  // namespace

void ragged_decode_attention_cuda(kit::TensorView<const float> q, kit::TensorView<const float> k,
                                  kit::TensorView<const float> v,
                                  kit::TensorView<const std::int32_t> cu_kv_lens,
                                  kit::TensorView<float> out) {
  KIT_CHECK(q.rank() == 3 && k.rank() == 3 && v.shape() == k.shape() && out.shape() == q.shape() &&
                q.dim(2) == k.dim(2) && q.dim(2) % 32 == 0 && q.dim(2) <= 128 && q.dim(1) % k.dim(1) == 0 &&
                q.dim(1) <= 8 * k.dim(1) && cu_kv_lens.shape() == kit::Shape{q.dim(0) + 1},
            "q {}, k {}, v {}", q.shape().to_string(), k.shape().to_string(), v.shape().to_string());
  if (q.dim(0) == 0) return;
  kit::launch(ragged_warp_kernel,
              {dim3(static_cast<unsigned>(k.dim(1)), static_cast<unsigned>(q.dim(0))), 32}, q.data(),
              k.data(), v.data(), cu_kv_lens.data(), out.data(), static_cast<int>(q.dim(1) / k.dim(1)),
              static_cast<int>(q.dim(2)), 1.0F / std::sqrt(static_cast<float>(q.dim(2))));
}

}  // namespace lab03
