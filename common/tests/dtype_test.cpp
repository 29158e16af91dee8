#include "kit/dtype.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "kit/check.h"
#include "kit/rng.h"

namespace {

/// binary16 by its definition, in double.
double half_by_definition(std::uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const int mantissa = bits & 1023;
  const double sign = (bits & 0x8000) != 0 ? -1.0 : 1.0;
  if (exponent == 0) return sign * std::ldexp(mantissa, -24);
  return sign * std::ldexp(1024 + mantissa, exponent - 25);
}

TEST(Half, EveryCodeConvertsExactly) {
  for (int code = 0; code < 65536; ++code) {
    const auto bits = static_cast<std::uint16_t>(code);
    const float value = kit::to_float(kit::Half{bits});
    if ((bits & 0x7C00) != 0x7C00) {
      ASSERT_EQ(static_cast<double>(value), half_by_definition(bits)) << code;
      ASSERT_EQ(std::signbit(value), (bits & 0x8000) != 0) << code;
      ASSERT_EQ(kit::to_half(value).bits, bits) << code;
    } else if ((bits & 0x3FF) == 0) {
      ASSERT_EQ(value, (bits & 0x8000) != 0 ? -INFINITY : INFINITY) << code;
      ASSERT_EQ(kit::to_half(value).bits, bits) << code;
    } else {
      ASSERT_TRUE(std::isnan(value)) << code;
      ASSERT_TRUE(std::isnan(kit::to_float(kit::to_half(value)))) << code;
    }
  }
}

TEST(Half, RoundsToNearestEvenBetweenAllNeighbours) {
  for (int code = 0; code < 0x7BFF; ++code) {
    const float low = kit::to_float(kit::Half{static_cast<std::uint16_t>(code)});
    const float high = kit::to_float(kit::Half{static_cast<std::uint16_t>(code + 1)});
    const float middle = (low + high) / 2;  // exact in float
    const int even = code % 2 == 0 ? code : code + 1;
    ASSERT_EQ(kit::to_half(middle).bits, even) << code;
    ASSERT_EQ(kit::to_half(std::nextafter(middle, 0.0F)).bits, code) << code;
    ASSERT_EQ(kit::to_half(std::nextafter(middle, 1e9F)).bits, code + 1) << code;
  }
}

TEST(Half, OverflowsToInfinityFromHalfAnUlpBeyondTheLargest) {
  EXPECT_EQ(kit::to_half(65519.996F).bits, 0x7BFF);
  EXPECT_EQ(kit::to_half(65520.0F).bits, 0x7C00);
  EXPECT_EQ(kit::to_half(-1e30F).bits, 0xFC00);
}

TEST(BFloat16, RoundsToNearestEven) {
  EXPECT_EQ(kit::to_bfloat16(1.0F).bits, 0x3F80);
  EXPECT_EQ(kit::to_bfloat16(1.00390625F).bits, 0x3F80);  // half an ulp above 1, ties to even
  EXPECT_EQ(kit::to_bfloat16(1.01171875F).bits, 0x3F82);  // one and a half ulps, ties to even
  EXPECT_EQ(kit::to_bfloat16(std::nextafter(1.00390625F, 2.0F)).bits, 0x3F81);
  EXPECT_EQ(kit::to_bfloat16(std::numeric_limits<float>::max()).bits, 0x7F80);
  EXPECT_TRUE(std::isnan(kit::to_float(kit::to_bfloat16(std::numeric_limits<float>::quiet_NaN()))));
  kit::Rng rng(3);
  for (int i = 0; i < 1000; ++i) {
    const auto value = static_cast<float>(rng.normal());
    EXPECT_LE(std::abs(kit::to_float(kit::to_bfloat16(value)) - value), std::abs(value) / 256);
  }
}

TEST(DType, SizesAndNames) {
  EXPECT_EQ(kit::size_bytes(kit::DType::kF32), 4U);
  EXPECT_EQ(kit::size_bytes(kit::DType::kF16), 2U);
  EXPECT_EQ(kit::size_bytes(kit::DType::kBF16), 2U);
  EXPECT_EQ(kit::size_bytes(kit::DType::kI8), 1U);
  EXPECT_EQ(kit::name(kit::DType::kBF16), "BF16");
  EXPECT_THROW((void)kit::name(static_cast<kit::DType>(99)), kit::Error);
}

}  // namespace
