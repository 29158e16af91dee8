#include "lab02/attention_with_cache.h"

#include "lab02/attention.h"

namespace lab02 {

namespace {

/// A copy of x, its rows rotated by their absolute positions.
kit::Tensor<float> rotated(kit::TensorView<const float> x, const kit::Rope& rope, int first_pos) {
  kit::Tensor<float> result = kit::clone(x);
  rope.rotate(result, first_pos);
  return result;
}

}  // namespace

void attention_with_cache(int layer, kit::TensorView<const float> q, kit::TensorView<const float> k,
                          kit::TensorView<const float> v, const kit::Rope& rope, kit::KvCache& cache,
                          kit::TensorView<float> out) {
  // append() checks k and v against the cache; what it cannot see is checked before it writes.
  KIT_CHECK(
      q.rank() == 3 && k.rank() == 3 && q.dim(0) == k.dim(0) && q.dim(2) == k.dim(2) && k.dim(1) > 0 &&
          q.dim(1) % k.dim(1) == 0 && out.shape() == q.shape(),
      "q {}, k {}, out {}: want q and out [n, n_heads, head_dim], k [n, n_kv_heads, head_dim], n_heads a "
      "multiple of n_kv_heads",
      q.shape().to_string(), k.shape().to_string(), out.shape().to_string());

  const int first_pos = cache.length(layer);
  const kit::Tensor<float> rotated_q = rotated(q, rope, first_pos);
  // A key is rotated once, by the position it will always have, and cached that way.
  cache.append(layer, k, v);
  attention(rotated_q, cache.keys(layer), cache.values(layer), out);
}

}  // namespace lab02
