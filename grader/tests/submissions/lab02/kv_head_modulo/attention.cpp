#include "lab02/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kit/parallel.h"

namespace lab02 {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

void check_shapes(kit::TensorView<const float> q, kit::TensorView<const float> k,
                  kit::TensorView<const float> v, kit::TensorView<float> out) {
  const bool fits = q.rank() == 3 && k.rank() == 3 && v.shape() == k.shape() && out.shape() == q.shape() &&
                    k.dim(2) == q.dim(2) && k.dim(1) > 0 && q.dim(1) % k.dim(1) == 0 && k.dim(0) >= q.dim(0);
  KIT_CHECK(
      fits,
      "q {}, k {}, v {}, out {}: want q and out [q_len, n_heads, head_dim], k and v [kv_len, n_kv_heads, "
      "head_dim], kv_len >= q_len, n_heads a multiple of n_kv_heads",
      q.shape().to_string(), k.shape().to_string(), v.shape().to_string(), out.shape().to_string());
}

float dot(std::span<const float> a, std::span<const float> b) {
  float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
  for (std::size_t d = 0; d < a.size(); ++d) sum += a[d] * b[d];
  return sum;
}

/// out += weight * value.
void add_scaled(std::span<float> out, float weight, std::span<const float> value) {
#pragma omp simd
  for (std::size_t d = 0; d < out.size(); ++d) out[d] += weight * value[d];
}

/// Key/value heads one thread should take, so that it has at least 64 K multiply-adds to do: waking a thread
/// is not free.
std::int64_t grain(std::int64_t multiply_adds_per_kv_head) {
  return 1 + (std::int64_t{1} << 16) / std::max<std::int64_t>(multiply_adds_per_kv_head, 1);
}

}  // namespace

void softmax(std::span<float> scores) {
  if (scores.empty()) return;
  // exp(s - max) / sum exp(s - max) is the same quotient, and its largest term is exp(0): nothing overflows,
  // and the sum is at least 1.
  const float max = *std::max_element(scores.begin(), scores.end());
  float sum = 0.0F;
  for (float& score : scores) {
    KIT_CHECK(score < kInfinity, "a score is {}, softmax wants numbers below +infinity",
              score);  // NaN fails, too
    score = std::exp(score - max);
    sum += score;
  }
  KIT_CHECK(max > -kInfinity, "all {} scores are -infinity: nothing to attend to", scores.size());
  for (float& score : scores) score /= sum;
}

void attention(kit::TensorView<const float> q, kit::TensorView<const float> k, kit::TensorView<const float> v,
               kit::TensorView<float> out) {
  check_shapes(q, k, v, out);
  const std::int64_t q_len = q.dim(0);
  const std::int64_t kv_len = k.dim(0);
  const std::int64_t group = q.dim(1) / k.dim(1);  // query heads that share one key/value head
  const float scale = 1.0F / std::sqrt(static_cast<float>(q.dim(2)));

  // All query heads of a group meet a key while it is in the processor's cache, so keys and values come from
  // memory once, not `group` times.
  const auto attend = [&](std::int64_t i, std::int64_t kv_head, kit::TensorView<float> weights) {
    // The queries are the last q_len positions; what lies behind position kv_len - q_len + i is the future.
    const std::int64_t n_visible = kv_len - q_len + i + 1;
    const std::int64_t n_kv_heads = k.dim(1);
    for (std::int64_t t = 0; t < n_visible; ++t) {
      for (std::int64_t g = 0; g < group; ++g) {
        weights(g, t) = scale * dot(q.row(i, kv_head + g * n_kv_heads), k.row(t, kv_head));
      }
    }
    for (std::int64_t g = 0; g < group; ++g) {
      softmax(weights.row(g).first(static_cast<std::size_t>(n_visible)));
      std::ranges::fill(out.row(i, kv_head + g * n_kv_heads), 0.0F);
    }
    for (std::int64_t t = 0; t < n_visible; ++t) {
      for (std::int64_t g = 0; g < group; ++g)
        add_scaled(out.row(i, kv_head + g * n_kv_heads), weights(g, t), v.row(t, kv_head));
    }
  };

  const std::int64_t work = q_len * kv_len * group * q.dim(2);
  kit::parallel_for(k.dim(1), grain(work), [&](std::int64_t begin, std::int64_t end) {
    kit::Tensor<float> weights({group, kv_len});
    for (std::int64_t kv_head = begin; kv_head < end; ++kv_head) {
      for (std::int64_t i = 0; i < q_len; ++i) attend(i, kv_head, weights);
    }
  });
}

}  // namespace lab02
