#pragma once

#include <cstdint>

#include "kit/tensor.h"

/// Lab 03, task 8: one launch for sequences of different lengths.
/// Source: the "varlen" interface of FlashAttention-2 (Dao 2023): packed sequences and cumulative lengths.
namespace lab03 {

/// One decode step for a ragged batch: sequence s has one query and cu_kv_lens[s + 1] - cu_kv_lens[s] keys.
///
/// q, out:     [n_seqs, n_heads, head_dim]
/// k, v:       [total_kv_len, n_kv_heads, head_dim]   all sequences' positions, one after the other, no
/// padding cu_kv_lens: [n_seqs + 1]   cumulative: 0, then the sum of the lengths so far; the last is
/// total_kv_len
///
/// out[s, h] = softmax(q[s, h] . k / sqrt(head_dim)) v over sequence s's positions, with key/value head h /
/// (n_heads / n_kv_heads). Throws kit::Error when shapes disagree, cu_kv_lens does not begin with 0, does not
/// grow by at least 1 each time, or does not end with total_kv_len.
void ragged_decode_attention(kit::TensorView<const float> q, kit::TensorView<const float> k,
                             kit::TensorView<const float> v, kit::TensorView<const std::int32_t> cu_kv_lens,
                             kit::TensorView<float> out);

/// The same in device memory, in ONE launch, whatever n_seqs and the lengths are. Each key and value is read
/// once for all query heads that share it, in whole sectors; a short sequence costs its own length, not that
/// of the longest. head_dim is a multiple of 32, at most 128; n_heads / n_kv_heads is at most 8; kit::Error
/// otherwise and when shapes disagree. What cu_kv_lens holds is trusted (PRECOND).
void ragged_decode_attention_cuda(kit::TensorView<const float> q, kit::TensorView<const float> k,
                                  kit::TensorView<const float> v,
                                  kit::TensorView<const std::int32_t> cu_kv_lens, kit::TensorView<float> out);

}  // namespace lab03
