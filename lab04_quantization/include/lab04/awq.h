#pragma once

#include <span>
#include <vector>

#include "kit/tensor.h"
#include "lab04/group_quantization.h"

/// Lab 04, task 8: AWQ, activation-aware weight quantization. No weight is kept in higher precision: input
/// channels with large activations are scaled up before quantization, and their inputs down by the same.
/// Source: Lin et al. 2023, "AWQ: Activation-aware Weight Quantization for LLM Compression and Acceleration",
/// section 3.2, equations 4 and 5.
namespace lab04 {

struct AwqScales {
  std::vector<float> scales;  // [in], positive
  double exponent = 0.0;      ///< the a of the chosen point; 0 is no scaling
  double error = 0.0;         ///< its output error, as below
  double plain_error = 0.0;   ///< that of exponent 0
};

/// The best of 20 exponents a = 0, 1/20, ..., 19/20. For each: s_j = max(m_j, 1e-4)^a with m_j = mean|x_j|
/// over the rows of x, divided by sqrt(max s * min s); the weights w(o, j) s_j are quantized by
/// quantize_groups, and the output error is the mean over all rows t and outputs o of
/// (sum_j x(t, j) (w(o, j) - q(o, j) / s_j))^2. The first of equal errors wins.
/// x: [n, in], calibration inputs; w: [out, in]: all linears that share this input, one below the other.
/// Throws kit::Error on shapes that do not fit, no rows, a NaN or an infinity, or a grid that cannot be.
AwqScales search_awq_scales(kit::TensorView<const float> x, kit::TensorView<const float> w,
                            const GroupConfig& grid);

/// Folds the scales into the RMSNorm before: gain[j] /= s_j, w(o, j) *= s_j. Before quantization the layer's
/// outputs stay the same, up to rounding.
/// w: [out, in], as above. Throws kit::Error on shapes that do not fit or a scale that is not positive and
/// finite; nothing is changed then.
void fold_into_norm(std::span<const float> scales, std::span<float> gain, kit::TensorView<float> w);

/// The same where the input comes from another linear, element by element (w_down after w_up): previous(j, i)
/// /= s_j for all i, w(o, j) *= s_j. previous: [in, any], w: [out, in].
void fold_into_linear(std::span<const float> scales, kit::TensorView<float> previous,
                      kit::TensorView<float> w);

}  // namespace lab04
