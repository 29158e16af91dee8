#include "lab04/fp8.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace lab04 {

namespace {

struct Layout {
  int mantissa_bits;
  int bias;
  float largest;           ///< the largest finite number
  std::uint8_t first_nan;  ///< with the sign bit clear; the codes behind it are NaNs, too
};

constexpr Layout kE4M3{.mantissa_bits = 3, .bias = 7, .largest = 448.0F, .first_nan = 0x7F};
constexpr Layout kE5M2{.mantissa_bits = 2, .bias = 15, .largest = 57344.0F, .first_nan = 0x7D};

const Layout& layout_of(Fp8Format format) {
  return format == Fp8Format::kE4M3 ? kE4M3 : kE5M2;
}

/// Without their sign bit, codes count up through the numbers in order: first the subnormals, then each
/// exponent's 2^mantissa_bits. So steps are added to a code, and a mantissa that rounds up to 2 carries into
/// the exponent by itself.
std::uint8_t encode(float x, const Layout& layout) {
  const int sign = std::signbit(x) ? 0x80 : 0;
  if (std::isnan(x)) return static_cast<std::uint8_t>(sign | 0x7F);
  const float magnitude = std::min(std::abs(x), layout.largest);
  // Subnormals keep the exponent, and so the step, of the smallest normal numbers.
  const int smallest = 1 - layout.bias;
  const int exponent = std::max(smallest, std::ilogb(magnitude));
  const float in_steps = std::ldexp(magnitude, layout.mantissa_bits - exponent);  // exact
  const int steps = static_cast<int>(std::nearbyint(in_steps));                   // ties to even
  return static_cast<std::uint8_t>(sign | (((exponent - smallest) << layout.mantissa_bits) + steps));
}

float decode(std::uint8_t code, const Layout& layout) {
  const int magnitude = code & 0x7F;
  if (magnitude >= layout.first_nan) return std::numeric_limits<float>::quiet_NaN();
  const int exponent = magnitude >> layout.mantissa_bits;
  const int leading_one = exponent == 0 ? 0 : 1 << layout.mantissa_bits;
  const int mantissa = leading_one | (magnitude & ((1 << layout.mantissa_bits) - 1));
  const float value =
      std::ldexp(static_cast<float>(mantissa), std::max(exponent, 1) - layout.bias - layout.mantissa_bits);
  const float finite_or_infinity = value > layout.largest ? std::numeric_limits<float>::infinity() : value;
  return (code & 0x80) != 0 ? -finite_or_infinity : finite_or_infinity;
}

void check_shapes(const kit::Shape& w, const kit::Shape& codes, std::size_t n_scales) {
  KIT_CHECK(w.rank() == 2 && codes == w && static_cast<std::int64_t>(n_scales) == w[0],
            "w {} and codes {} must both be [rows, cols], with a scale for each row, not {}", w.to_string(),
            codes.to_string(), n_scales);
}

}  // namespace

void encode_fp8(std::span<const float> x, Fp8Format format, std::span<std::uint8_t> codes) {
  KIT_CHECK(x.size() == codes.size(), "{} numbers do not fit into {} codes", x.size(), codes.size());
  const Layout& layout = layout_of(format);
  std::ranges::transform(x, codes.begin(), [&](float value) { return encode(value, layout); });
}

void decode_fp8(std::span<const std::uint8_t> codes, Fp8Format format, std::span<float> x) {
  KIT_CHECK(x.size() == codes.size(), "{} codes do not fit into {} numbers", codes.size(), x.size());
  const Layout& layout = layout_of(format);
  std::ranges::transform(codes, x.begin(), [&](std::uint8_t code) { return decode(code, layout); });
}

void quantize_fp8(kit::TensorView<const float> w, Fp8Format format, kit::TensorView<std::uint8_t> codes,
                  std::span<float> scales) {
  check_shapes(w.shape(), codes.shape(), scales.size());
  const Layout& layout = layout_of(format);
  for (std::int64_t i = 0; i < w.dim(0); ++i) {
    float max_abs = 0.0F;
    for (std::int64_t j = 0; j < w.dim(1); ++j) {
      KIT_CHECK(std::isfinite(w(i, j)), "the weight in row {}, column {} is {}", i, j, w(i, j));
      max_abs = std::max(max_abs, std::abs(w(i, j)));
    }
    float scale = max_abs / layout.largest;
    if (scale < std::numeric_limits<float>::min()) scale = 1.0F;
    for (std::int64_t j = 0; j < w.dim(1); ++j) codes(i, j) = encode(w(i, j) / scale, layout);
    scales[i] = scale;
  }
}

void dequantize_fp8(kit::TensorView<const std::uint8_t> codes, Fp8Format format,
                    std::span<const float> scales, kit::TensorView<float> w) {
  check_shapes(w.shape(), codes.shape(), scales.size());
  const Layout& layout = layout_of(format);
  for (std::int64_t i = 0; i < w.dim(0); ++i) {
    for (std::int64_t j = 0; j < w.dim(1); ++j) w(i, j) = scales[i] * decode(codes(i, j), layout);
  }
}

}  // namespace lab04
