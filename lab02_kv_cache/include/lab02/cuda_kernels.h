#pragma once

#include <cstdint>

#include "kit/tensor.h"

/// Lab 02, task 9: the cache on a GPU.
///
/// Every view is device memory (kit::DeviceBuffer::view). Each function checks shapes on the host, then
/// launches one kernel, and may return before it has ended. What device memory holds (tables, lengths, slots)
/// is trusted: PRECOND of the kernels. head_dim is a multiple of 32, at most 128; n_heads / n_kv_heads is at
/// most 8. All functions throw kit::Error naming the shapes when these rules are broken or shapes disagree,
/// and launch nothing when there is nothing to do. Counts below are those of full warps on arrays that begin
/// at a multiple of 128 bytes.
namespace lab02 {

/// One decode step for a batch over contiguous caches.
///
/// q, out:       [n_seqs, n_heads, head_dim]
/// k, v:         [n_seqs, max_len, n_kv_heads, head_dim]
/// context_lens: [n_seqs], each in [1, max_len]; positions behind it may hold anything
///
/// out = softmax(q . k / sqrt(head_dim)) v over the first context_len positions; query head h reads key/value
/// head h / (n_heads / n_kv_heads). Each key and value that is visible is read from memory ONCE for all query
/// heads that share it, in requests of whole sectors; nothing of size O(context_len) is kept in device
/// memory, and shared memory does not grow with context_len.
void decode_attention_cuda(kit::TensorView<const float> q, kit::TensorView<const float> k,
                           kit::TensorView<const float> v, kit::TensorView<const std::int32_t> context_lens,
                           kit::TensorView<float> out);

/// The same through block tables; parameters as paged_decode_attention. k_blocks, v_blocks: [n_blocks,
/// block_size, n_kv_heads, head_dim].
void paged_decode_attention_cuda(kit::TensorView<const float> q, kit::TensorView<const float> k_blocks,
                                 kit::TensorView<const float> v_blocks,
                                 kit::TensorView<const std::int32_t> block_tables,
                                 kit::TensorView<const std::int32_t> context_lens,
                                 kit::TensorView<float> out);

/// Parameters as reshape_and_cache; slots that are not negative differ from each other. One launch; each
/// element is read and written once, in whole sectors.
void reshape_and_cache_cuda(kit::TensorView<const float> k, kit::TensorView<const float> v,
                            kit::TensorView<const std::int64_t> slot_mapping, kit::TensorView<float> k_blocks,
                            kit::TensorView<float> v_blocks);

/// Parameters as copy_blocks. One launch for all pairs, keys and values; each element is read and written
/// once, 16 bytes a thread. Throws kit::Error when k_blocks or v_blocks does not begin at a multiple of 16.
void copy_blocks_cuda(kit::TensorView<const std::int32_t> pairs, kit::TensorView<float> k_blocks,
                      kit::TensorView<float> v_blocks);

}  // namespace lab02
