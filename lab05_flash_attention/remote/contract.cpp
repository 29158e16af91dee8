// Contract of lab05, callable from another process: one line a function (kit/remote/contract.h).
#include "kit/remote/contract.h"

#include "kit/remote/interfaces.h"
#include "kit/remote/scratch.h"
#include "lab05/cuda_kernels.h"
#include "lab05/flash_forward.h"
#include "lab05/io_model.h"
#include "lab05/online_softmax.h"
#include "lab05/softmax_state.h"
#include "lab05/variable_length.h"
#include "messages.h"

// clang-tidy does not see the uses in a macro's arguments.
// NOLINTBEGIN(misc-unused-using-decls)
using Ints = kit::TensorView<const std::int32_t>;
using Output = kit::TensorView<float>;
using Floats = kit::TensorView<const float>;
using Halves = kit::TensorView<const kit::Half>;
using FloatSpan = std::span<const float>;
using FloatOutput = std::span<float>;
using Int32Span = std::span<const std::int32_t>;
using lab05::AttentionShape;
using lab05::FlashConfig;
using lab05::SoftmaxState;
using lab05::SoftmaxStatistics;
using lab05::TileSizes;
using std::int64_t;
using std::pmr::memory_resource;
// NOLINTEND(misc-unused-using-decls)

// clang-format off
KIT_REMOTE(lab05, update_statistics, SoftmaxStatistics, (const SoftmaxStatistics& so_far, FloatSpan scores), so_far, scores)
KIT_REMOTE(lab05, online_softmax, void, (FloatSpan scores, FloatOutput probabilities), scores, probabilities)
KIT_REMOTE(lab05, empty_state, SoftmaxState, (int head_dim), head_dim)
KIT_REMOTE(lab05, add, SoftmaxState, (SoftmaxState state, float score, FloatSpan value), std::move(state), score, value)
KIT_REMOTE(lab05, merge, SoftmaxState, (const SoftmaxState& a, const SoftmaxState& b), a, b)
KIT_REMOTE(lab05, finish, float, (const SoftmaxState& state, FloatOutput out), state, out)
KIT_REMOTE(lab05, flash_attention, void, (Floats q, Floats k, Floats v, const FlashConfig& config, memory_resource& scratch, Output out, Output log_sum_exp), q, k, v, config, scratch, out, log_sum_exp)
KIT_REMOTE(lab05, flash_attention_varlen, void, (Floats q, Floats k, Floats v, Int32Span cu_seqlens_q, Int32Span cu_seqlens_k, const FlashConfig& config, memory_resource& scratch, Output out, Output log_sum_exp), q, k, v, cu_seqlens_q, cu_seqlens_k, config, scratch, out, log_sum_exp)
KIT_REMOTE(lab05, attention_flops, int64_t, (const AttentionShape& shape), shape)
KIT_REMOTE(lab05, compulsory_bytes, int64_t, (const AttentionShape& shape), shape)
KIT_REMOTE(lab05, standard_attention_bytes, int64_t, (const AttentionShape& shape), shape)
KIT_REMOTE(lab05, flash_tile_pairs, int64_t, (const AttentionShape& shape, const TileSizes& tiles), shape, tiles)
KIT_REMOTE(lab05, flash_attention_bytes, int64_t, (const AttentionShape& shape, const TileSizes& tiles), shape, tiles)
KIT_REMOTE(lab05, tile_bytes, int64_t, (const TileSizes& tiles, int head_dim, int element_bytes), tiles, head_dim, element_bytes)
KIT_REMOTE(lab05, tile_sizes, TileSizes, (int64_t on_chip_bytes, int head_dim, int element_bytes), on_chip_bytes, head_dim, element_bytes)
KIT_REMOTE(lab05, traffic_ratio, double, (const AttentionShape& shape, const TileSizes& tiles), shape, tiles)
KIT_REMOTE(lab05, flash_intensity, double, (const AttentionShape& shape, const TileSizes& tiles), shape, tiles)
KIT_REMOTE(lab05, flash_attention_cuda, void, (Floats q, Floats k, Floats v, bool causal, Output out, Output log_sum_exp), q, k, v, causal, out, log_sum_exp)
KIT_REMOTE(lab05, flash_attention_half_cuda, void, (Halves q, Halves k, Halves v, bool causal, Output out, Output log_sum_exp), q, k, v, causal, out, log_sum_exp)
KIT_REMOTE(lab05, flash_attention_tensor_cores_cuda, void, (Halves q, Halves k, Halves v, bool causal, Output out, Output log_sum_exp), q, k, v, causal, out, log_sum_exp)
KIT_REMOTE(lab05, choose_n_splits, int, (std::int64_t n_seqs, std::int64_t n_kv_heads, std::int64_t max_context_len, int n_multiprocessors), n_seqs, n_kv_heads, max_context_len, n_multiprocessors)
KIT_REMOTE(lab05, flash_decoding_cuda, void, (Floats q, Floats k, Floats v, Ints context_lens, int n_splits, Output partial_out, Output partial_log_sum_exp, Output out, Output log_sum_exp), q, k, v, context_lens, n_splits, partial_out, partial_log_sum_exp, out, log_sum_exp)
KIT_REMOTE(lab05, paged_flash_decoding_cuda, void, (Floats q, Floats k_blocks, Floats v_blocks, Ints block_tables, Ints context_lens, int n_splits, Output partial_out, Output partial_log_sum_exp, Output out, Output log_sum_exp), q, k_blocks, v_blocks, block_tables, context_lens, n_splits, partial_out, partial_log_sum_exp, out, log_sum_exp)
