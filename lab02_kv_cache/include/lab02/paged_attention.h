#pragma once

#include <cstdint>
#include <span>

#include "kit/tensor.h"

/// Lab 02, task 8: attention through a block table.
/// Source: Kwon et al. 2023 (PagedAttention), section 4.1 and equation 4.
namespace lab02 {

/// Causal attention of one sequence's last q_len tokens, any q_len >= 1: prefill, a chunk of it, or decode.
///
/// q:                  [q_len, n_heads, head_dim]   rotated; query i sits at position context_len - q_len + i
/// k_blocks, v_blocks: [n_blocks, block_size, n_kv_heads, head_dim]
/// block_table:        position p is in block block_table[p / block_size], place p % block_size
/// context_len:        tokens of the sequence, those of q included
/// out:                [q_len, n_heads, head_dim]   written, never read
///
/// Equals lab02::attention over the sequence's keys and values in order, to rounding. Keys and values are
/// read where they are; memory beyond the arguments is O(context_len) numbers, not O(context_len * head_dim).
/// Entries of block_table behind the last one needed, and slots behind context_len, may hold anything.
/// Throws kit::Error when shapes disagree, context_len < q_len, the table is too short, or one of the blocks
/// needed is not in [0, n_blocks).
void paged_attention(kit::TensorView<const float> q, kit::TensorView<const float> k_blocks,
                     kit::TensorView<const float> v_blocks, std::span<const int> block_table, int context_len,
                     kit::TensorView<float> out);

/// One decode step for a batch: sequence s has one query and its own table.
///
/// q:            [n_seqs, n_heads, head_dim]
/// block_tables: [n_seqs, max_blocks]   row s is sequence s's table, padded with anything
/// context_lens: [n_seqs]               each at least 1
/// out:          [n_seqs, n_heads, head_dim]
///
/// Otherwise, and in its errors, as paged_attention.
void paged_decode_attention(kit::TensorView<const float> q, kit::TensorView<const float> k_blocks,
                            kit::TensorView<const float> v_blocks,
                            kit::TensorView<const std::int32_t> block_tables,
                            kit::TensorView<const std::int32_t> context_lens, kit::TensorView<float> out);

}  // namespace lab02
