#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

/// Element types. Arithmetic happens in float; these are storage formats.
namespace kit {

enum class DType { kF32, kF16, kBF16, kI8 };

/// IEEE 754 binary16: 1 sign, 5 exponent, 10 mantissa bits.
struct Half {
  std::uint16_t bits = 0;
};

/// bfloat16: the upper half of a binary32.
struct BFloat16 {
  std::uint16_t bits = 0;
};

/// Exact: every binary16 value is a binary32 value. Subnormals, infinities and NaN included.
float to_float(Half value);
/// Exact.
inline float to_float(BFloat16 value) {
  return std::bit_cast<float>(std::uint32_t{value.bits} << 16);
}
inline float to_float(float value) {
  return value;
}

/// Rounds to nearest, ties to even; overflow gives infinity; NaN stays a (quiet) NaN.
Half to_half(float value);
/// Rounds to nearest, ties to even; NaN stays a (quiet) NaN.
BFloat16 to_bfloat16(float value);

/// Size of one element in bytes.
std::size_t size_bytes(DType dtype);
/// The safetensors spelling: "F32", "F16", "BF16", "I8".
std::string_view name(DType dtype);

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType kValue = DType::kF32;
};
template <>
struct DTypeOf<Half> {
  static constexpr DType kValue = DType::kF16;
};
template <>
struct DTypeOf<BFloat16> {
  static constexpr DType kValue = DType::kBF16;
};
template <>
struct DTypeOf<std::int8_t> {
  static constexpr DType kValue = DType::kI8;
};

}  // namespace kit
