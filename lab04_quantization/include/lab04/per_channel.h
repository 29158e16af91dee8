#pragma once

#include <cstdint>
#include <span>

#include "kit/tensor.h"

/// Lab 04, task 3: symmetric INT8 with a scale for each row or each column.
/// Source: Krishnamoorthi 2018, "Quantizing deep convolutional networks for efficient inference",
/// section 3.1.
namespace lab04 {

/// Which index of w(i, j) a scale belongs to.
enum class ChannelAxis {
  kRows,    ///< scales[i]: an output channel of a weight [out, in], a token of activations [n, dim]
  kColumns  ///< scales[j]: an input channel
};

/// As quantize_symmetric, each channel on its own.
/// w, q: [rows, cols]; scales: [rows] or [cols], as the axis says.
/// Throws kit::Error, naming row and column, on a NaN or an infinity, and on shapes that do not fit.
void quantize_per_channel(kit::TensorView<const float> w, ChannelAxis axis, kit::TensorView<std::int8_t> q,
                          std::span<float> scales);

/// w(i, j) = q(i, j) times its channel's scale. Throws kit::Error on shapes that do not fit, or on a scale
/// that is not positive and finite.
void dequantize_per_channel(kit::TensorView<const std::int8_t> q, std::span<const float> scales,
                            ChannelAxis axis, kit::TensorView<float> w);

}  // namespace lab04
