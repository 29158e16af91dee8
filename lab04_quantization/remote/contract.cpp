// Lab 04's contract, callable from another process: one line a function (kit/remote/contract.h).
#include "kit/remote/contract.h"

#include "kit/remote/interfaces.h"
#include "lab04/additive_codebooks.h"
#include "lab04/asymmetric.h"
#include "lab04/awq.h"
#include "lab04/cuda_kernels.h"
#include "lab04/error_metrics.h"
#include "lab04/fp8.h"
#include "lab04/gptq.h"
#include "lab04/group_quantization.h"
#include "lab04/incoherence.h"
#include "lab04/kv_quantization.h"
#include "lab04/mixed_precision.h"
#include "lab04/per_channel.h"
#include "lab04/quantized_products.h"
#include "lab04/smoothquant.h"
#include "lab04/symmetric.h"
#include "messages.h"

// clang-tidy does not see the uses in a macro's arguments.
// NOLINTBEGIN(misc-unused-using-decls)
using Floats = kit::TensorView<const float>;
using Output = kit::TensorView<float>;
using Int8s = kit::TensorView<const std::int8_t>;
using Int8Output = kit::TensorView<std::int8_t>;
using Ints = kit::TensorView<const std::int32_t>;
using Doubles = kit::TensorView<const double>;
using DoubleOutput = kit::TensorView<double>;
using Bytes = kit::TensorView<const std::uint8_t>;
using ByteOutput = kit::TensorView<std::uint8_t>;
using Longs = kit::TensorView<const std::int64_t>;
using Halves = kit::TensorView<const kit::Half>;
using FloatSpan = std::span<const float>;
using FloatOutput = std::span<float>;
using ByteSpan = std::span<const std::uint8_t>;
using ByteSpanOutput = std::span<std::uint8_t>;
using Int8Span = std::span<const std::int8_t>;
using Int8SpanOutput = std::span<std::int8_t>;
using kit::Rng;
using std::int64_t;
// NOLINTEND(misc-unused-using-decls)

// clang-format off
KIT_REMOTE(lab04, quantize_symmetric, float, (FloatSpan x, Int8SpanOutput q), x, q)
KIT_REMOTE(lab04, dequantize_symmetric, void, (Int8Span q, float scale, FloatOutput x), q, scale, x)
KIT_REMOTE(lab04, quantize_asymmetric, lab04::AffineParameters, (FloatSpan x, ByteSpanOutput q), x, q)
KIT_REMOTE(lab04, dequantize_asymmetric, void, (ByteSpan q, const lab04::AffineParameters& parameters, FloatOutput x), q, parameters, x)
KIT_REMOTE(lab04, quantize_per_channel, void, (Floats w, lab04::ChannelAxis axis, Int8Output q, FloatOutput scales), w, axis, q, scales)
KIT_REMOTE(lab04, dequantize_per_channel, void, (Int8s q, FloatSpan scales, lab04::ChannelAxis axis, Output w), q, scales, axis, w)
KIT_REMOTE(lab04, error_metrics, lab04::ErrorMetrics, (FloatSpan reference, FloatSpan approximation), reference, approximation)
KIT_REMOTE(lab04, pack_bits, std::vector<std::uint8_t>, (ByteSpan codes, int bits), codes, bits)
KIT_REMOTE(lab04, unpack_bits, void, (ByteSpan packed, int bits, ByteSpanOutput codes), packed, bits, codes)
KIT_REMOTE(lab04, quantize_groups, lab04::GroupQuantized, (Floats w, const lab04::GroupConfig& config), w, config)
KIT_REMOTE(lab04, dequantize_groups, void, (const lab04::GroupQuantized& q, Output w), q, w)
KIT_REMOTE(lab04, matvec_w8a16, void, (Int8s w, FloatSpan scales, FloatSpan x, FloatOutput y), w, scales, x, y)
KIT_REMOTE(lab04, matvec_w4a16, void, (const lab04::GroupQuantized& w, FloatSpan x, FloatOutput y), w, x, y)
KIT_REMOTE(lab04, linear_w8a8, void, (Int8s xq, FloatSpan x_scales, Int8s wq, FloatSpan w_scales, Output y), xq, x_scales, wq, w_scales, y)
KIT_REMOTE(lab04, linear_w8a8_dynamic, void, (Floats x, Int8s wq, FloatSpan w_scales, Output y), x, wq, w_scales, y)
KIT_REMOTE(lab04, linear_w8a8_static, void, (Floats x, float x_scale, Int8s wq, FloatSpan w_scales, Output y), x, x_scale, wq, w_scales, y)
KIT_REMOTE(lab04, accumulate_hessian, void, (Floats x, DoubleOutput h), x, h)
KIT_REMOTE(lab04, gptq, lab04::GptqResult, (Floats w, Doubles hessian, const lab04::GptqConfig& config), w, hessian, config)
KIT_REMOTE(lab04, search_awq_scales, lab04::AwqScales, (Floats x, Floats w, const lab04::GroupConfig& grid), x, w, grid)
KIT_REMOTE(lab04, fold_into_norm, void, (FloatSpan scales, FloatOutput gain, Output w), scales, gain, w)
KIT_REMOTE(lab04, fold_into_linear, void, (FloatSpan scales, Output previous, Output w), scales, previous, w)
KIT_REMOTE(lab04, smoothquant_scales, std::vector<float>, (FloatSpan x_max_abs, Floats w, double alpha), x_max_abs, w, alpha)
KIT_REMOTE(lab04, smooth, std::vector<float>, (FloatSpan x_max_abs, double alpha, FloatOutput gain, Output w), x_max_abs, alpha, gain, w)
KIT_REMOTE(lab04, encode_fp8, void, (FloatSpan x, lab04::Fp8Format format, ByteSpanOutput codes), x, format, codes)
KIT_REMOTE(lab04, decode_fp8, void, (ByteSpan codes, lab04::Fp8Format format, FloatOutput x), codes, format, x)
KIT_REMOTE(lab04, quantize_fp8, void, (Floats w, lab04::Fp8Format format, ByteOutput codes, FloatOutput scales), w, format, codes, scales)
KIT_REMOTE(lab04, dequantize_fp8, void, (Bytes codes, lab04::Fp8Format format, FloatSpan scales, Output w), codes, format, scales, w)
KIT_REMOTE(lab04, make_int8_kv_cache, std::unique_ptr<kit::KvCache>, (const kit::KvCacheConfig& config), config)
KIT_REMOTE(lab04, make_kivi_kv_cache, std::unique_ptr<kit::KvCache>, (const kit::KvCacheConfig& config, int group_size), config, group_size)
KIT_REMOTE(lab04, measure_sensitivity, kit::Tensor<double>, (int n_layers, int n_options, const lab04::QualityLoss& loss), n_layers, n_options, loss)
KIT_REMOTE(lab04, choose_options, std::vector<int>, (Doubles loss, Longs bytes, int64_t budget_bytes), loss, bytes, budget_bytes)
KIT_REMOTE(lab04, walsh_hadamard, void, (FloatOutput x), x)
KIT_REMOTE(lab04, nearest_e8, void, (FloatSpan x, FloatOutput points), x, points)
KIT_REMOTE(lab04, quantize_e8, lab04::E8Quantized, (Floats w, Rng& rng), w, rng)
KIT_REMOTE(lab04, dequantize_e8, void, (const lab04::E8Quantized& q, Output w), q, w)
KIT_REMOTE(lab04, quantize_additive, lab04::AdditiveQuantized, (Floats w, Doubles hessian, const lab04::AdditiveConfig& config, Rng& rng), w, hessian, config, rng)
KIT_REMOTE(lab04, dequantize_additive, void, (const lab04::AdditiveQuantized& q, Output w), q, w)
KIT_REMOTE(lab04, quantize_rows_cuda, void, (Floats x, Int8Output q, Output scales), x, q, scales)
KIT_REMOTE(lab04, matvec_w4a16_cuda, void, (Bytes codes, Halves scales, Floats x, Output y), codes, scales, x, y)
KIT_REMOTE(lab04, linear_w8a8_cuda, void, (Int8s xq, Floats x_scales, Int8s wq, Floats w_scales, Output y), xq, x_scales, wq, w_scales, y)
KIT_REMOTE(lab04, append_kv_int8_cuda, void, (Floats k, Floats v, Ints positions, Int8Output k_cache, Output k_scales, Int8Output v_cache, Output v_scales), k, v, positions, k_cache, k_scales, v_cache, v_scales)
KIT_REMOTE(lab04, decode_attention_int8_cuda, void, (Floats q, Int8s k_cache, Floats k_scales, Int8s v_cache, Floats v_scales, Ints context_lens, Output out), q, k_cache, k_scales, v_cache, v_scales, context_lens, out)
