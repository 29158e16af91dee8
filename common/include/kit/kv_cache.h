#pragma once

#include <cstdint>

#include "kit/tensor.h"

/// The cache of keys and values, as the model sees it. Lab 02 implements it; later labs bring their own.
namespace kit {

struct KvCacheConfig {
  int n_layers = 0;
  int n_kv_heads = 0;
  int head_dim = 0;
  int max_len = 0;  ///< capacity in tokens
};

/// Keys and values of one sequence, all layers. Positions are absolute: entry t of a layer belongs to
/// position t.
class KvCache {
 public:
  virtual ~KvCache() = default;

  virtual const KvCacheConfig& config() const = 0;

  /// Appends n tokens to `layer`. The data are copied.
  /// k, v: [n, n_kv_heads, head_dim]. n may be 0.
  /// Throws kit::Error on a layer out of range, a wrong shape, k and v of different shapes, or when the
  /// capacity would be exceeded; the cache is then unchanged.
  virtual void append(int layer, TensorView<const float> k, TensorView<const float> v) = 0;

  /// All keys of `layer` so far: [length(layer), n_kv_heads, head_dim]. Valid until the next call of a
  /// non-const member. Throws kit::Error on a layer out of range.
  virtual TensorView<const float> keys(int layer) const = 0;
  /// All values of `layer` so far: [length(layer), n_kv_heads, head_dim]. As keys().
  virtual TensorView<const float> values(int layer) const = 0;

  /// Tokens that `layer` holds, which is the position of the next one. Layers differ while a forward pass is
  /// under way: each is extended when its turn comes. Throws kit::Error on a layer out of range.
  virtual int length(int layer) const = 0;

  /// Forgets every token of every layer; the capacity stays.
  virtual void reset() = 0;

  /// Forgets every layer's tokens from position `length` on; a layer that holds fewer stays as it is.
  /// Throws kit::Error, having done nothing, on a negative length or one that no layer reaches, and always
  /// where a cache cannot do it, as here. Speculative decoding takes rejected tokens back with it (lab 06).
  virtual void truncate(int length);
};

}  // namespace kit
