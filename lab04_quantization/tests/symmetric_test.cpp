#include "lab04/symmetric.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "int8_reference.h"
#include "kit/testing.h"
#include "target_model.h"

namespace {

using kit::Tensor;
using kit::testing::matches;
using kit::testing::throws_error;
using lab04_tests::as_floats;
using lab04_tests::as_row;
using lab04_tests::matches_exactly;
using lab04_tests::Sharing;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kSmallestNormal = std::numeric_limits<float>::min();  // 2^-126
constexpr std::int8_t kNeverWritten = -128;

struct Quantized {
  std::vector<std::int8_t> codes;
  float scale = kNan;
};

Quantized quantize(std::span<const float> x) {
  Quantized q{std::vector<std::int8_t>(x.size(), kNeverWritten), kNan};
  q.scale = lab04::quantize_symmetric(x, q.codes);
  return q;
}

/// Scale and codes exactly: the contract fixes every operation, and each is rounded once on every machine.
void expect_quantized(std::span<const float> x) {
  const auto expected = lab04_tests::int8_codes(as_row(x), Sharing::kTensor);
  const Quantized got = quantize(x);
  EXPECT_TRUE(matches_exactly(Tensor<float>({1}, got.scale), expected.scales,
                              [&] { return lab04_tests::int8_scale_mistakes(as_row(x), Sharing::kTensor); }))
      << "the scale of " << x.size() << " numbers";
  EXPECT_TRUE(matches_exactly(as_floats<std::int8_t>(got.codes, expected.codes.shape()), expected.codes,
                              [&] { return lab04_tests::int8_code_mistakes(as_row(x), Sharing::kTensor); }))
      << "the codes of " << x.size() << " numbers (" << int{kNeverWritten} << " is no code: never written)";
}

/// Every code's middle to the next one, as near as a float comes, for a given largest number.
std::vector<float> midpoints(float max) {
  const float scale = max / 127.0F;
  std::vector<float> x = {max, -max};
  for (int code = -127; code < 127; ++code) x.push_back(scale * (static_cast<float>(code) + 0.5F));
  return x;
}

// The largest magnitude is 127, so the scale is 1 and a code is the number rounded: 0.5 and 2.5 go down to
// the even 0 and 2, 1.5 goes up to 2.
TEST(SymmetricInt8, ByHand) {
  const std::vector<float> x = {-127,  0.5F, 1.5F,   2.5F,   -0.5F,  -1.5F,
                                -2.5F, 0,    100.4F, 100.6F, -99.6F, 126.7F};
  const Quantized got = quantize(x);
  EXPECT_EQ(got.scale, 1.0F);
  const std::vector<float> expected = {-127, 0, 2, 2, 0, -2, -2, 0, 100, 101, -100, 127};
  EXPECT_TRUE(matches(as_floats<std::int8_t>(got.codes, {1, 12}), as_row(expected), {},
                      lab04_tests::int8_code_mistakes(as_row(x), Sharing::kTensor)));
}

TEST(SymmetricInt8, MatchesTheDefinitionOnOddSizes) {
  kit::Rng rng = kit::testing::make_rng(100);
  for (const int n : {1, 2, 31, 33, 1000, 4099}) {
    for (const float stddev : {1.0F, 0.02F, 300.0F}) {
      std::vector<float> x(static_cast<std::size_t>(n));
      rng.fill_normal(x, stddev);
      expect_quantized(x);
      if (HasFailure()) return;
    }
  }
}

TEST(SymmetricInt8, TiesGoToTheEvenCode) {
  // With 127 and 1016 midpoints are exact. With the others a midpoint's quotient is a tie in float, though
  // the midpoint itself had to be rounded.
  kit::Rng rng = kit::testing::make_rng(101);
  for (const float max : {127.0F, 1016.0F, 381.0F, 100.0F, 1.0F, rng.uniform(0.01F, 10.0F)}) {
    SCOPED_TRACE(fmt::format("max|x| = {}", max));
    expect_quantized(midpoints(max));
    if (HasFailure()) return;
  }
}

TEST(SymmetricInt8, GridIsTheSameOnBothSidesOfZero) {
  kit::Rng rng = kit::testing::make_rng(102);
  std::vector<float> x(999);
  rng.fill_normal(x);
  x[500] = -6.0F;  // the largest magnitude is a negative number's
  std::vector<float> mirrored = x;
  for (float& value : mirrored) value = -value;
  const Quantized got = quantize(x);
  const Quantized of_mirrored = quantize(mirrored);
  EXPECT_EQ(got.scale, of_mirrored.scale) << "Likely cause: max x in place of max|x|";
  EXPECT_EQ(int{got.codes[500]}, -127) << "the largest magnitude has the last code; -128 is not used";
  for (std::size_t i = 0; i < x.size(); ++i) {
    ASSERT_EQ(int{got.codes[i]}, -int{of_mirrored.codes[i]})
        << "codes of " << x[i] << " and of its negative, index " << i << ": rounding must not prefer a side";
  }
}

TEST(SymmetricInt8, ErrorIsAtMostHalfAStep) {
  kit::Rng rng = kit::testing::make_rng(103);
  std::vector<float> x(5000);
  rng.fill_normal(x, 0.05F);
  const Quantized got = quantize(x);
  ASSERT_TRUE(std::isfinite(got.scale) && got.scale > 0.0F) << got.scale;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double steps = std::abs(x[i] - double{got.scale} * got.codes[i]) / got.scale;
    // The quotient, up to 127, is rounded to a float before it is rounded to an integer: 127 * 2^-24 steps.
    ASSERT_TRUE(steps <= 0.5 + 1e-5) << "x[" << i << "] = " << x[i] << " is " << steps
                                     << " steps from its code " << int{got.codes[i]}
                                     << (steps < 1.001 ? "\nLikely cause: truncation, up to a whole step"
                                                       : "");
  }
}

TEST(SymmetricInt8, WhatIsOnTheGridStaysThere) {
  kit::Rng rng = kit::testing::make_rng(104);
  for (int repeat = 0; repeat < 10; ++repeat) {
    const float scale = rng.uniform(1e-4F, 10.0F);
    std::vector<float> x;
    for (int code = -127; code <= 127; ++code) x.push_back(scale * static_cast<float>(code));
    const Quantized got = quantize(x);
    for (std::size_t i = 0; i < x.size(); ++i) {
      const int code = static_cast<int>(i) - 127;
      const auto again = int{got.codes[i]};
      ASSERT_EQ(again, code) << "of the number " << code << " * " << scale
                             << (std::abs(again) == std::abs(code) - 1
                                     ? "\nLikely cause: truncation: a quotient of 41.999998 is 42, not 41"
                                     : "");
    }
  }
}

TEST(SymmetricInt8, ZerosHaveTheScaleOne) {
  for (const int n : {0, 1, 33}) {
    const std::vector<float> zeros(static_cast<std::size_t>(n), 0.0F);
    const Quantized got = quantize(zeros);
    EXPECT_EQ(got.scale, 1.0F) << n << " zeros"
                               << (got.scale == 0.0F
                                       ? "\nLikely cause: 0 / 127 as a scale, and 0 / 0 as a code"
                                       : "");
    EXPECT_EQ(got.codes, std::vector<std::int8_t>(zeros.size(), 0));
  }
  EXPECT_EQ(quantize(std::vector<float>{-0.0F, 0.0F}).scale, 1.0F);
}

TEST(SymmetricInt8, TinyNumbers) {
  // The smallest scale is 2^-126: a smaller one loses bits, and its reciprocal is infinite.
  const float smallest = 127 * kSmallestNormal;
  expect_quantized(std::vector<float>{smallest, -smallest / 2, 50.5F * kSmallestNormal, 0.0F});
  expect_quantized(std::vector<float>{1e-36F, -3e-37F, 2e-38F});
  for (const float x : {std::nextafter(smallest, 0.0F), 1e-37F, kSmallestNormal, 1e-44F}) {
    const Quantized got = quantize(std::vector<float>{x, -x, 0.0F});
    EXPECT_EQ(got.scale, 1.0F) << "max|x| = " << x << ", the scale would be less than 2^-126";
    EXPECT_EQ(got.codes, std::vector<std::int8_t>(3, 0));
  }
}

TEST(SymmetricInt8, HugeNumbers) {
  // 127 * x would be infinite, x / scale is not.
  expect_quantized(std::vector<float>{3e38F, -1e38F, 2.5e37F, 1.0F});
  expect_quantized(std::vector<float>{-std::numeric_limits<float>::max(), 1e30F, 0.0F});
}

// One number of a thousand is 300 times as large as the others. It has the last code and the others have the
// few in the middle: most of the information is gone, by the definition.
TEST(SymmetricInt8, OneOutlierTakesMostCodesFromTheOthers) {
  kit::Rng rng = kit::testing::make_rng(105);
  std::vector<float> x(1000);
  rng.fill_normal(x);
  x[617] = -300.0F;
  expect_quantized(x);
  const Quantized got = quantize(x);
  EXPECT_EQ(int{got.codes[617]}, -127) << "the outlier is not clipped";
  std::vector<std::int8_t> others = got.codes;
  others.erase(others.begin() + 617);
  const auto [smallest, largest] = std::minmax_element(others.begin(), others.end());
  // A step is 300 / 127 = 2.36: of the 255 codes normal numbers reach -2 to 2, up to 5.9 standard deviations.
  EXPECT_GE(int{*smallest}, -2);
  EXPECT_LE(int{*largest}, 2);
}

TEST(SymmetricInt8, WeightsOfTheTarget) {
  const std::vector<kit::LinearId> ids = kit::linears_of(lab04_tests::target_config());
  for (std::size_t i = 0; i < ids.size(); i += 5) {  // five is prime to seven: every kind of linear
    SCOPED_TRACE(ids[i].to_string());
    expect_quantized(kit::weight_of(*lab04_tests::target_weights(), ids[i]).span());
    if (HasFailure()) return;
  }
}

TEST(SymmetricInt8, NamesTheFirstNumberThatIsNotFinite) {
  for (const float bad : {kNan, kInfinity, -kInfinity}) {
    std::vector<float> x(5003, 0.25F);
    x[3517] = bad;
    x[4809] = kNan;
    EXPECT_TRUE(throws_error([&] { (void)quantize(x); }, "3517")) << bad << " at 3517, NaN at 4809";
  }
  // A maximum that ignores NaN finds nothing wrong here.
  EXPECT_TRUE(throws_error([] { (void)quantize(std::vector<float>{kNan}); })) << "nothing but a NaN";
  EXPECT_TRUE(throws_error([] { (void)quantize(std::vector<float>{1.0F, kNan}); })) << "a NaN comes last";
}

TEST(SymmetricInt8, RejectsLengthsThatDiffer) {
  const std::vector<float> x(31, 1.0F);
  for (const std::size_t n : {std::size_t{0}, std::size_t{30}, std::size_t{32}}) {
    std::vector<std::int8_t> codes(n);
    EXPECT_TRUE(throws_error([&] { (void)lab04::quantize_symmetric(x, codes); }, "31")) << "31 and " << n;
  }
}

TEST(DequantizeSymmetric, EveryCodeTimesTheScale) {
  kit::Rng rng = kit::testing::make_rng(106);
  std::vector<std::int8_t> codes;
  for (int code = -127; code <= 127; ++code) codes.push_back(static_cast<std::int8_t>(code));
  for (const float scale : {1.0F, 0.37F, 1e-30F, 2e36F, rng.uniform(0.001F, 1.0F)}) {
    Tensor<float> expected({255});
    Tensor<float> unsigned_codes({255});
    for (int i = 0; i < 255; ++i) {
      expected(i) = scale * static_cast<float>(i - 127);
      unsigned_codes(i) = scale * static_cast<float>(static_cast<std::uint8_t>(i - 127));
    }
    Tensor<float> got = kit::testing::nan_tensor({255});
    lab04::dequantize_symmetric(codes, scale, got.span());
    // One product of two floats: 1 ulp would do.
    EXPECT_TRUE(
        matches(got, expected, {.relative = 2e-7},
                std::vector<kit::KnownMistake>{{"codes that were taken for unsigned", unsigned_codes}}))
        << "scale " << scale;
  }
}

TEST(DequantizeSymmetric, RejectsWhatCannotBe) {
  const std::vector<std::int8_t> codes(33, 1);
  std::vector<float> x(33);
  for (const float scale : {0.0F, -0.5F, kNan, kInfinity}) {
    EXPECT_TRUE(throws_error([&] { lab04::dequantize_symmetric(codes, scale, x); }, fmt::format("{}", scale)))
        << "scale " << scale;
  }
  std::vector<float> shorter(32);
  EXPECT_TRUE(throws_error([&] { lab04::dequantize_symmetric(codes, 1.0F, shorter); }, "32"));
}

}  // namespace
