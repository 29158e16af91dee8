// Lab 01's contract, callable from another process: one line a function (kit/remote/contract.h).
#include "kit/remote/contract.h"

#include "lab01/cuda_kernels.h"
#include "lab01/decode.h"
#include "lab01/measure.h"
#include "lab01/memory.h"
#include "lab01/operations.h"
#include "lab01/planner.h"
#include "lab01/roofline.h"
#include "lab01/stream.h"
#include "messages.h"

// clang-tidy does not see the uses in a macro's arguments.
// NOLINTBEGIN(misc-unused-using-decls)
using Floats = kit::TensorView<const float>;
using Output = kit::TensorView<float>;
using Doubles = std::span<const double>;
using kit::Device;
using kit::ModelConfig;
using kit::NumberFormat;
using lab01::Formats;
using lab01::Roof;
using lab01::Step;
using std::int64_t;
// NOLINTEND(misc-unused-using-decls)

// clang-format off
KIT_REMOTE(lab01, weight_bytes, int64_t, (int64_t n_params, const lab01::WeightFormat& format), n_params, format)
KIT_REMOTE(lab01, kv_cache_bytes, int64_t, (const ModelConfig& model, int64_t batch, int64_t kv_len, NumberFormat format), model, batch, kv_len, format)
KIT_REMOTE(lab01, activation_bytes, int64_t, (const ModelConfig& model, int64_t batch, int64_t q_len, NumberFormat format), model, batch, q_len, format)
KIT_REMOTE(lab01, decode_limit, lab01::DecodeLimit, (double bandwidth, int64_t weight_bytes, int64_t kv_bytes, int64_t batch), bandwidth, weight_bytes, kv_bytes, batch)
KIT_REMOTE(lab01, arithmetic_intensity, double, (double flops, double bytes), flops, bytes)
KIT_REMOTE(lab01, ridge_point, double, (const Roof& roof), roof)
KIT_REMOTE(lab01, attainable_flop_per_s, double, (const Roof& roof, double intensity), roof, intensity)
KIT_REMOTE(lab01, bound, lab01::Bound, (const Roof& roof, double intensity), roof, intensity)
KIT_REMOTE(lab01, time_floor_ms, double, (const Roof& roof, double flops, double bytes), roof, flops, bytes)
KIT_REMOTE(lab01, linear_work, lab01::Work, (int64_t n_tokens, int64_t in, int64_t out, const Formats& formats), n_tokens, in, out, formats)
KIT_REMOTE(lab01, attention_work, lab01::Work, (const ModelConfig& model, const Step& step, const Formats& formats), model, step, formats)
KIT_REMOTE(lab01, mlp_work, lab01::Work, (const ModelConfig& model, int64_t n_tokens, const Formats& formats), model, n_tokens, formats)
KIT_REMOTE(lab01, analyse_step, std::vector<lab01::Operation>, (const ModelConfig& model, const Device& device, const Step& step, const Formats& formats), model, device, step, formats)
KIT_REMOTE(lab01, compute_bound_batch, std::optional<int64_t>, (const ModelConfig& model, const Device& device, int64_t kv_len, const Formats& formats), model, device, kv_len, formats)
KIT_REMOTE(lab01, footprint, lab01::Footprint, (const ModelConfig& model, const lab01::Configuration& configuration), model, configuration)
KIT_REMOTE(lab01, fits, bool, (const ModelConfig& model, const Device& device, int64_t batch, int64_t seq_len, const Formats& formats), model, device, batch, seq_len, formats)
KIT_REMOTE(lab01, make_plan, lab01::Plan, (const ModelConfig& model, const Device& device, const lab01::Configuration& asked), model, device, asked)
KIT_REMOTE(lab01, stream_copy, void, (Doubles a, std::span<double> c), a, c)
KIT_REMOTE(lab01, stream_scale, void, (double s, Doubles c, std::span<double> b), s, c, b)
KIT_REMOTE(lab01, stream_add, void, (Doubles a, Doubles b, std::span<double> c), a, b, c)
KIT_REMOTE(lab01, stream_triad, void, (double s, Doubles b, Doubles c, std::span<double> a), s, b, c, a)
KIT_REMOTE(lab01, stream_bytes, int64_t, (lab01::StreamKernel kernel, int64_t n, lab01::Stores stores), kernel, n, stores)
KIT_REMOTE(lab01, measure_linear, std::vector<lab01::RooflinePoint>, (int64_t in, int64_t out, std::span<const int64_t> batches, int n_repeats, const kit::MachineCeilings& machine, const lab01::Linear& linear, const lab01::Clock& now_s), in, out, batches, n_repeats, machine, linear, now_s)
KIT_REMOTE(lab01, copy_cuda, void, (Floats in, Output out), in, out)
KIT_REMOTE(lab01, copy_vectorized_cuda, void, (Floats in, Output out), in, out)
KIT_REMOTE(lab01, copy_strided_cuda, void, (Floats in, Output out, int64_t stride), in, out, stride)
KIT_REMOTE(lab01, transpose_naive_cuda, void, (Floats in, Output out), in, out)
KIT_REMOTE(lab01, transpose_tiled_cuda, void, (Floats in, Output out), in, out)
KIT_REMOTE(lab01, transpose_padded_cuda, void, (Floats in, Output out), in, out)
KIT_REMOTE(lab01, sum_cuda, void, (Floats in, Output out), in, out)
