#pragma once

#include <memory>

#include "kit/block_allocator.h"
#include "kit/model.h"

/// Slow and certain: what the tests hold a student's code against. Double precision, written from the
/// definitions.
namespace kit {

/// Ways to get attention wrong on purpose, so that a comparison can name the mistake.
struct AttentionVariant {
  bool scale = true;       ///< divide scores by sqrt(head_dim)
  double scale_dim = 0.0;  ///< when > 0, divide by sqrt(scale_dim) instead
  int mask_shift = 0;      ///< +1 sees one key too many, -1 one too few
  bool causal = true;
  bool top_left = false;        ///< align the causal mask to the first key instead of the last
  bool kv_head_modulo = false;  ///< kv head = h % n_kv_heads instead of h / group
};

/// Arguments as lab02::attention (see there); any q_len <= kv_len, grouped queries.
void reference_attention(TensorView<const float> q, TensorView<const float> k, TensorView<const float> v,
                         TensorView<float> out, const AttentionVariant& variant = {});

/// A plain, checked contiguous cache.
std::unique_ptr<KvCache> make_reference_kv_cache(const KvCacheConfig& config);

/// A plain, checked block allocator; it gives the lowest free number.
std::unique_ptr<BlockAllocator> make_reference_block_allocator(int n_blocks);

/// reference_attention behind a model, with and without a cache.
AttentionOps reference_attention_ops();

}  // namespace kit
