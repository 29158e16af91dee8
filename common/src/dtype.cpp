#include "kit/dtype.h"

#include "kit/check.h"

namespace kit {

namespace {

/// Shifts `value` right, rounding to nearest and ties to even.
std::uint32_t shift_right_rounded(std::uint32_t value, int shift) {
  const std::uint32_t half = std::uint32_t{1} << (shift - 1);
  const std::uint32_t odd = (value >> shift) & 1U;
  return (value + half - 1U + odd) >> shift;
}

}  // namespace

float to_float(Half value) {
  const std::uint32_t sign = (std::uint32_t{value.bits} & 0x8000U) << 16;
  const std::uint32_t magnitude = value.bits & 0x7FFFU;
  if (magnitude >= 0x7C00U) {  // infinity or NaN: widen the exponent to all ones, keep the payload
    return std::bit_cast<float>(sign | 0x7F800000U | ((magnitude & 0x3FFU) << 13));
  }
  // Placed in a float's field the exponent is biased by 15 instead of 127; multiplying by 2^112 mends that,
  // and turns subnormals into normal numbers on the way.
  const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112F;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(scaled) | sign);
}

Half to_half(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000U;
  const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
  std::uint32_t result = 0;
  if (magnitude > 0x7F800000U) {
    result = 0x7E00U;                     // quiet NaN
  } else if (magnitude >= 0x38800000U) {  // 2^-14 and above: normal in binary16
    const std::uint32_t rounded = shift_right_rounded(magnitude - 0x38000000U, 13);
    result = rounded < 0x7C00U ? rounded : 0x7C00U;  // beyond 65504 + half an ulp: infinity
  } else if (magnitude >= 0x33000000U) {             // 2^-25 and above: subnormal, or rounds to zero
    const int exponent = static_cast<int>(magnitude >> 23);
    result = shift_right_rounded((magnitude & 0x7FFFFFU) | 0x800000U, 126 - exponent);
  }
  return {static_cast<std::uint16_t>(sign | result)};
}

BFloat16 to_bfloat16(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) return {static_cast<std::uint16_t>((bits >> 16) | 0x40U)};
  const std::uint32_t sign = bits & 0x80000000U;
  return {static_cast<std::uint16_t>((sign >> 16) | shift_right_rounded(bits & 0x7FFFFFFFU, 16))};
}

std::size_t size_bytes(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return 4;
    case DType::kF16:
    case DType::kBF16:
      return 2;
    case DType::kI8:
      return 1;
  }
  throw Error(fmt::format("unknown dtype {}", static_cast<int>(dtype)));
}

std::string_view name(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "F32";
    case DType::kF16:
      return "F16";
    case DType::kBF16:
      return "BF16";
    case DType::kI8:
      return "I8";
  }
  throw Error(fmt::format("unknown dtype {}", static_cast<int>(dtype)));
}

}  // namespace kit
