#pragma once

#include <cstdint>
#include <span>

#include "kit/tensor.h"

/// Lab 04, task 10: floating point in 8 bits.
/// Source: Micikevicius et al. 2022, "FP8 Formats for Deep Learning"; OCP 8-bit Floating Point Specification
/// 1.0, section 5.
namespace lab04 {

enum class Fp8Format {
  kE4M3,  ///< bias 7; no infinities; S.1111.111 is NaN; largest 448, smallest subnormal 2^-9
  kE5M2   ///< bias 15; as binary16 with a shorter mantissa: infinities, NaNs; largest 57344, 2^-16
};

/// The nearest code, ties to the even mantissa, subnormals included. What rounds beyond the largest finite
/// number, infinities too, becomes the largest finite number of its sign ("saturating"). NaN becomes 0x7F
/// with the sign of x; zeros keep their sign. Throws kit::Error when the lengths differ.
void encode_fp8(std::span<const float> x, Fp8Format format, std::span<std::uint8_t> codes);

/// Exact: every code is a float; all NaN codes give a quiet NaN. Throws kit::Error when the lengths differ.
void decode_fp8(std::span<const std::uint8_t> codes, Fp8Format format, std::span<float> x);

/// A weight with a scale for each row: scale = max|w| of the row / the format's largest number (1 where that
/// would be less than 2^-126), code = encode(w / scale).
/// w, codes: [rows, cols], scales: [rows]. Throws kit::Error, naming row and column, on a NaN or an infinity,
/// and on shapes that do not fit.
void quantize_fp8(kit::TensorView<const float> w, Fp8Format format, kit::TensorView<std::uint8_t> codes,
                  std::span<float> scales);

/// w(i, j) = scales[i] * decode(codes(i, j)). Throws kit::Error on shapes that do not fit.
void dequantize_fp8(kit::TensorView<const std::uint8_t> codes, Fp8Format format,
                    std::span<const float> scales, kit::TensorView<float> w);

}  // namespace lab04
