#pragma once

#include "kit/kv_cache.h"
#include "kit/rope.h"
#include "kit/tensor.h"

/// Lab 02, task 3: attention that remembers.
namespace lab02 {

/// One layer's attention for n new tokens, using and extending the cache: n > 1 is a prefill, n = 1 a decode
/// step.
///
/// q:    [n, n_heads, head_dim]      NOT rotated yet
/// k, v: [n, n_kv_heads, head_dim]   of the new tokens only; k NOT rotated yet (values never are)
/// out:  [n, n_heads, head_dim]      written, never read
///
/// The first new token has position cache.length(layer). Rotate q and k by their absolute positions
/// (rope.rotate), append k and v to `layer`, then let every new query attend causally to the whole cache of
/// the layer. MHA (n_kv_heads = n_heads), GQA and MQA (n_kv_heads = 1) are the same code.
///
/// Running n tokens at once or one after the other gives the same outputs to rounding.
/// Throws kit::Error on a layer out of range, shapes that disagree with each other or with the cache, and
/// when the cache or the rotary table is too short; the cache is then unchanged.
void attention_with_cache(int layer, kit::TensorView<const float> q, kit::TensorView<const float> k,
                          kit::TensorView<const float> v, const kit::Rope& rope, kit::KvCache& cache,
                          kit::TensorView<float> out);

}  // namespace lab02
