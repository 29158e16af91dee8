#include "lab03/ragged_attention.h"

#include <algorithm>
#include <cmath>

#include "kit/parallel.h"

namespace lab03 {

namespace {

void check_shapes(kit::TensorView<const float> q, kit::TensorView<const float> k,
                  kit::TensorView<const float> v, kit::TensorView<const std::int32_t> cu_kv_lens,
                  kit::TensorView<float> out) {
  const bool fits = q.rank() == 3 && k.rank() == 3 && v.shape() == k.shape() && out.shape() == q.shape() &&
                    k.dim(2) == q.dim(2) && k.dim(1) > 0 && q.dim(1) % k.dim(1) == 0 &&
                    cu_kv_lens.shape() == kit::Shape{q.dim(0) + 1};
  KIT_CHECK(fits,
            "q {}, k {}, v {}, cu_kv_lens {}, out {}: want q and out [n_seqs, n_heads, head_dim], k and v "
            "[total_kv_len, n_kv_heads, head_dim], cu_kv_lens [n_seqs + 1], n_heads a multiple of n_kv_heads",
            q.shape().to_string(), k.shape().to_string(), v.shape().to_string(),
            cu_kv_lens.shape().to_string(), out.shape().to_string());
}

void check_lengths(kit::TensorView<const std::int32_t> cu_kv_lens, std::int64_t total_kv_len) {
  const std::int64_t n_seqs = cu_kv_lens.size() - 1;
  KIT_CHECK(cu_kv_lens(0) == 0, "cu_kv_lens begins with {}, not with 0", cu_kv_lens(0));
  for (std::int64_t s = 0; s < n_seqs; ++s) {
    KIT_CHECK(cu_kv_lens(s) < cu_kv_lens(s + 1), "sequence {} reaches from {} to {}: it has no key", s,
              cu_kv_lens(s), cu_kv_lens(s + 1));
  }
  KIT_CHECK(cu_kv_lens(n_seqs) == total_kv_len, "cu_kv_lens ends with {}, k has {} positions",
            cu_kv_lens(n_seqs), total_kv_len);
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

/// Softmax over one query's scores, base e.
void softmax(std::span<float> scores) {
  const float max = *std::ranges::max_element(scores);
  float sum = 0.0F;
  for (float& score : scores) sum += score = std::exp(score - max);
  for (float& score : scores) score /= sum;
}

}  // namespace

void ragged_decode_attention(kit::TensorView<const float> q, kit::TensorView<const float> k,
                             kit::TensorView<const float> v, kit::TensorView<const std::int32_t> cu_kv_lens,
                             kit::TensorView<float> out) {
  check_shapes(q, k, v, cu_kv_lens, out);
  check_lengths(cu_kv_lens, k.dim(0));
  const std::int64_t n_kv_heads = k.dim(1);
  const std::int64_t group = q.dim(1) / n_kv_heads;  // query heads that share one key/value head
  const float scale = 1.0F / std::sqrt(static_cast<float>(q.dim(2)));

  // All query heads of a group meet a key while it is in the processor's cache.
  const auto attend = [&](std::int64_t s, std::int64_t kv_head) {
    const std::int64_t begin = cu_kv_lens(s);
    const std::int64_t n = cu_kv_lens(s + 1) - begin;
    const std::int64_t first_head = kv_head * group;
    kit::Tensor<float> weights({group, n});
    for (std::int64_t t = 0; t < n; ++t) {
      for (std::int64_t g = 0; g < group; ++g)
        weights(g, t) = scale * dot(q.row(s, first_head + g), k.row(t, kv_head));
    }
    for (std::int64_t g = 0; g < group; ++g) {
      softmax(weights.row(g));
      std::ranges::fill(out.row(s, first_head + g), 0.0F);
    }
    for (std::int64_t t = 0; t < n; ++t) {
      for (std::int64_t g = 0; g < group; ++g)
        add_scaled(out.row(s, first_head + g), weights(g, t), v.row(t, kv_head));
    }
  };

  // A range of one, because lengths differ: whoever is done with a short sequence takes the next.
  kit::parallel_for(q.dim(0) * n_kv_heads, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) attend(i / n_kv_heads, i % n_kv_heads);
  });
}

}  // namespace lab03
