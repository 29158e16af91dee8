#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kit/llama.h"

/// A model whose linears multiply INT8 by INT8, computed by the checker: weights with a scale for each output
/// channel, activations in one of three ways.
namespace lab04_tests {

enum class ActivationScale {
  kPerToken,   ///< each row's own maximum, found while the model runs
  kPerTensor,  ///< one maximum for all tokens of a text, found while the model runs
  kStatic,     ///< one maximum, known from calibration; what is larger is clipped
};

/// The largest |activation| of each channel, by LinearId::index().
using InputMaxima = std::vector<std::vector<float>>;
InputMaxima input_maxima(const std::shared_ptr<const kit::LlamaWeights>& weights, std::uint64_t seed);

/// The linears of a model with these weights, in W8A8: for quality(weights, w8a8_linears(...)). `maxima` are
/// used by kStatic.
kit::LinearOp w8a8_linears(const kit::LlamaWeights& weights, ActivationScale how,
                           const InputMaxima& maxima = {});

}  // namespace lab04_tests
