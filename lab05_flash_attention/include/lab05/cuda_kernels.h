#pragma once

#include <cstdint>

#include "kit/dtype.h"
#include "kit/tensor.h"

/// Lab 05, tasks 6 to 8: flash attention on a GPU.
///
/// Every view is device memory and begins at a multiple of 16 bytes (PRECOND). Each function checks shapes on
/// the host, launches its kernels, and may return before they have ended. What device memory holds (lengths,
/// tables) is trusted: PRECOND of the kernels. head_dim is 32, 64 or 128. All functions throw kit::Error
/// naming the shapes when a rule is broken or shapes disagree, and launch nothing when there is nothing to
/// write. Scale, causal mask, heads and fully masked rows are those of flash_forward.h: bottom-right aligned,
/// query head h reads key/value head h / (n_heads / n_kv_heads), a row that sees no key has out 0 and
/// log_sum_exp -infinity (natural logarithm).
namespace lab05 {

/// Tiles of tasks 6 and 8. They are part of the contract because they fix the traffic: a thread block owns
/// kFlashCudaBr consecutive query rows of one query head and reads keys and values in tiles of kFlashCudaBc
/// rows, that is, each of them once for every kFlashCudaBr query rows.
inline constexpr int kFlashCudaBr = 128;
inline constexpr int kFlashCudaBc = 64;

/// Attention in one kernel, without an array of size q_len * kv_len in device memory.
///
/// q, out: [q_len, n_heads, head_dim]; k, v: [kv_len, n_kv_heads, head_dim]; log_sum_exp: [q_len, n_heads].
/// Any q_len and kv_len, also 0. What the executor counts:
/// - One launch. Loads of q, k and v take at least four elements a lane, neighbouring lanes side by side, so
///   that every sector is full; each row of q is loaded once, keys and values once a thread block.
/// - Stores to device memory are out and log_sum_exp, each element once.
/// - Shared memory is accessed without bank conflicts.
/// - With `causal`, a tile of keys and values that no row of the thread block sees is not loaded.
/// Sums and the running state (m, l, o) are float.
/// Source: Dao 2023, "FlashAttention-2", algorithm 1 (query tiles outside, key tiles inside).
void flash_attention_cuda(kit::TensorView<const float> q, kit::TensorView<const float> k,
                          kit::TensorView<const float> v, bool causal, kit::TensorView<float> out,
                          kit::TensorView<float> log_sum_exp);

/// The same for numbers in 16 bits. They become floats on the way into shared memory: products, sums and the
/// result are float.
void flash_attention_half_cuda(kit::TensorView<const kit::Half> q, kit::TensorView<const kit::Half> k,
                               kit::TensorView<const kit::Half> v, bool causal, kit::TensorView<float> out,
                               kit::TensorView<float> log_sum_exp);

/// The same on tensor cores: both products by nvcuda::wmma (kit/cuda/wmma.h), inputs 16 bits, sums 32 bits.
/// The weights of a tile, in [0, 1], are rounded to 16 bits between the products. Counts of shared memory and
/// of bank conflicts are not asked for; those of device memory are as above.
/// Source: CUDA C++ Programming Guide, "Warp matrix functions"; Dao 2023, section 3.3.
void flash_attention_tensor_cores_cuda(kit::TensorView<const kit::Half> q, kit::TensorView<const kit::Half> k,
                                       kit::TensorView<const kit::Half> v, bool causal,
                                       kit::TensorView<float> out, kit::TensorView<float> log_sum_exp);

/// What choose_n_splits aims at: as many thread blocks for each multiprocessor of the GPU, and splits of at
/// least as many positions, so that what a split costs on top (a partial result, read again) stays small.
inline constexpr int kSplitBlocksPerMultiprocessor = 4;
inline constexpr int kMinSplitLength = 128;

/// How many pieces the keys of a decode step are split into: as few as give
/// kSplitBlocksPerMultiprocessor * n_multiprocessors thread blocks, of n_seqs * n_kv_heads for each split,
/// but at most max_context_len / kMinSplitLength (rounded down), and at least 1. 1 where there are enough
/// sequences and heads without. Throws kit::Error when max_context_len is negative, or another is below 1.
int choose_n_splits(std::int64_t n_seqs, std::int64_t n_kv_heads, std::int64_t max_context_len,
                    int n_multiprocessors);

/// One decode step whose keys are split over thread blocks, then merged by a second kernel.
///
/// q, out:       [n_seqs, n_heads, head_dim], one query a sequence
/// k, v:         [n_seqs, max_len, n_kv_heads, head_dim]
/// context_lens: [n_seqs], each in [0, max_len]; positions behind it may hold anything
/// partial_out:  [n_seqs, n_heads, n_splits, head_dim], written: a split's own softmax average of values
/// partial_log_sum_exp: [n_seqs, n_heads, n_splits], written: natural log of a split's sum of e^score
/// log_sum_exp:  [n_seqs, n_heads]
///
/// With chunk = ceil(context_len / n_splits), split i has positions i * chunk to min((i + 1) * chunk,
/// context_len) - 1. A split without positions has partial_out 0 and partial_log_sum_exp -infinity.
/// n_splits >= 1; n_heads / n_kv_heads at most 8. What the executor counts:
/// - Two launches. The first has a thread block for each sequence, key/value head and split, and loads each
///   sector of a visible key or value once, for all query heads of its group, by 16 bytes a lane.
/// - The second has a warp, or more, for each sequence and query head, and loads each partial result once.
/// - Stores are the partial results, out and log_sum_exp, each element once. No bank conflicts.
/// Source: Dao et al. 2023, "Flash-Decoding for long-context inference".
void flash_decoding_cuda(kit::TensorView<const float> q, kit::TensorView<const float> k,
                         kit::TensorView<const float> v, kit::TensorView<const std::int32_t> context_lens,
                         int n_splits, kit::TensorView<float> partial_out,
                         kit::TensorView<float> partial_log_sum_exp, kit::TensorView<float> out,
                         kit::TensorView<float> log_sum_exp);

/// The same through block tables. k_blocks, v_blocks: [n_blocks, block_size, n_kv_heads, head_dim];
/// block_tables: [n_seqs, max_blocks]: position p of sequence s is row p % block_size of block
/// block_tables[s, p / block_size]. block_size is a power of two.
void paged_flash_decoding_cuda(kit::TensorView<const float> q, kit::TensorView<const float> k_blocks,
                               kit::TensorView<const float> v_blocks,
                               kit::TensorView<const std::int32_t> block_tables,
                               kit::TensorView<const std::int32_t> context_lens, int n_splits,
                               kit::TensorView<float> partial_out, kit::TensorView<float> partial_log_sum_exp,
                               kit::TensorView<float> out, kit::TensorView<float> log_sum_exp);

}  // namespace lab05
