#pragma once

#include <cstdint>
#include <span>

/// Lab 04, task 1: symmetric INT8, one scale for a whole tensor.
/// Source: Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
/// Integer-Arithmetic-Only Inference", section 2.1, with the zero point fixed at 0.
namespace lab04 {

/// q[i] = clamp(round(x[i] / scale), -127, 127) with scale = max|x| / 127, all in float; ties round to the
/// even integer. -128 is not used, so that the grid is the same on both sides of zero. Returns the scale,
/// which is 1 when max|x| / 127 is less than the smallest normal float (2^-126), as for zeros, or for
/// nothing. Throws kit::Error, naming the first index, on a NaN or an infinity, and when x and q differ in
/// length.
float quantize_symmetric(std::span<const float> x, std::span<std::int8_t> q);

/// x[i] = scale * q[i]. Throws kit::Error when q and x differ in length, or scale is not positive and finite.
void dequantize_symmetric(std::span<const std::int8_t> q, float scale, std::span<float> x);

}  // namespace lab04
