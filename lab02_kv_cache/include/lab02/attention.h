#pragma once

#include <span>

#include "kit/tensor.h"

/// Lab 02, task 1: softmax and causal attention.
/// Sources: Vaswani et al. 2017, equation 1; grouped queries: Ainslie et al. 2023, section 2.2.
namespace lab02 {

/// Replaces scores by exp(scores[i]) / sum_j exp(scores[j]) (base e), without overflow for any finite input.
/// scores: [n]; an entry may be -infinity (a masked position, probability 0) as long as one is finite.
/// n = 0 does nothing. Throws kit::Error on a NaN, a +infinity, or when every entry is -infinity.
void softmax(std::span<float> scores);

/// Causal scaled-dot-product attention with grouped queries.
///
/// q:    [q_len, n_heads, head_dim]       the queries of the LAST q_len of kv_len positions
/// k, v: [kv_len, n_kv_heads, head_dim]   one entry per position, oldest first
/// out:  [q_len, n_heads, head_dim]       written, never read
///
/// Query i sits at position kv_len - q_len + i and sees key positions 0 .. kv_len - q_len + i, itself
/// included. Query head h reads key/value head h / (n_heads / n_kv_heads). Scores are q . k / sqrt(head_dim);
/// the output is the softmax-weighted sum of the values.
///
/// Throws kit::Error, naming the shapes, when n_kv_heads does not divide n_heads, kv_len < q_len, or shapes
/// disagree. Memory beyond the arguments: O(kv_len).
void attention(kit::TensorView<const float> q, kit::TensorView<const float> k, kit::TensorView<const float> v,
               kit::TensorView<float> out);

}  // namespace lab02
