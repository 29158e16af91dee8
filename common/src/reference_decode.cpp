#include "kit/reference_decode.h"

#include <algorithm>

namespace kit {

std::optional<Tensor<float>> reference_decode_attention(TensorView<const float> q, TensorView<const float> k,
                                                        TensorView<const float> v,
                                                        std::span<const std::int32_t> context_lens,
                                                        const RowOf& row_of,
                                                        const AttentionVariant& variant) {
  const std::int64_t n_heads = q.dim(1);
  const std::int64_t head_dim = q.dim(2);
  const std::int64_t n_kv_heads = k.dim(k.rank() - 2);
  const std::int64_t row_size = n_kv_heads * head_dim;
  KIT_CHECK(static_cast<std::int64_t>(context_lens.size()) == q.dim(0) && k.shape() == v.shape(),
            "{} lengths, q {}, k {}, v {}", context_lens.size(), q.shape().to_string(), k.shape().to_string(),
            v.shape().to_string());
  Tensor<float> out(q.shape());
  for (std::int64_t s = 0; s < q.dim(0); ++s) {
    const std::int64_t n = context_lens[static_cast<std::size_t>(s)];
    if (n <= 0) return std::nullopt;
    Tensor<float> keys({n, n_kv_heads, head_dim});
    Tensor<float> values({n, n_kv_heads, head_dim});
    for (std::int64_t t = 0; t < n; ++t) {
      const std::int64_t row = row_of(s, t);
      if (row < 0 || (row + 1) * row_size > k.size()) return std::nullopt;
      std::copy_n(k.data() + row * row_size, row_size, keys.data() + t * row_size);
      std::copy_n(v.data() + row * row_size, row_size, values.data() + t * row_size);
    }
    const Shape one{1, n_heads, head_dim};
    reference_attention({q.data() + s * one.size(), one}, keys, values, {out.data() + s * one.size(), one},
                        variant);
  }
  return out;
}

}  // namespace kit
