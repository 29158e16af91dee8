#include "lab02/attention.h"

#include <cmath>
#include <limits>

namespace lab02 {

void softmax(std::span<float> scores) {
  if (scores.empty()) return;
  float max = -std::numeric_limits<float>::infinity();
  for (const float s : scores) {
    KIT_CHECK(!(std::isnan(s) || s == std::numeric_limits<float>::infinity()), "bad score {}", s);
    if (s > max) max = s;
  }
  KIT_CHECK(std::isfinite(max), "all masked");
  double sum = 0.0;
  for (float& s : scores) sum += s = std::exp(s - max);
  for (float& s : scores) s = static_cast<float>(s / sum);
}

void attention(kit::TensorView<const float> q, kit::TensorView<const float> k, kit::TensorView<const float> v,
               kit::TensorView<float> out) {
  KIT_CHECK(q.rank() == 3 && k.rank() == 3 && v.rank() == 3, "want three dimensions");
  const std::int64_t q_len = q.dim(0), kv_len = k.dim(0), n_heads = q.dim(1), n_kv_heads = k.dim(1),
                     d = q.dim(2);
  KIT_CHECK(v.shape() == k.shape() && out.shape() == q.shape() && k.dim(2) == d, "shapes disagree");
  KIT_CHECK(kv_len >= q_len, "kv_len {} < q_len {}", kv_len, q_len);
  KIT_CHECK(n_kv_heads > 0 && n_heads % n_kv_heads == 0, "{} heads over {} kv heads", n_heads, n_kv_heads);
  const std::int64_t past = kv_len - q_len;
  for (std::int64_t h = 0; h < n_heads; ++h) {
    const std::int64_t g = h / (n_heads / n_kv_heads);
    kit::Tensor<float> scores({q_len, kv_len});
    for (std::int64_t i = 0; i < q_len; ++i) {
      for (std::int64_t t = 0; t < kv_len; ++t) {
        float s = 0.0F;
        for (std::int64_t x = d - 1; x >= 0; --x)
          s += q(i, h, x) / std::sqrt(static_cast<float>(d)) * k(t, g, x);
        scores(i, t) = t > past + i ? -std::numeric_limits<float>::infinity() : s;
      }
      softmax(scores.row(i));
      for (std::int64_t x = 0; x < d; ++x) {
        float sum = 0.0F;
        for (std::int64_t t = 0; t < kv_len; ++t) sum += scores(i, t) * v(t, g, x);
        out(i, h, x) = sum;
      }
    }
  }
}

}  // namespace lab02
