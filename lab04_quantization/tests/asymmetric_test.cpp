#include "lab04/asymmetric.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "int8_reference.h"
#include "kit/testing.h"
#include "target_model.h"

namespace {

using kit::KnownMistake;
using kit::Tensor;
using kit::testing::KnownCount;
using kit::testing::KnownValue;
using kit::testing::matches;
using kit::testing::matches_count;
using kit::testing::matches_value;
using kit::testing::throws_error;
using lab04::AffineParameters;
using lab04_tests::as_floats;
using lab04_tests::as_row;
using lab04_tests::round_half_even;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kSmallestNormal = std::numeric_limits<float>::min();  // 2^-126

/// How numbers become codes. As it stands: by the contract.
struct Rule {
  enum class Sum { kOfIntegers, kRoundedWhole, kFromLow };
  float n_steps = 255.0F;
  bool holds_zero = true;
  float (*round)(float) = round_half_even;
  Sum sum = Sum::kOfIntegers;
  bool clamps = true;  // else the code is the sum modulo 256, which is what a cast leaves
};

struct Affine {
  float scale = kNan;
  int zero_point = -1;
  Tensor<float> codes;  // [1, n]
};

float code_of(float x, float low, const Affine& q, const Rule& rule) {
  const auto zero_point = static_cast<float>(q.zero_point);
  float code = rule.round(x / q.scale) + zero_point;
  if (rule.sum == Rule::Sum::kRoundedWhole) code = rule.round(x / q.scale + zero_point);
  if (rule.sum == Rule::Sum::kFromLow) code = rule.round((x - low) / q.scale);
  if (rule.clamps) return std::clamp(code, 0.0F, 255.0F);
  return code - 256.0F * std::floor(code / 256.0F);
}

Affine affine(std::span<const float> x, const Rule& rule = {}) {
  float low = x.empty() || rule.holds_zero ? 0.0F : x[0];
  float high = low;
  for (const float value : x) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  Affine q{.scale = (high - low) / rule.n_steps, .zero_point = 0, .codes = Tensor<float>(as_row(x).shape())};
  if (q.scale < kSmallestNormal) q.scale = 1.0F;
  q.zero_point = static_cast<int>(std::clamp(rule.round(-low / q.scale), 0.0F, 255.0F));
  for (std::size_t i = 0; i < x.size(); ++i) q.codes.span()[i] = code_of(x[i], low, q, rule);
  return q;
}

struct NamedRule {
  const char* cause;
  Rule rule;
};

std::vector<NamedRule> wrong_rules() {
  const auto toward_zero = [](float x) { return std::trunc(x); };
  const auto half_away = [](float x) { return std::round(x); };
  return {
      {"a range that leaves out zero: low = min(0, min x), high = max(0, max x)", {.holds_zero = false}},
      {"256 steps: 256 codes have 255 steps between them", {.n_steps = 256.0F}},
      {"round(x / scale + zero_point): the sum is rounded a second time, and ties depend on the zero point",
       {.sum = Rule::Sum::kRoundedWhole}},
      {"round((x - low) / scale): counted from low, and decoded from the zero point, which is low rounded",
       {.sum = Rule::Sum::kFromLow}},
      {"truncation: a cast to an integer drops the fraction, it does not round", {.round = toward_zero}},
      {"ties rounded away from zero (round, lround); nearbyint rounds them to the even integer",
       {.round = half_away}},
      {"a code of 256 that became 0: clamp before the cast", {.clamps = false}}};
}

struct Quantized {
  AffineParameters parameters;
  std::vector<std::uint8_t> codes;
};

/// Outputs are marked with a code that is not the expected one: there is no number that is no code.
Quantized quantize(std::span<const float> x, const Tensor<float>& expected) {
  Quantized q{.parameters = {}, .codes = std::vector<std::uint8_t>(x.size())};
  for (std::size_t i = 0; i < x.size(); ++i) q.codes[i] = expected.span()[i] == 77.0F ? 78 : 77;
  q.parameters = lab04::quantize_asymmetric(x, q.codes);
  return q;
}

/// Scale, zero point and codes exactly: the contract fixes every operation, and each is rounded once on every
/// machine.
Quantized expect_quantized(std::span<const float> x) {
  const Affine expected = affine(x);
  Quantized got = quantize(x, expected.codes);
  const Tensor<float> got_codes = as_floats<std::uint8_t>(got.codes, expected.codes.shape());
  if (got.parameters.scale == expected.scale && got.parameters.zero_point == expected.zero_point &&
      matches(got_codes, expected.codes, {})) {
    return got;
  }
  std::vector<KnownValue> scales;
  std::vector<KnownCount> zero_points;
  std::vector<KnownMistake> codes;
  for (const auto& [cause, rule] : wrong_rules()) {
    Affine wrong = affine(x, rule);
    scales.push_back({cause, wrong.scale});
    zero_points.push_back({cause, wrong.zero_point});
    codes.push_back({cause, std::move(wrong.codes)});
  }
  EXPECT_TRUE(matches_value(got.parameters.scale, expected.scale, 0.0, scales)) << "the scale";
  EXPECT_TRUE(matches_count(got.parameters.zero_point, expected.zero_point, zero_points)) << "the zero point";
  EXPECT_TRUE(matches(got_codes, expected.codes, {}, codes))
      << "the codes of " << x.size() << " numbers (77 or 78 where they were never written)";
  return got;
}

Tensor<float> decode(const Quantized& q) {
  Tensor<float> x({1, static_cast<std::int64_t>(q.codes.size())});
  for (std::size_t i = 0; i < q.codes.size(); ++i)
    x.span()[i] = q.parameters.scale * static_cast<float>(q.codes[i] - q.parameters.zero_point);
  return x;
}

// From -1 to 2.984375 = 191 / 64 there are 255 steps of 1/64. 0 has the code 64; 0.0078125 is half a step, a
// tie that goes to 0 steps, and 3 halves go to 2.
TEST(AsymmetricInt8, ByHand) {
  const std::vector<float> x = {-1, 2.984375F, 0, 0.0078125F, 0.0234375F, 1, -0.5F, -0.0078125F};
  const Quantized got = expect_quantized(x);
  EXPECT_EQ(got.parameters.scale, 0.015625F);
  EXPECT_EQ(got.parameters.zero_point, 64);
  EXPECT_EQ(got.codes, (std::vector<std::uint8_t>{0, 255, 64, 64, 66, 128, 32, 64}));
}

TEST(AsymmetricInt8, MatchesTheDefinitionOnOddSizes) {
  kit::Rng rng = kit::testing::make_rng(110);
  for (const int n : {1, 2, 31, 33, 1000, 4099}) {
    for (const float mean : {0.0F, 1.5F, -0.75F}) {
      std::vector<float> x(static_cast<std::size_t>(n));
      for (float& value : x) value = mean + static_cast<float>(rng.normal());
      SCOPED_TRACE(fmt::format("{} numbers around {}", n, mean));
      (void)expect_quantized(x);
      if (HasFailure()) return;
    }
  }
}

TEST(AsymmetricInt8, ZeroIsExact) {
  kit::Rng rng = kit::testing::make_rng(111);
  for (int repeat = 0; repeat < 40; ++repeat) {
    std::vector<float> x(101);
    // Of either sign alone or of both, near zero and far from it.
    const float from = rng.uniform(-8.0F, 6.0F);
    rng.fill_uniform(x, from, from + rng.uniform(0.5F, 4.0F));
    x[50] = 0.0F;
    const Affine expected = affine(x);
    const Quantized got = quantize(x, expected.codes);
    EXPECT_EQ(int{got.codes[50]}, got.parameters.zero_point)
        << "0 between numbers from " << from << " on is decoded as "
        << got.parameters.scale * static_cast<float>(got.codes[50] - got.parameters.zero_point)
        << "\nLikely cause: 0 lies outside the range of the codes, and was clamped to its end";
  }
}

TEST(AsymmetricInt8, RangeAlwaysHoldsZero) {
  kit::Rng rng = kit::testing::make_rng(112);
  std::vector<float> x(1000);
  rng.fill_uniform(x, 5.0F, 9.0F);
  EXPECT_EQ(expect_quantized(x).parameters.zero_point, 0) << "of numbers from 5 to 9: 0 is the lowest";
  rng.fill_uniform(x, -9.0F, -5.0F);
  EXPECT_EQ(expect_quantized(x).parameters.zero_point, 255) << "of numbers from -9 to -5: 0 is the highest";
}

TEST(AsymmetricInt8, EqualNumbers) {
  for (const float value : {5.0F, 0.3F}) {
    for (const int n : {1, 31}) {
      std::vector<float> x(static_cast<std::size_t>(n), value);
      EXPECT_EQ(int{expect_quantized(x).codes.front()}, 255) << "of " << value << ", the highest";
      for (float& v : x) v = -v;
      EXPECT_EQ(int{expect_quantized(x).codes.front()}, 0) << "of " << -value << ", the lowest";
    }
  }
}

TEST(AsymmetricInt8, TiesGoToTheEvenNumberOfSteps) {
  // Halves of a step around an even and an odd zero point: x / scale is rounded, not the code.
  for (const float low : {-100.0F, -101.0F}) {
    std::vector<float> x = {low, low + 255.0F};
    for (int step = -100; step < 154; ++step) x.push_back(static_cast<float>(step) + 0.5F);
    SCOPED_TRACE(fmt::format("zero point {}", -low));
    (void)expect_quantized(x);
  }
}

// -101.5 .. 153.5 is 255 steps of 1. Both ends are ties and both go outwards, to -102 and 154: the zero point
// is 102, and 154 + 102 = 256 is no code.
TEST(AsymmetricInt8, SumIsClamped) {
  const Quantized got = expect_quantized(std::vector<float>{-101.5F, 153.5F, 0.0F, 152.9F});
  EXPECT_EQ(got.parameters.zero_point, 102);
  EXPECT_EQ(int{got.codes[1]}, 255);
}

TEST(AsymmetricInt8, ErrorIsAtMostHalfAStep) {
  kit::Rng rng = kit::testing::make_rng(113);
  for (const float mean : {0.0F, 0.7F, 3.0F, -11.0F}) {
    std::vector<float> x(2000);
    for (float& value : x) value = mean + static_cast<float>(rng.normal());
    const Quantized got = quantize(x, affine(x).codes);
    ASSERT_TRUE(std::isfinite(got.parameters.scale) && got.parameters.scale > 0.0F);
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double decoded = double{got.parameters.scale} * (got.codes[i] - got.parameters.zero_point);
      const double steps = std::abs(x[i] - decoded) / got.parameters.scale;
      // The quotient, up to 255, is rounded to a float before it is rounded to an integer.
      ASSERT_TRUE(steps <= 0.5 + 2e-5)
          << "x[" << i << "] = " << x[i] << ", decoded as " << decoded << ": " << steps << " steps"
          << (steps < 1.001
                  ? "\nLikely cause: two roundings, of the number and of the zero point, or truncation"
                  : "");
    }
  }
}

// Where all numbers have one sign a symmetric grid leaves half of its codes unused. This one has steps half
// as wide, so a quarter of the noise power: 6 dB.
TEST(AsymmetricInt8, SixDecibelsForOneSign) {
  kit::Rng rng = kit::testing::make_rng(114);
  std::vector<float> x(20'000);
  rng.fill_uniform(x, 0.0F, 1.0F);
  const Quantized got = quantize(x, affine(x).codes);
  const double snr = lab04_tests::reference_metrics(x, decode(got).span()).snr_db;
  const double symmetric =
      lab04_tests::reference_metrics(x, lab04_tests::reference_int8_per_tensor(as_row(x)).span()).snr_db;
  // 20 log10(255 / 127) = 6.05; the noise power of 20,000 uniform errors is within 1 % (3 standard errors
  // are 1.9 %) in each, which is 0.1 dB.
  EXPECT_TRUE(std::abs(snr - symmetric - 6.05) <= 0.3)
      << snr << " dB, symmetric codes have " << symmetric << " dB";
}

// The gains of the target's norms are all positive: asymmetric codes fit them better.
TEST(AsymmetricInt8, GainsAndWeightsOfTheTarget) {
  for (const kit::LlamaLayerWeights& layer : lab04_tests::target_weights()->layers) {
    (void)expect_quantized(layer.attention_norm.span());
    (void)expect_quantized(layer.mlp_norm.span());
    (void)expect_quantized(layer.wk.span());
    if (HasFailure()) return;
  }
}

TEST(AsymmetricInt8, ZerosAndTinyNumbersHaveTheScaleOne) {
  for (const int n : {0, 1, 33}) {
    const std::vector<float> zeros(static_cast<std::size_t>(n), 0.0F);
    const Quantized got = quantize(zeros, affine(zeros).codes);
    EXPECT_EQ(got.parameters.scale, 1.0F)
        << n << " zeros"
        << (got.parameters.scale == 0.0F ? "\nLikely cause: 0 / 255 as a scale, and 0 / 0 as a code" : "");
    EXPECT_EQ(got.parameters.zero_point, 0);
    EXPECT_EQ(got.codes, std::vector<std::uint8_t>(zeros.size(), 0));
  }
  // 255 steps of 2^-126, and a hair less.
  const float smallest = 255 * kSmallestNormal;
  (void)expect_quantized(std::vector<float>{smallest, 0.0F, 100 * kSmallestNormal});
  (void)expect_quantized(std::vector<float>{-smallest, -smallest / 2});
  for (const float x : {std::nextafter(smallest, 0.0F), kSmallestNormal, 1e-44F}) {
    const Quantized got = expect_quantized(std::vector<float>{-x, 0.0F});
    EXPECT_EQ(got.parameters.scale, 1.0F) << "low = " << -x << ", the scale would be less than 2^-126";
    EXPECT_EQ(got.parameters.zero_point, 0);
  }
}

TEST(AsymmetricInt8, HugeNumbers) {
  (void)expect_quantized(std::vector<float>{3e38F, 1e38F, 0.0F});
  (void)expect_quantized(std::vector<float>{-1.5e38F, 1.5e38F, 1.0F});
  EXPECT_TRUE(throws_error([] {
    const std::vector<float> x = {-2e38F, 2e38F};
    std::vector<std::uint8_t> codes(2);
    (void)lab04::quantize_asymmetric(x, codes);
  })) << "4e38 does not fit a float";
}

TEST(AsymmetricInt8, NamesTheFirstNumberThatIsNotFinite) {
  std::vector<std::uint8_t> codes(5003);
  for (const float bad : {kNan, kInfinity, -kInfinity}) {
    std::vector<float> x(5003, 0.25F);
    x[3517] = bad;
    x[4809] = kNan;
    EXPECT_TRUE(throws_error([&] { (void)lab04::quantize_asymmetric(x, codes); }, "3517"))
        << bad << " at 3517, NaN at 4809";
  }
  const std::vector<float> last = {1.0F, -1.0F, kNan};
  EXPECT_TRUE(throws_error([&] { (void)lab04::quantize_asymmetric(last, std::span(codes).first(3)); }))
      << "a NaN comes last";
}

TEST(AsymmetricInt8, RejectsLengthsThatDiffer) {
  const std::vector<float> x(31, 1.0F);
  for (const std::size_t n : {std::size_t{0}, std::size_t{30}, std::size_t{32}}) {
    std::vector<std::uint8_t> codes(n);
    EXPECT_TRUE(throws_error([&] { (void)lab04::quantize_asymmetric(x, codes); }, "31")) << "31 and " << n;
  }
}

TEST(DequantizeAsymmetric, StepsFromTheZeroPoint) {
  kit::Rng rng = kit::testing::make_rng(115);
  std::vector<std::uint8_t> codes;
  for (int code = 0; code <= 255; ++code) codes.push_back(static_cast<std::uint8_t>(code));
  for (const int zero_point : {0, 1, 100, 254, 255}) {
    const AffineParameters parameters = {.scale = rng.uniform(0.001F, 3.0F), .zero_point = zero_point};
    Tensor<float> expected({256});
    Tensor<float> no_zero_point({256});
    Tensor<float> wrapped({256});
    Tensor<float> added({256});
    for (int i = 0; i < 256; ++i) {
      expected(i) = parameters.scale * static_cast<float>(i - zero_point);
      no_zero_point(i) = parameters.scale * static_cast<float>(i);
      wrapped(i) = parameters.scale * static_cast<float>(static_cast<std::uint8_t>(i - zero_point));
      added(i) = parameters.scale * static_cast<float>(i + zero_point);
    }
    Tensor<float> got = kit::testing::nan_tensor({256});
    lab04::dequantize_asymmetric(codes, parameters, got.span());
    // One product of two floats: 1 ulp would do.
    EXPECT_TRUE(
        matches(got, expected, {.relative = 2e-7},
                std::vector<KnownMistake>{{"codes without the zero point", no_zero_point},
                                          {"a difference in 8 bits, which wraps around below 0", wrapped},
                                          {"the zero point added, not subtracted", added}}))
        << "zero point " << zero_point << ", scale " << parameters.scale;
    EXPECT_EQ(got(zero_point), 0.0F) << "the code of 0, exactly";
  }
}

TEST(DequantizeAsymmetric, RejectsWhatCannotBe) {
  const std::vector<std::uint8_t> codes(33, 1);
  std::vector<float> x(33);
  const auto with = [&](float scale, int zero_point) {
    return [&, scale, zero_point] { lab04::dequantize_asymmetric(codes, {scale, zero_point}, x); };
  };
  for (const float scale : {0.0F, -0.5F, kNan, kInfinity})
    EXPECT_TRUE(throws_error(with(scale, 7), fmt::format("{}", scale))) << "scale " << scale;
  for (const int zero_point : {-1, 256}) {
    EXPECT_TRUE(throws_error(with(0.5F, zero_point), std::to_string(zero_point)))
        << "zero point " << zero_point;
  }
  std::vector<float> shorter(32);
  EXPECT_TRUE(throws_error([&] { lab04::dequantize_asymmetric(codes, {0.5F, 7}, shorter); }, "32"));
}

}  // namespace
