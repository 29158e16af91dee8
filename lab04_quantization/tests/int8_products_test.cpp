#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "kit/testing.h"
#include "lab04/quantized_products.h"
#include "reference_quantizers.h"
#include "target_model.h"

namespace {

using kit::KnownMistake;
using kit::Tensor;
using kit::testing::make_rng;
using kit::testing::matches;
using kit::testing::nan_tensor;
using kit::testing::random_tensor;
using kit::testing::throws_error;
using lab04_tests::Int8Matrix;
using lab04_tests::reference_int8_rows;
using lab04_tests::round_half_even;
using Codes = Tensor<std::int8_t>;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// The sum is an exact integer; the conversion to float, the product of the scales and its product with the
/// sum round once each, at most 2^-24 of the value.
constexpr kit::Tolerance kFourRoundings{0.0, 0x1p-22};

std::int64_t exact_sum(const Codes& xq, std::int64_t t, const Codes& wq, std::int64_t o) {
  std::int64_t sum = 0;
  for (std::int64_t i = 0; i < xq.dim(1); ++i) sum += std::int64_t{xq(t, i)} * std::int64_t{wq(o, i)};
  return sum;
}

/// y(t, o) = x_scale(t, o) * w_scale(t, o) * sum(t, o), in double.
using Scale = std::function<double(std::int64_t t, std::int64_t o)>;
Tensor<float> product(
    const Codes& xq, const Codes& wq, const Scale& scale,
    const std::function<double(std::int64_t)>& stored = [](std::int64_t sum) {
      return static_cast<double>(sum);
    }) {
  Tensor<float> y({xq.dim(0), wq.dim(0)});
  for (std::int64_t t = 0; t < xq.dim(0); ++t) {
    for (std::int64_t o = 0; o < wq.dim(0); ++o) {
      y(t, o) = static_cast<float>(scale(t, o) * stored(exact_sum(xq, t, wq, o)));
    }
  }
  return y;
}

double at(std::span<const float> scales, std::int64_t i) {
  return double{scales[static_cast<std::size_t>(i) % scales.size()]};
}

Codes random_codes(std::int64_t rows, std::int64_t cols, kit::Rng& rng) {
  Codes codes({rows, cols});
  for (std::int8_t& code : codes.span()) {
    code = static_cast<std::int8_t>(static_cast<int>(rng.below(255)) - 127);
  }
  return codes;
}

std::vector<float> random_scales(std::int64_t n, kit::Rng& rng) {
  std::vector<float> scales(static_cast<std::size_t>(n));
  for (float& scale : scales) scale = rng.uniform(0.001F, 0.01F);
  return scales;
}

double in_int16(std::int64_t sum) {
  return static_cast<double>(static_cast<std::int16_t>(sum));
}

std::vector<KnownMistake> product_mistakes(const Codes& xq, std::span<const float> x_scales, const Codes& wq,
                                           std::span<const float> w_scales) {
  const Scale both = [&](std::int64_t t, std::int64_t o) { return at(x_scales, t) * at(w_scales, o); };
  return {
      {"the sum kept in an int16", product(xq, wq, both, in_int16)},
      {"the activations' scale of the first token for all of them",
       product(xq, wq, [&](std::int64_t, std::int64_t o) { return at(x_scales, 0) * at(w_scales, o); })},
      {"the weights' scale of the first row for all of them",
       product(xq, wq, [&](std::int64_t t, std::int64_t) { return at(x_scales, t) * at(w_scales, 0); })},
      {"x_scales and w_scales exchanged: x_scales[t] belongs to token t, w_scales[o] to output o",
       product(xq, wq, [&](std::int64_t t, std::int64_t o) { return at(x_scales, o) * at(w_scales, t); })},
      {"sums without the activations' scales",
       product(xq, wq, [&](std::int64_t, std::int64_t o) { return at(w_scales, o); })},
      {"sums without the weights' scales",
       product(xq, wq, [&](std::int64_t t, std::int64_t) { return at(x_scales, t); })},
  };
}

void expect_w8a8(const Codes& xq, std::span<const float> x_scales, const Codes& wq,
                 std::span<const float> w_scales) {
  SCOPED_TRACE(fmt::format("xq [{}, {}], {} scales, wq [{}, {}]", xq.dim(0), xq.dim(1), x_scales.size(),
                           wq.dim(0), wq.dim(1)));
  Tensor<float> y = nan_tensor({xq.dim(0), wq.dim(0)});
  lab04::linear_w8a8(xq, x_scales, wq, w_scales, y);
  const Tensor<float> expected =
      product(xq, wq, [&](std::int64_t t, std::int64_t o) { return at(x_scales, t) * at(w_scales, o); });
  EXPECT_TRUE(matches(y, expected, kFourRoundings, product_mistakes(xq, x_scales, wq, w_scales)));
}

TEST(LinearW8A8, MatchesExactSums) {
  kit::Rng rng = make_rng(650);
  for (const auto& [n, in, out] : {std::array{1, 256, 64}, {4, 64, 32}, {16, 768, 16}}) {
    expect_w8a8(random_codes(n, in, rng), random_scales(n, rng), random_codes(out, in, rng),
                random_scales(out, rng));
  }
}

TEST(LinearW8A8, MatchesOnOddSizes) {
  kit::Rng rng = make_rng(651);
  for (const auto& [n, in, out] :
       {std::array{1, 1, 1}, {3, 31, 5}, {31, 33, 2}, {2, 1000, 33}, {5, 65, 5}, {7, 577, 9}}) {
    expect_w8a8(random_codes(n, in, rng), random_scales(n, rng), random_codes(out, in, rng),
                random_scales(out, rng));
  }
}

TEST(LinearW8A8, OneActivationScaleServesAllTokens) {
  kit::Rng rng = make_rng(652);
  expect_w8a8(random_codes(6, 100, rng), random_scales(1, rng), random_codes(7, 100, rng),
              random_scales(7, rng));
}

TEST(LinearW8A8, LargeSumsThatCancelStayExact) {
  // Partial sums of 10^8 with products of both signs: float holds integers up to 2^24 = 1.7 * 10^7 only.
  kit::Rng rng = make_rng(653);
  constexpr std::int64_t kIn = 40000;
  Codes xq({2, kIn});
  Codes wq({3, kIn});
  for (std::int64_t i = 0; i < kIn; ++i) {
    for (std::int64_t t = 0; t < 2; ++t) xq(t, i) = static_cast<std::int8_t>(100 + rng.below(28));
    for (std::int64_t o = 0; o < 3; ++o) {
      const int sign = i < kIn / 2 ? 1 : -1;
      wq(o, i) = static_cast<std::int8_t>(sign * static_cast<int>(100 + rng.below(28)));
    }
  }
  const std::vector<float> ones(3, 1.0F);
  Tensor<float> y = nan_tensor({2, 3});
  lab04::linear_w8a8(xq, std::span(ones).first(2), wq, ones, y);
  const Scale one = [](std::int64_t, std::int64_t) { return 1.0; };
  Tensor<float> in_float({2, 3}, 0.0F);
  for (std::int64_t t = 0; t < 2; ++t) {
    for (std::int64_t o = 0; o < 3; ++o) {
      for (std::int64_t i = 0; i < kIn; ++i) in_float(t, o) += static_cast<float>(xq(t, i) * wq(o, i));
    }
  }
  const std::vector<KnownMistake> mistakes = {{"a sum in float, which rounds integers beyond 2^24", in_float},
                                              {"the sum kept in an int16", product(xq, wq, one, in_int16)}};
  EXPECT_TRUE(matches(y, product(xq, wq, one), kFourRoundings, mistakes))
      << "the sum must be exact, in int32";
}

TEST(LinearW8A8, LongestSumIsExact) {
  // All products 127 * 127: as much as an int32 can hold.
  for (const int sign : {1, -1}) {
    Codes xq({1, lab04::kMaxInt8SumLength});
    Codes wq({2, lab04::kMaxInt8SumLength});
    std::ranges::fill(xq.span(), std::int8_t{127});
    std::ranges::fill(wq.row(0), static_cast<std::int8_t>(127 * sign));
    std::ranges::fill(wq.row(1), std::int8_t{1});
    const std::vector<float> x_scale = {0.5F};
    const std::vector<float> w_scales = {0.25F, 2.0F};
    expect_w8a8(xq, x_scale, wq, w_scales);
  }
}

TEST(LinearW8A8, RefusesSumsThatMayOverflow) {
  const Codes xq({1, lab04::kMaxInt8SumLength + 1});
  const Codes wq({1, lab04::kMaxInt8SumLength + 1});
  const Tensor<float> x(xq.shape(), 1.0F);
  const std::vector<float> scale = {1.0F};
  Tensor<float> y({1, 1});
  const char* hint = "one product more than kMaxInt8SumLength may overflow an int32";
  EXPECT_TRUE(throws_error([&] { lab04::linear_w8a8(xq, scale, wq, scale, y); })) << hint;
  EXPECT_TRUE(throws_error([&] { lab04::linear_w8a8_dynamic(x, wq, scale, y); })) << hint;
  EXPECT_TRUE(throws_error([&] { lab04::linear_w8a8_static(x, 1.0F, wq, scale, y); })) << hint;
}

TEST(LinearW8A8, RejectsShapesThatDisagree) {
  const Codes xq({2, 4});
  const Codes wq({3, 4});
  const std::vector<float> scales(4, 1.0F);
  const auto first = [&](std::size_t n) { return std::span(scales).first(n); };
  Tensor<float> y({2, 3});
  EXPECT_TRUE(throws_error([&] { lab04::linear_w8a8(Codes({2, 5}), first(2), wq, first(3), y); }));
  EXPECT_TRUE(throws_error([&] { lab04::linear_w8a8(xq, first(3), wq, first(3), y); }));
  EXPECT_TRUE(throws_error([&] { lab04::linear_w8a8(xq, first(2), wq, first(2), y); }));
  Tensor<float> transposed({3, 2});
  EXPECT_TRUE(throws_error([&] { lab04::linear_w8a8(xq, first(2), wq, first(3), transposed); }));
}

// --- Activations in float

/// Codes of x with scale(t), clamped.
Codes quantized(const Tensor<float>& x, std::span<const float> scales,
                const std::function<float(float)>& round = round_half_even) {
  Codes codes(x.shape());
  for (std::int64_t t = 0; t < x.dim(0); ++t) {
    for (std::int64_t i = 0; i < x.dim(1); ++i) {
      const auto scale = static_cast<float>(at(scales, t));
      codes(t, i) = static_cast<std::int8_t>(std::clamp(round(x(t, i) / scale), -127.0F, 127.0F));
    }
  }
  return codes;
}

/// What a product gives when token t is quantized with x_scales[t], or all with x_scales[0].
Tensor<float> with_scales(const Tensor<float>& x, std::span<const float> x_scales, const Int8Matrix& w,
                          const std::function<float(float)>& round = round_half_even) {
  return product(quantized(x, x_scales, round), w.codes,
                 [&](std::int64_t t, std::int64_t o) { return at(x_scales, t) * at(w.scales, o); });
}

float scale_of(std::span<const float> x) {
  float max = 0.0F;
  for (const float v : x) max = std::max(max, std::abs(v));
  return max / 127.0F;
}

/// `x` by the contract, and by the classic mistakes.
void expect_dynamic(const Tensor<float>& x, const Int8Matrix& w) {
  const std::vector<float> of_tokens = reference_int8_rows(x).scales;
  const std::vector<float> of_tensor = {scale_of(x.span())};
  const Codes xq = quantized(x, of_tokens);
  std::vector<KnownMistake> mistakes = product_mistakes(xq, of_tokens, w.codes, w.scales);
  mistakes.push_back(
      {"one activation scale for all tokens (dynamic per tensor)", with_scales(x, of_tensor, w)});
  mistakes.push_back(
      {"all tokens quantized with the scale of the first", with_scales(x, std::span(of_tokens).first(1), w)});
  mistakes.push_back({"activations truncated instead of rounded",
                      with_scales(x, of_tokens, w, [](float v) { return std::trunc(v); })});
  Tensor<float> y = nan_tensor({x.dim(0), w.codes.dim(0)});
  lab04::linear_w8a8_dynamic(x, w.codes, w.scales, y);
  EXPECT_TRUE(matches(y, with_scales(x, of_tokens, w), kFourRoundings, mistakes));
}

/// Tokens of different size.
Tensor<float> random_tokens(std::int64_t n, std::int64_t in, kit::Rng& rng) {
  Tensor<float> x = random_tensor({n, in}, rng);
  for (std::int64_t t = 0; t < n; ++t) {
    for (float& v : x.row(t)) v *= static_cast<float>(1 + t % 4);
  }
  return x;
}

Int8Matrix random_weights(std::int64_t out, std::int64_t in, kit::Rng& rng) {
  return {random_codes(out, in, rng), random_scales(out, rng)};
}

TEST(LinearW8A8Dynamic, EveryTokenHasItsOwnScale) {
  kit::Rng rng = make_rng(660);
  for (const auto& [n, in, out] : {std::array{1, 64, 8}, {5, 33, 7}, {33, 31, 3}, {2, 1000, 5}}) {
    SCOPED_TRACE(fmt::format("x [{}, {}], wq [{}, {}]", n, in, out, in));
    expect_dynamic(random_tokens(n, in, rng), random_weights(out, in, rng));
  }
}

TEST(LinearW8A8Dynamic, ALargeTokenDisturbsNoOther) {
  kit::Rng rng = make_rng(661);
  const Int8Matrix w = random_weights(9, 96, rng);
  Tensor<float> x = random_tokens(5, 96, rng);
  for (float& v : x.row(2)) v *= 1000.0F;
  expect_dynamic(x, w);
}

TEST(LinearW8A8Dynamic, ATokenOfZerosGivesZeros) {
  kit::Rng rng = make_rng(662);
  const Int8Matrix w = random_weights(6, 40, rng);
  Tensor<float> x = random_tokens(3, 40, rng);
  std::ranges::fill(x.row(1), 0.0F);
  Tensor<float> y = nan_tensor({3, 6});
  lab04::linear_w8a8_dynamic(x, w.codes, w.scales, y);
  for (std::int64_t o = 0; o < 6; ++o) EXPECT_EQ(y(1, o), 0.0F) << "output " << o;
  EXPECT_TRUE(matches(y, with_scales(x, reference_int8_rows(x).scales, w), kFourRoundings));
}

TEST(LinearW8A8Dynamic, MatchesOnTheTargetsWeights) {
  kit::Rng rng = make_rng(663);
  const auto weights = lab04_tests::target_weights();
  const Tensor<float>& w = weights->layers[1].w_up;
  expect_dynamic(random_tokens(3, w.dim(1), rng), reference_int8_rows(w));
}

TEST(LinearW8A8Dynamic, RejectsNumbersThatAreNone) {
  kit::Rng rng = make_rng(664);
  const Int8Matrix w = random_weights(3, 8, rng);
  for (const float bad : {kNan, kInfinity, -kInfinity}) {
    for (const std::int64_t t : {0, 1}) {
      Tensor<float> x = random_tokens(2, 8, rng);
      x(t, 5) = bad;
      Tensor<float> y({2, 3});
      EXPECT_TRUE(throws_error([&] { lab04::linear_w8a8_dynamic(x, w.codes, w.scales, y); }))
          << bad << " in token " << t;
    }
  }
  Tensor<float> y({2, 3});
  EXPECT_TRUE(
      throws_error([&] { lab04::linear_w8a8_dynamic(random_tokens(2, 9, rng), w.codes, w.scales, y); }));
}

/// `x` with a scale that was fixed beforehand.
void expect_static(const Tensor<float>& x, float x_scale, const Int8Matrix& w) {
  const std::vector<float> fixed = {x_scale};
  Codes wrapped(x.shape());
  for (std::int64_t i = 0; i < x.size(); ++i) {
    wrapped.data()[i] =
        static_cast<std::int8_t>(static_cast<int>(round_half_even(x.data()[i] / x_scale)));  // modulo 256
  }
  const Scale scale = [&](std::int64_t, std::int64_t o) { return double{x_scale} * at(w.scales, o); };
  std::vector<KnownMistake> mistakes = product_mistakes(quantized(x, fixed), fixed, w.codes, w.scales);
  mistakes.push_back(
      {"activations beyond 127 steps wrapped around instead of clamped", product(wrapped, w.codes, scale)});
  mistakes.push_back({"a scale from the tokens themselves (dynamic) instead of the fixed one",
                      with_scales(x, reference_int8_rows(x).scales, w)});
  mistakes.push_back({"activations truncated instead of rounded",
                      with_scales(x, fixed, w, [](float v) { return std::trunc(v); })});
  Tensor<float> y = nan_tensor({x.dim(0), w.codes.dim(0)});
  lab04::linear_w8a8_static(x, x_scale, w.codes, w.scales, y);
  EXPECT_TRUE(matches(y, with_scales(x, fixed, w), kFourRoundings, mistakes));
}

TEST(LinearW8A8Static, UsesTheFixedScale) {
  kit::Rng rng = make_rng(670);
  for (const auto& [n, in, out] : {std::array{1, 64, 8}, {5, 33, 7}, {3, 1000, 2}}) {
    SCOPED_TRACE(fmt::format("x [{}, {}], wq [{}, {}]", n, in, out, in));
    const Tensor<float> x = random_tokens(n, in, rng);
    expect_static(x, 1.5F * scale_of(x.span()), random_weights(out, in, rng));
  }
}

TEST(LinearW8A8Static, ClampsWhatLiesOutside) {
  kit::Rng rng = make_rng(671);
  Tensor<float> x = random_tokens(4, 50, rng);
  // Just outside, and far outside.
  const float scale = 0.01F;
  x(0, 3) = 1.28F;
  x(1, 4) = -1.31F;
  x(2, 5) = 300.0F;
  x(3, 6) = -2e5F;
  expect_static(x, scale, random_weights(6, 50, rng));
}

TEST(LinearW8A8Static, RejectsScalesThatAreNone) {
  kit::Rng rng = make_rng(672);
  const Int8Matrix w = random_weights(3, 8, rng);
  const Tensor<float> x = random_tokens(2, 8, rng);
  Tensor<float> y({2, 3});
  for (const float scale : {0.0F, -1.0F, kNan, kInfinity}) {
    EXPECT_TRUE(throws_error([&] { lab04::linear_w8a8_static(x, scale, w.codes, w.scales, y); }))
        << "scale " << scale;
  }
  Tensor<float> transposed({3, 2});
  EXPECT_TRUE(throws_error([&] { lab04::linear_w8a8_static(x, 1.0F, w.codes, w.scales, transposed); }));
}

}  // namespace
