#pragma once

#include <cstdint>
#include <memory_resource>
#include <span>

#include "kit/tensor.h"
#include "lab05/flash_forward.h"

/// Lab 05, task 4: sliding windows (FlashConfig::window, see flash_forward.h) and batches of sequences of
/// different lengths, packed one behind the other without padding.
///
/// Sources: Beltagy et al. 2020 (arXiv:2004.05150), section 3.1, and Jiang et al. 2023 (arXiv:2310.06825),
/// section 2, for the window; the interface of packed batches is flash_attn_varlen_func of the
/// flash-attention package (cu_seqlens_q, cu_seqlens_k).
namespace lab05 {

/// flash_attention of each sequence by itself.
///
/// q, out:       [total_q, n_heads, head_dim]      the queries of sequence 0, then of sequence 1, ...
/// k, v:         [total_k, n_kv_heads, head_dim]   their keys and values in the same order
/// log_sum_exp:  [total_q, n_heads]
/// cu_seqlens_q: [n_seqs + 1]   sequence s owns rows cu_seqlens_q[s] .. cu_seqlens_q[s + 1] - 1 of q
/// cu_seqlens_k: [n_seqs + 1]   ... and rows cu_seqlens_k[s] .. cu_seqlens_k[s + 1] - 1 of k and v
///
/// "cu" is for cumulative: the first entry is 0, none is less than the one before, and the last is total_q
/// (total_k). Equal neighbours make a sequence without queries, or without keys (its queries are fully
/// masked). Positions, the causal mask and the window count within a sequence: query i of sequence s sits at
/// i + kv_len(s) - q_len(s), and no query sees a key of another sequence. Each sequence's result is what
/// flash_attention gives for it alone.
///
/// Memory and the other rules as in flash_attention; scratch does not grow with n_seqs by more than O(1)
/// each.
///
/// Throws kit::Error as flash_attention, and, naming which of the two and the entry: no entries, lists of
/// different lengths, a first entry that is not 0, a falling entry, a last one that is not the total.
void flash_attention_varlen(kit::TensorView<const float> q, kit::TensorView<const float> k,
                            kit::TensorView<const float> v, std::span<const std::int32_t> cu_seqlens_q,
                            std::span<const std::int32_t> cu_seqlens_k, const FlashConfig& config,
                            std::pmr::memory_resource& scratch, kit::TensorView<float> out,
                            kit::TensorView<float> log_sum_exp);

}  // namespace lab05
