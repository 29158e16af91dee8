#include "lab03/ragged_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace lab03 {

void ragged_decode_attention(kit::TensorView<const float> q, kit::TensorView<const float> k,
                             kit::TensorView<const float> v, kit::TensorView<const std::int32_t> cu_kv_lens,
                             kit::TensorView<float> out) {
  KIT_CHECK(q.rank() == 3 && k.rank() == 3 && v.shape() == k.shape() && out.shape() == q.shape() &&
                q.dim(2) == k.dim(2) && k.dim(1) > 0 && q.dim(1) % k.dim(1) == 0 &&
                cu_kv_lens.shape() == kit::Shape{q.dim(0) + 1},
            "q {}, k {}, v {}", q.shape().to_string(), k.shape().to_string(), v.shape().to_string());
  const std::int64_t n = q.dim(0);
  bool grows = cu_kv_lens(0) == 0 && cu_kv_lens(n) == k.dim(0);
  for (std::int64_t s = 0; s < n; ++s) grows = grows && cu_kv_lens(s + 1) >= cu_kv_lens(s) + 1;
  KIT_CHECK(grows, "cu_kv_lens must grow from 0 to {}", k.dim(0));

  for (std::int64_t s = 0; s < n; ++s) {
    for (std::int64_t h = 0; h < q.dim(1); ++h) {
      const std::span<float> acc = out.row(s, h);
      std::ranges::fill(acc, 0.0F);
      float max = -std::numeric_limits<float>::infinity();
      float sum = 0.0F;
      for (std::int64_t t = cu_kv_lens(s); t < cu_kv_lens(s + 1); ++t) {
        const std::int64_t kv_head = h / (q.dim(1) / k.dim(1));
        double score = 0.0;
        for (std::int64_t d = 0; d < q.dim(2); ++d) score += double{q(s, h, d)} * double{k(t, kv_head, d)};
        const auto scaled = static_cast<float>(score / std::sqrt(static_cast<double>(q.dim(2))));
        const float larger = std::max(max, scaled);
        const float shrink = std::exp(max - larger);
        const float weight = std::exp(scaled - larger);
        max = larger;
        sum = sum * shrink + weight;
        for (std::int64_t d = 0; d < q.dim(2); ++d) acc[d] = acc[d] * shrink + weight * v(t, kv_head, d);
      }
      for (float& x : acc) x /= sum;
    }
  }
}

}  // namespace lab03
