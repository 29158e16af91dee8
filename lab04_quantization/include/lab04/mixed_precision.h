#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "kit/tensor.h"

/// Lab 04, task 12: which layer deserves how many bits?
/// Source: Dong et al. 2019, "HAWQ-V2", section 3.2 (sensitivities that add up, minimised under a budget).
namespace lab04 {

/// Loss of quality, in KL per token, of a model whose layer l is stored with options[l]; -1 leaves the layer
/// in full precision. The kit measures and counts.
using QualityLoss = std::function<double(std::span<const int> options)>;

/// The loss of each layer with each option, all other layers in full precision: [n_layers, n_options]. Calls
/// `loss` exactly n_layers * n_options times. Throws kit::Error when a number is less than 1.
kit::Tensor<double> measure_sensitivity(int n_layers, int n_options, const QualityLoss& loss);

/// One option for each layer, so that the sum of losses is as small as possible and the sum of bytes at most
/// `budget_bytes`. loss, bytes: [n_layers, n_options]. The sum of losses must be within 2 % of the smallest
/// possible. More bytes need not be better, and losses may be equal.
/// Throws kit::Error on shapes that do not fit, a negative or NaN loss, negative bytes, or when even the
/// smallest options exceed the budget (naming both).
std::vector<int> choose_options(kit::TensorView<const double> loss, kit::TensorView<const std::int64_t> bytes,
                                std::int64_t budget_bytes);

}  // namespace lab04
