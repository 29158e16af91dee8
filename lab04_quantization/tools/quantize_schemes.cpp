#include "quantize_schemes.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "kit/linear.h"
#include "kit/step_executor.h"
#include "lab04/awq.h"
#include "lab04/fp8.h"
#include "lab04/gptq.h"
#include "lab04/incoherence.h"
#include "lab04/kv_quantization.h"
#include "lab04/per_channel.h"
#include "lab04/quantized_products.h"
#include "lab04/smoothquant.h"
#include "lab04/symmetric.h"

namespace lab04_tools {
namespace {

using kit::LinearId;
using kit::LinearKind;
using kit::LlamaLayerWeights;
using kit::LlamaWeights;
using kit::Tensor;
using kit::TensorView;
using lab04::GroupQuantized;

constexpr int kCalibrationTexts = 16;
constexpr int kCalibrationTokens = 192;
constexpr int kKiviGroup = 32;

std::vector<float> no_scales(std::int64_t n) {
  return std::vector<float>(static_cast<std::size_t>(n));
}

std::int64_t size_bytes(const GroupQuantized& q) {
  return static_cast<std::int64_t>(q.codes.size() + 2 * q.scales.size() + q.zero_points.size());
}

Tensor<float> dequantized(const GroupQuantized& q) {
  Tensor<float> w({q.rows, q.cols});
  lab04::dequantize_groups(q, w);
  return w;
}

/// Every linear replaced by what `quantize` makes of it; it adds to n_bytes.
using QuantizeWeight =
    std::function<Tensor<float>(LinearId id, const Tensor<float>& w, std::int64_t& n_bytes)>;
Quantized each_linear(const Model& model, const LlamaWeights& weights, const QuantizeWeight& quantize) {
  auto changed = std::make_shared<LlamaWeights>(weights);
  Quantized result;
  for (const LinearId id : kit::linears_of(model.config)) {
    Tensor<float>& w = kit::weight_of(*changed, id);
    w = quantize(id, w, result.n_bytes);
  }
  result.weights = std::move(changed);
  return result;
}

/// Inputs of each linear, by LinearId::index(), while the model reads texts of its own: [n_tokens, in].
std::vector<Tensor<float>> calibration_inputs(const Model& model, std::uint64_t seed) {
  // Another stream than the texts that the result is measured on.
  kit::Rng rng(seed, 2);
  const int n_tokens = std::min(kCalibrationTokens, model.config.max_seq_len);
  const kit::TokenSequences texts =
      kit::sample_texts(model.config, model.weights, kCalibrationTexts, n_tokens, rng);
  std::vector<Tensor<float>> inputs(kit::linears_of(model.config).size());
  std::int64_t first_row = 0;
  const auto record = [&](LinearId id, TensorView<const float> x, TensorView<const float> w,
                          TensorView<float> y) {
    Tensor<float>& input = inputs[static_cast<std::size_t>(id.index())];
    if (input.size() == 0) input = Tensor<float>({std::int64_t{kCalibrationTexts} * n_tokens, x.dim(1)});
    std::copy(x.span().begin(), x.span().end(), input.data() + first_row * x.dim(1));
    kit::linear(x, w, y);
  };
  const auto llama = kit::make_llama(model.config, model.weights, kit::gathered_attention_ops(), record);
  for (const std::vector<int>& text : texts) {
    (void)llama->forward(text);
    first_row += n_tokens;
  }
  return inputs;
}

/// A norm, and the linears that read its output.
struct NormGroup {
  Tensor<float>* gain;
  std::vector<Tensor<float>*> readers;
  LinearId input;  ///< one of the readers

  Tensor<float> stacked() const {
    std::int64_t n_rows = 0;
    for (const Tensor<float>* w : readers) n_rows += w->dim(0);
    Tensor<float> all({n_rows, gain->size()});
    float* to = all.data();
    for (const Tensor<float>* w : readers) to = std::copy(w->span().begin(), w->span().end(), to);
    return all;
  }
  void unstack(const Tensor<float>& all) const {
    const float* from = all.data();
    for (Tensor<float>* w : readers) {
      std::copy(from, from + w->size(), w->data());
      from += w->size();
    }
  }
};

std::vector<NormGroup> norm_groups(LlamaWeights& weights) {
  std::vector<NormGroup> groups;
  for (std::size_t i = 0; i < weights.layers.size(); ++i) {
    LlamaLayerWeights& layer = weights.layers[i];
    const int index = static_cast<int>(i);
    groups.push_back({&layer.attention_norm, {&layer.wq, &layer.wk, &layer.wv}, {index, LinearKind::kQuery}});
    groups.push_back({&layer.mlp_norm, {&layer.w_gate, &layer.w_up}, {index, LinearKind::kGate}});
  }
  return groups;
}

Quantized int8(const Model& model, const Options& /*options*/) {
  return each_linear(model, *model.weights,
                     [](LinearId /*id*/, const Tensor<float>& w, std::int64_t& n_bytes) {
                       Tensor<std::int8_t> codes(w.shape());
                       std::vector<float> scales = no_scales(w.dim(0));
                       lab04::quantize_per_channel(w, lab04::ChannelAxis::kRows, codes, scales);
                       n_bytes += codes.size() + 4 * w.dim(0);
                       Tensor<float> result(w.shape());
                       lab04::dequantize_per_channel(codes, scales, lab04::ChannelAxis::kRows, result);
                       return result;
                     });
}

Quantized int8_per_tensor(const Model& model, const Options& /*options*/) {
  return each_linear(model, *model.weights,
                     [](LinearId /*id*/, const Tensor<float>& w, std::int64_t& n_bytes) {
                       Tensor<std::int8_t> codes(w.shape());
                       const float scale = lab04::quantize_symmetric(w.span(), codes.span());
                       n_bytes += codes.size() + 4;
                       Tensor<float> result(w.shape());
                       lab04::dequantize_symmetric(codes.span(), scale, result.span());
                       return result;
                     });
}

Quantized round_to_nearest(const Model& model, const Options& options) {
  return each_linear(model, *model.weights,
                     [&](LinearId /*id*/, const Tensor<float>& w, std::int64_t& n_bytes) {
                       const GroupQuantized q = lab04::quantize_groups(w, options.grid);
                       n_bytes += size_bytes(q);
                       return dequantized(q);
                     });
}

Quantized gptq(const Model& model, const Options& options) {
  const std::vector<Tensor<float>> inputs = calibration_inputs(model, options.seed);
  return each_linear(model, *model.weights, [&](LinearId id, const Tensor<float>& w, std::int64_t& n_bytes) {
    Tensor<double> hessian({w.dim(1), w.dim(1)});
    lab04::accumulate_hessian(inputs[static_cast<std::size_t>(id.index())], hessian);
    const lab04::GptqResult result =
        lab04::gptq(w, hessian, {.grid = options.grid, .act_order = options.act_order});
    n_bytes += size_bytes(result.weights) + 4 * static_cast<std::int64_t>(result.order.size());
    Tensor<float> columns = dequantized(result.weights);
    if (result.order.empty()) return columns;
    Tensor<float> restored(w.shape());
    for (std::int64_t j = 0; j < w.dim(1); ++j) {
      const int column = result.order[static_cast<std::size_t>(j)];
      for (std::int64_t i = 0; i < w.dim(0); ++i) restored(i, column) = columns(i, j);
    }
    return restored;
  });
}

Quantized awq(const Model& model, const Options& options) {
  const std::vector<Tensor<float>> inputs = calibration_inputs(model, options.seed);
  LlamaWeights scaled = *model.weights;
  for (const NormGroup& group : norm_groups(scaled)) {
    Tensor<float> w = group.stacked();
    const lab04::AwqScales found =
        lab04::search_awq_scales(inputs[static_cast<std::size_t>(group.input.index())], w, options.grid);
    lab04::fold_into_norm(found.scales, group.gain->span(), w);
    group.unstack(w);
  }
  return round_to_nearest({model.config, std::make_shared<const LlamaWeights>(std::move(scaled))}, options);
}

Quantized fp8(const Model& model, lab04::Fp8Format format) {
  return each_linear(model, *model.weights,
                     [&](LinearId /*id*/, const Tensor<float>& w, std::int64_t& n_bytes) {
                       Tensor<std::uint8_t> codes(w.shape());
                       std::vector<float> scales = no_scales(w.dim(0));
                       lab04::quantize_fp8(w, format, codes, scales);
                       n_bytes += codes.size() + 4 * w.dim(0);
                       Tensor<float> result(w.shape());
                       lab04::dequantize_fp8(codes, format, scales, result);
                       return result;
                     });
}

Quantized e8(const Model& model, const Options& options) {
  kit::Rng rng(options.seed, 3);
  return each_linear(
      model, *model.weights, [&](LinearId /*id*/, const Tensor<float>& w, std::int64_t& n_bytes) {
        const lab04::E8Quantized q = lab04::quantize_e8(w, rng);
        n_bytes += 2 * static_cast<std::int64_t>(q.codes.size()) + 4 + (w.dim(0) + w.dim(1)) / 8;
        Tensor<float> result(w.shape());
        lab04::dequantize_e8(q, result);
        return result;
      });
}

/// Weights in INT8, a scale a row, and every linear by `product` over the codes.
using Product = std::function<void(LinearId id, TensorView<const float> x, TensorView<const std::int8_t> wq,
                                   std::span<const float> w_scales, TensorView<float> y)>;
Quantized w8a8(const Model& model, Product product) {
  struct Int8 {
    Tensor<std::int8_t> codes;
    std::vector<float> scales;
  };
  auto stored = std::make_shared<std::vector<Int8>>();
  Quantized result{.weights = model.weights, .n_bytes = 0, .linear = {}, .make_cache = {}};
  for (const LinearId id : kit::linears_of(model.config)) {
    const Tensor<float>& w = kit::weight_of(*model.weights, id);
    Int8& q = stored->emplace_back(Int8{Tensor<std::int8_t>(w.shape()), no_scales(w.dim(0))});
    lab04::quantize_per_channel(w, lab04::ChannelAxis::kRows, q.codes, q.scales);
    result.n_bytes += q.codes.size() + 4 * w.dim(0);
  }
  result.linear = [stored, product = std::move(product)](LinearId id, TensorView<const float> x,
                                                         TensorView<const float> /*w*/, TensorView<float> y) {
    const Int8& q = (*stored)[static_cast<std::size_t>(id.index())];
    product(id, x, q.codes, q.scales, y);
  };
  return result;
}

Quantized w8a8_dynamic(const Model& model, const Options& /*options*/) {
  return w8a8(model, [](LinearId /*id*/, TensorView<const float> x, TensorView<const std::int8_t> wq,
                        std::span<const float> w_scales,
                        TensorView<float> y) { lab04::linear_w8a8_dynamic(x, wq, w_scales, y); });
}

float max_abs(std::span<const float> x) {
  float largest = 0.0F;
  for (const float value : x) largest = std::max(largest, std::abs(value));
  return largest;
}

Quantized w8a8_static(const Model& model, const Options& options) {
  std::vector<float> x_scales;
  for (const Tensor<float>& input : calibration_inputs(model, options.seed)) {
    const float largest = max_abs(input.span());
    x_scales.push_back(largest > 0.0F ? largest / 127.0F : 1.0F);
  }
  return w8a8(model, [x_scales](LinearId id, TensorView<const float> x, TensorView<const std::int8_t> wq,
                                std::span<const float> w_scales, TensorView<float> y) {
    lab04::linear_w8a8_static(x, x_scales[static_cast<std::size_t>(id.index())], wq, w_scales, y);
  });
}

Quantized smoothquant(const Model& model, const Options& options) {
  const std::vector<Tensor<float>> inputs = calibration_inputs(model, options.seed);
  LlamaWeights smoothed = *model.weights;
  for (const NormGroup& group : norm_groups(smoothed)) {
    const Tensor<float>& x = inputs[static_cast<std::size_t>(group.input.index())];
    std::vector<float> x_max_abs = no_scales(x.dim(1));
    for (std::int64_t t = 0; t < x.dim(0); ++t) {
      for (std::size_t j = 0; j < x_max_abs.size(); ++j)
        x_max_abs[j] = std::max(x_max_abs[j], std::abs(x.row(t)[j]));
    }
    Tensor<float> w = group.stacked();
    (void)lab04::smooth(x_max_abs, options.alpha, group.gain->span(), w);
    group.unstack(w);
  }
  return w8a8_static({model.config, std::make_shared<const LlamaWeights>(std::move(smoothed))}, options);
}

Quantized kv_int8(const Model& model, const Options& /*options*/) {
  return {.weights = model.weights, .n_bytes = 0, .linear = {}, .make_cache = lab04::make_int8_kv_cache};
}

Quantized kv_kivi(const Model& model, const Options& /*options*/) {
  return {.weights = model.weights,
          .n_bytes = 0,
          .linear = {},
          .make_cache = [](const kit::KvCacheConfig& config) {
            return lab04::make_kivi_kv_cache(config, std::min(kKiviGroup, config.head_dim));
          }};
}

}  // namespace

const std::vector<Scheme>& schemes() {
  static const std::vector<Scheme> all = {
      {"int8", "INT8, a scale for each row", false, int8},
      {"int8-tensor", "INT8, one scale for a matrix", false, int8_per_tensor},
      {"fp8-e4m3", "FP8 E4M3, a scale for each row", false,
       [](const Model& m, const Options&) { return fp8(m, lab04::Fp8Format::kE4M3); }},
      {"fp8-e5m2", "FP8 E5M2, a scale for each row", false,
       [](const Model& m, const Options&) { return fp8(m, lab04::Fp8Format::kE5M2); }},
      {"rtn", "round to nearest in groups", true, round_to_nearest},
      {"gptq", "GPTQ in groups", true, gptq},
      {"awq", "AWQ on what follows a norm, in groups", true, awq},
      {"e8", "2 bits, E8 lattice after a Hadamard transform", false, e8},
      {"w8a8", "INT8 weights and activations, scales by token", false, w8a8_dynamic},
      {"w8a8-static", "the same, activation scales calibrated", false, w8a8_static},
      {"smoothquant", "the same after SmoothQuant on norms", false, smoothquant},
      {"kv-int8", "keys and values in INT8", false, kv_int8},
      {"kv-kivi", "keys and values in 2 bits (KIVI)", false, kv_kivi},
  };
  return all;
}

}  // namespace lab04_tools
