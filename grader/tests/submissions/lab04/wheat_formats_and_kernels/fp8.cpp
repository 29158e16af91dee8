#include "lab04/fp8.h"

#include <array>
#include <bit>
#include <cmath>
#include <limits>

namespace lab04 {

namespace {

struct Codec {
  std::uint32_t mantissa_bits;
  std::uint32_t bias;
  std::uint8_t largest_code;
  std::array<float, 256> values;
};

/// Numbers in the order of their codes: the step doubles with each exponent but the first two.
constexpr Codec make_codec(std::uint32_t mantissa_bits, std::uint32_t bias, std::uint8_t largest_code,
                           bool has_infinity) {
  Codec codec{mantissa_bits, bias, largest_code, {}};
  float step = 1.0F;
  for (std::uint32_t i = 1; i < bias + mantissa_bits; ++i) step /= 2.0F;
  float value = 0.0F;
  for (std::uint32_t code = 0; code < 128; ++code) {
    float shown = value;
    if (code > largest_code) shown = std::numeric_limits<float>::quiet_NaN();
    if (has_infinity && code == largest_code + 1U) shown = std::numeric_limits<float>::infinity();
    codec.values[code] = shown;
    codec.values[code + 128] = -shown;
    if ((code >> mantissa_bits) > 1 && ((code >> mantissa_bits) << mantissa_bits) == code) step *= 2.0F;
    value += step;
  }
  return codec;
}

constexpr Codec kE4M3 = make_codec(3, 7, 0x7E, false);
constexpr Codec kE5M2 = make_codec(2, 15, 0x7B, true);

const Codec& codec_of(Fp8Format format) {
  return format == Fp8Format::kE4M3 ? kE4M3 : kE5M2;
}

std::uint8_t encode(float x, const Codec& codec) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t sign = bits >> 31 << 7;
  std::uint32_t magnitude = bits & 0x7FFFFFFFU;
  if (magnitude > 0x7F800000U) return static_cast<std::uint8_t>(sign | 0x7FU);
  if (std::bit_cast<float>(magnitude) >= codec.values[codec.largest_code])
    return static_cast<std::uint8_t>(sign | codec.largest_code);
  const std::uint32_t dropped = 23U - codec.mantissa_bits;
  if ((magnitude >> 23) > 127U - codec.bias) {
    const std::uint32_t odd = (magnitude >> dropped) & 1U;
    magnitude = ((magnitude + (1U << (dropped - 1U)) - 1U + odd) >> dropped) -
                ((127U - codec.bias) << codec.mantissa_bits);
  } else {
    // A float this large has the subnormals' step as its ulp, so the addition rounds.
    const std::uint32_t large = (127U + 23U + 1U - codec.bias - codec.mantissa_bits) << 23;
    magnitude =
        std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + std::bit_cast<float>(large)) - large;
  }
  return static_cast<std::uint8_t>(sign | magnitude);
}

}  // namespace

void encode_fp8(std::span<const float> x, Fp8Format format, std::span<std::uint8_t> codes) {
  KIT_CHECK(x.size() == codes.size(), "{} numbers, {} codes", x.size(), codes.size());
  for (std::size_t i = 0; i < x.size(); ++i) codes[i] = encode(x[i], codec_of(format));
}

void decode_fp8(std::span<const std::uint8_t> codes, Fp8Format format, std::span<float> x) {
  KIT_CHECK(x.size() == codes.size(), "{} numbers, {} codes", x.size(), codes.size());
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = codec_of(format).values[codes[i]];
}

void quantize_fp8(kit::TensorView<const float> w, Fp8Format format, kit::TensorView<std::uint8_t> codes,
                  std::span<float> scales) {
  KIT_CHECK(w.rank() == 2 && w.shape() == codes.shape(), "{} and {}", w.shape().to_string(),
            codes.shape().to_string());
  KIT_CHECK(static_cast<std::int64_t>(scales.size()) == w.dim(0), "{} scales for {} rows", scales.size(),
            w.dim(0));
  const Codec& codec = codec_of(format);
  const float largest = codec.values[codec.largest_code];
  for (std::int64_t i = 0; i < w.dim(0); ++i) {
    float low = 0.0F;
    float high = 0.0F;
    for (std::int64_t j = 0; j < w.dim(1); ++j) {
      KIT_CHECK(std::abs(w(i, j)) <= std::numeric_limits<float>::max(), "w[{}, {}] = {}", i, j, w(i, j));
      low = std::min(low, w(i, j));
      high = std::max(high, w(i, j));
    }
    scales[i] = std::max(-low, high) / largest;
    if (!std::isnormal(scales[i])) scales[i] = 1.0F;
    for (std::int64_t j = 0; j < w.dim(1); ++j) codes(i, j) = encode(w(i, j) / scales[i], codec);
  }
}

void dequantize_fp8(kit::TensorView<const std::uint8_t> codes, Fp8Format format,
                    std::span<const float> scales, kit::TensorView<float> w) {
  KIT_CHECK(w.rank() == 2 && w.shape() == codes.shape(), "{} and {}", w.shape().to_string(),
            codes.shape().to_string());
  KIT_CHECK(static_cast<std::int64_t>(scales.size()) == w.dim(0), "{} scales for {} rows", scales.size(),
            w.dim(0));
  for (std::int64_t i = 0; i < w.dim(0); ++i) {
    decode_fp8(codes.row(i), format, w.row(i));
    for (float& x : w.row(i)) x *= scales[i];
  }
}

}  // namespace lab04
