#pragma once

#include <cstdint>
#include <span>

/// Lab 04, task 2: asymmetric INT8, a scale and a zero point.
/// Source: Jacob et al. 2018, section 2.1, equation 1, and section 3 on the exact zero.
namespace lab04 {

/// real = scale * (q - zero_point)
struct AffineParameters {
  float scale = 1.0F;
  int zero_point = 0;  ///< 0 to 255: the code of the real number 0
};

/// The 256 codes cover [low, high], low = min(0, min x), high = max(0, max x): 255 steps of scale =
/// (high - low) / 255. zero_point = clamp(round(-low / scale), 0, 255), and q[i] =
/// clamp(round(x[i] / scale) + zero_point, 0, 255); ties round to even; all in float. So the real number 0
/// has a code of its own, exactly. When the scale would be less than 2^-126 (zeros, or nothing), it is 1 and
/// the zero point 0. Throws kit::Error, naming the first index, on a NaN or an infinity, when high - low does
/// not fit a float, and when x and q differ in length.
AffineParameters quantize_asymmetric(std::span<const float> x, std::span<std::uint8_t> q);

/// x[i] = scale * (q[i] - zero_point). Throws kit::Error when q and x differ in length, scale is not positive
/// and finite, or zero_point is not in 0..255.
void dequantize_asymmetric(std::span<const std::uint8_t> q, const AffineParameters& parameters,
                           std::span<float> x);

}  // namespace lab04
