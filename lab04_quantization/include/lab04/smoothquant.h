#pragma once

#include <span>
#include <vector>

#include "kit/tensor.h"

/// Lab 04, task 9: SmoothQuant moves the outliers of activations into the weights, which bear them better.
/// Source: Xiao et al. 2022, "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large
/// Language Models", section 4, equation 4.
namespace lab04 {

/// s_j = max|X_j|^alpha / max|W_j|^(1 - alpha). Where either maximum is 0, s_j = 1.
/// x_max_abs: [in], the largest |activation| of each channel over the calibration data; w: [out, in]: ALL
/// linears that share this input, one below the other. The result is [in].
/// Throws kit::Error on shapes that do not fit, alpha outside 0..1, a negative maximum, a NaN or an infinity.
std::vector<float> smoothquant_scales(std::span<const float> x_max_abs, kit::TensorView<const float> w,
                                      double alpha);

/// Smooths a norm and the linears that share its output: computes the scales, then gain[j] /= s_j and w(o, j)
/// *= s_j. Returns the scales. gain: [in], w: [out, in]. Errors as above; nothing is changed then.
std::vector<float> smooth(std::span<const float> x_max_abs, double alpha, std::span<float> gain,
                          kit::TensorView<float> w);

}  // namespace lab04
