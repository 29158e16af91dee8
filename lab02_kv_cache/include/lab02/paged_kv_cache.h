#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "kit/paged_kv_cache.h"

/// Lab 02, task 6: a KV cache in blocks.
/// Source: Kwon et al. 2023 (PagedAttention), sections 4.1 to 4.4.
namespace lab02 {

/// An empty cache that takes its blocks from `allocator`, which others may use, too. What each member must
/// do, and when it throws, is written at kit::PagedKvCache in common/include/kit/paged_kv_cache.h. Throws
/// kit::Error naming the value when block_size is not positive or there is no allocator.
std::unique_ptr<kit::PagedKvCache> make_paged_kv_cache(int block_size,
                                                       std::shared_ptr<kit::BlockAllocator> allocator);

/// Writes the keys and values of new tokens, of one layer, to their slots.
///
/// k, v:               [n, n_kv_heads, head_dim]
/// slot_mapping:       [n], slot s is place s % block_size of block s / block_size; a negative one is a
///                     padding token, which is left out
/// k_blocks, v_blocks: [n_blocks, block_size, n_kv_heads, head_dim]; other slots stay as they are
///
/// Throws kit::Error, having written nothing, when shapes disagree or a slot is not below n_blocks *
/// block_size.
void reshape_and_cache(kit::TensorView<const float> k, kit::TensorView<const float> v,
                       kit::TensorView<const std::int64_t> slot_mapping, kit::TensorView<float> k_blocks,
                       kit::TensorView<float> v_blocks);

/// Copies whole blocks of one layer, keys and values: what copy-on-write asks for.
/// pairs: [n, 2] of (from, to); no block is written twice, and none is both read and written.
/// k_blocks, v_blocks: [n_blocks, block_size, n_kv_heads, head_dim]. Throws kit::Error, having written
/// nothing, when shapes disagree or a block is not in [0, n_blocks).
void copy_blocks(kit::TensorView<const std::int32_t> pairs, kit::TensorView<float> k_blocks,
                 kit::TensorView<float> v_blocks);

}  // namespace lab02
