#pragma once

#include <array>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kit/llama.h"
#include "kit/model_quality.h"

/// The shipped target model as an experiment: text that it wrote itself, its logits, and what a quantized
/// copy loses. One of each a process; texts depend on the run's seed.
namespace lab04_tests {

const kit::ModelConfig& target_config();
std::shared_ptr<const kit::LlamaWeights> target_weights();

/// The target with the same function, but a few channels of each norm's output 30 times as large: what large
/// models have by nature.
std::shared_ptr<const kit::LlamaWeights> target_with_outliers();

/// Replaces every linear of every layer (not the embedding, which is also the output head) by what `quantize`
/// makes of it: [out, in] -> [out, in].
using QuantizeWeight = std::function<kit::Tensor<float>(kit::LinearId id, kit::TensorView<const float> w)>;
std::shared_ptr<const kit::LlamaWeights> with_weights(const kit::LlamaWeights& weights,
                                                      const QuantizeWeight& quantize);

/// A norm of a layer, and the linears that share its output.
struct NormGroup {
  kit::Tensor<float> kit::LlamaLayerWeights::*gain;
  std::vector<kit::LinearKind> kinds;
};
const std::array<NormGroup, 2>& norm_groups();

/// The student's part of AWQ and SmoothQuant: changes a norm's gain and, one below the other, the weights
/// that read it. `first` is the first of those linears.
using Fold = std::function<void(kit::LinearId first, std::span<float> gain, kit::TensorView<float> w)>;
std::shared_ptr<const kit::LlamaWeights> with_folded_norms(const kit::LlamaWeights& weights,
                                                           const Fold& fold);

/// n_rows of x, evenly spread.
kit::Tensor<float> every_nth_row(kit::TensorView<const float> x, std::int64_t n_rows);

/// KL per token and more, of a model with these weights against the target, over texts that the target wrote.
/// `n_texts` of them (16 at most) is for pictures, where a bar asks for all.
inline constexpr int kTexts = 16;
kit::ModelQuality quality(std::shared_ptr<const kit::LlamaWeights> weights, kit::LinearOp linear = {},
                          int n_texts = kTexts);
/// The same with a cache of `make_cache` between attention and its keys and values.
kit::ModelQuality quality_with_cache(
    const std::function<std::unique_ptr<kit::KvCache>(const kit::KvCacheConfig&)>& make_cache,
    int n_texts = kTexts);

/// What goes into each linear while a model with these weights reads calibration text (other text than
/// quality()'s; another for each `seed`): [n_tokens, in]. Linears that share an input are given one each.
using OnInput = std::function<void(kit::LinearId id, kit::TensorView<const float> x)>;
void calibrate(const std::shared_ptr<const kit::LlamaWeights>& weights, std::uint64_t seed,
               const OnInput& on_input);

}  // namespace lab04_tests
