#pragma once

#include <memory_resource>

#include "kit/tensor.h"

/// Lab 05, task 3: flash attention, the forward pass, on the CPU.
///
/// Sources: Dao et al. 2022 (arXiv:2205.14135), algorithms 1 and 2: tiles, running m and l, no N x N array.
/// Dao 2023 (arXiv:2307.08691), algorithm 1: query tiles outside, division by l once at the end, log-sum-exp
/// returned (its line 14). Names Br, Bc, m, l as there.
namespace lab05 {

/// How attention is computed, and which keys a query sees.
struct FlashConfig {
  int br = 64;         ///< Br: queries a tile
  int bc = 64;         ///< Bc: keys a tile
  bool causal = true;  ///< no key behind the query's own position
  int window = 0;      ///< sliding window: the latest `window` visible keys (causal only); 0: no window
};

/// out = softmax(q k^T / sqrt(head_dim)) v, row by row, without ever holding all scores.
///
/// q:    [q_len, n_heads, head_dim]
/// k, v: [kv_len, n_kv_heads, head_dim]
/// out:  [q_len, n_heads, head_dim]       written, never read
/// log_sum_exp: [q_len, n_heads]          written: ln of the sum over visible keys of e^score, score scaled
///
/// Query head h reads key/value head h / (n_heads / n_kv_heads). Which keys j = 0 .. kv_len - 1 query i sees:
///   causal = false   all.
///   causal = true    j <= position(i), where position(i) = i + kv_len - q_len: the queries are the LAST
///                    q_len positions (bottom-right alignment). With kv_len < q_len the first
///                    q_len - kv_len queries see no key.
///   window = w > 0   position(i) - w < j <= position(i): at most w keys, the query's own included.
/// A query that sees no key is fully masked: its out is 0 and its log-sum-exp is -infinity, not NaN.
///
/// The tile sizes change rounding alone: any br, bc >= 1 give the same result, also when they divide no
/// length, or are larger than it. Work: 4 head_dim FLOPs for each pair of a query and a visible key; tiles
/// without a visible key are not computed.
///
/// Memory: every temporary array comes from `scratch` and is given back to it before the call returns or
/// throws; together O(Br Bc + (Br + Bc) head_dim) floats a thread, at most linear in the lengths, and nothing
/// of q_len x kv_len, whole or in pieces. Allocate on the calling thread, before work is split: `scratch`
/// need not be thread-safe. Copying a visible part of k or v is allowed within this bound.
///
/// Any lengths, 0 included; head_dim >= 1. q, k and v are finite, and scores lie within +-1e38: of either
/// sign, and far below any finite number that might stand for minus infinity.
///
/// Throws kit::Error, naming the values: shapes that disagree, n_kv_heads that does not divide n_heads,
/// br < 1, bc < 1, window < 0, window > 0 without causal.
void flash_attention(kit::TensorView<const float> q, kit::TensorView<const float> k,
                     kit::TensorView<const float> v, const FlashConfig& config,
                     std::pmr::memory_resource& scratch, kit::TensorView<float> out,
                     kit::TensorView<float> log_sum_exp);

}  // namespace lab05
