#pragma once

#include <cstdint>

#include "kit/dtype.h"
#include "kit/tensor.h"

/// Lab 04, task 14: quantization on a GPU. All views are of device memory and begin at a multiple of 16 bytes
/// (PRECOND).
/// Source: DP4A: CUDA C++ Programming Guide, integer intrinsics; the layout of W4A16 kernels: Frantar et al.
/// 2024, "MARLIN", section 3 (without its tensor cores).
namespace lab04 {

/// Each row of x by its own maximum, as quantize_symmetric. x, q: [n, dim], scales: [n]; dim is a multiple of
/// 4. Values are finite (PRECOND). Throws kit::Error on shapes that do not fit.
void quantize_rows_cuda(kit::TensorView<const float> x, kit::TensorView<std::int8_t> q,
                        kit::TensorView<float> scales);

/// y = W x, symmetric 4-bit codes in two's complement, the first of a byte in its low half (GroupQuantized).
/// Codes are loaded 16 bytes at a time, each once, neighbouring lanes side by side, and become numbers in
/// registers.
/// codes: [out, in / 2], scales: [out, n_groups], x: [in], y: [out]. in is a multiple of n_groups, and the
/// group size in / n_groups of 32. Throws kit::Error on shapes that do not fit.
void matvec_w4a16_cuda(kit::TensorView<const std::uint8_t> codes, kit::TensorView<const kit::Half> scales,
                       kit::TensorView<const float> x, kit::TensorView<float> y);

/// linear_w8a8 by __dp4a, in tiles of shared memory: each byte of xq and wq is loaded from global memory once
/// for a whole tile of outputs. xq: [n, in], x_scales: [n], wq: [out, in], w_scales: [out], y: [n, out]. in
/// is a multiple of 16 and at most kMaxInt8SumLength. Throws kit::Error on shapes that do not fit.
void linear_w8a8_cuda(kit::TensorView<const std::int8_t> xq, kit::TensorView<const float> x_scales,
                      kit::TensorView<const std::int8_t> wq, kit::TensorView<const float> w_scales,
                      kit::TensorView<float> y);

/// A new token of every sequence into an INT8 cache: k[s] and v[s], quantized per head, are written to
/// position positions[s], in one launch. k, v: [n_seqs, n_kv_heads, head_dim]; positions: [n_seqs], 0 <=
/// position < max_len (PRECOND); k_cache, v_cache: [n_seqs, max_len, n_kv_heads, head_dim]; k_scales,
/// v_scales: [n_seqs, max_len, n_kv_heads]. head_dim is a multiple of 32, at most 128. Throws kit::Error on
/// shapes that do not fit.
void append_kv_int8_cuda(kit::TensorView<const float> k, kit::TensorView<const float> v,
                         kit::TensorView<const std::int32_t> positions, kit::TensorView<std::int8_t> k_cache,
                         kit::TensorView<float> k_scales, kit::TensorView<std::int8_t> v_cache,
                         kit::TensorView<float> v_scales);

/// One decode step over that cache: sequence s attends to its first context_lens[s] >= 1 positions. Keys and
/// values become numbers in registers; each byte is loaded once for all query heads that share it.
/// q, out: [n_seqs, n_heads, head_dim]; the caches as above; n_heads / n_kv_heads is at most 8. out[s, h] =
/// softmax(q[s, h] . k / sqrt(head_dim)) v. Throws kit::Error on shapes that do not fit.
void decode_attention_int8_cuda(kit::TensorView<const float> q, kit::TensorView<const std::int8_t> k_cache,
                                kit::TensorView<const float> k_scales,
                                kit::TensorView<const std::int8_t> v_cache,
                                kit::TensorView<const float> v_scales,
                                kit::TensorView<const std::int32_t> context_lens, kit::TensorView<float> out);

}  // namespace lab04
