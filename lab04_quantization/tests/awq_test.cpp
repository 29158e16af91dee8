#include "lab04/awq.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "kit/testing.h"
#include "reference_quantizers.h"

namespace {

using kit::KnownMistake;
using kit::Shape;
using kit::Tensor;
using kit::TensorView;
using kit::testing::make_rng;
using kit::testing::matches;
using kit::testing::matches_value;
using kit::testing::random_tensor;
using kit::testing::throws_error;
using lab04::AwqScales;
using lab04::GroupConfig;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int kGridPoints = 20;

// A power and a quotient in float: a few roundings of 6e-8.
constexpr kit::Tolerance kScaleTolerance{0.0, 1e-5};
// A scale that differs by a rounding can move a weight to the next code, or the scale of a group to the next
// binary16. In the problems below, of 1000 weights and more, that moves the mean by less than 0.5 %; the
// classic mistakes move it by 5 % and more.
constexpr double kErrorTolerance = 5e-3;

struct Problem {
  Tensor<float> x;  // [n, in]
  Tensor<float> w;  // [out, in]
  GroupConfig grid;
};

/// Channels of different loudness, every 16th of them an outlier, as in a large language model.
Problem random_problem(const Shape& sizes, const GroupConfig& grid, std::uint64_t stream) {
  kit::Rng rng = make_rng(stream);
  Problem p{random_tensor({sizes[0], sizes[2]}, rng), random_tensor({sizes[1], sizes[2]}, rng), grid};
  for (std::int64_t j = 0; j < sizes[2]; ++j) {
    const float loudness = (j % 16 == 5 ? 30.0F : 1.0F) * static_cast<float>(std::exp(0.3 * rng.normal()));
    for (std::int64_t t = 0; t < sizes[0]; ++t) p.x(t, j) = loudness * (p.x(t, j) + 0.3F);
  }
  return p;
}

/// Sizes {n, out, in} that are odd, with ragged groups, and every kind of grid.
std::vector<Problem> problems(std::uint64_t stream) {
  return {random_problem({31, 33, 100}, {.bits = 4, .group_size = 32}, stream),
          random_problem({64, 48, 128}, {.bits = 4, .group_size = 64}, stream + 1),
          random_problem({7, 63, 65}, {.bits = 3, .group_size = 33}, stream + 2),
          random_problem({40, 20, 96}, {.bits = 2, .group_size = 0}, stream + 3),
          random_problem({33, 31, 80}, {.bits = 4, .group_size = 16, .symmetric = false}, stream + 4),
          random_problem({1, 40, 64}, {.bits = 8, .group_size = 64}, stream + 5)};
}

std::string text_of(const Problem& p) {
  return fmt::format("x {}, w {}, {} bits, groups of {}, {}", p.x.shape().to_string(),
                     p.w.shape().to_string(), p.grid.bits, p.grid.group_size,
                     p.grid.symmetric ? "symmetric" : "asymmetric");
}

AwqScales search(const Problem& p) {
  return lab04::search_awq_scales(p.x, p.w, p.grid);
}

Tensor<float> as_tensor(std::span<const float> values) {
  Tensor<float> tensor({static_cast<std::int64_t>(values.size())});
  std::copy(values.begin(), values.end(), tensor.span().begin());
  return tensor;
}

// ---------------------------------------------------------------------------------- the scales, by formula

enum class Magnitude { kMean, kMax, kSignedMean, kWeights };

double magnitude_of(const Problem& p, std::int64_t j, Magnitude which) {
  double sum = 0.0;
  double largest = 0.0;
  double signed_sum = 0.0;
  for (std::int64_t t = 0; t < p.x.dim(0); ++t) {
    sum += std::abs(p.x(t, j));
    signed_sum += p.x(t, j);
    largest = std::max(largest, std::abs(double{p.x(t, j)}));
  }
  double weights = 0.0;
  for (std::int64_t o = 0; o < p.w.dim(0); ++o) weights += std::abs(p.w(o, j));
  switch (which) {
    case Magnitude::kMax:
      return largest;
    case Magnitude::kSignedMean:
      return std::abs(signed_sum) / static_cast<double>(p.x.dim(0));
    case Magnitude::kWeights:
      return weights / static_cast<double>(p.w.dim(0));
    case Magnitude::kMean:
      break;
  }
  return sum / static_cast<double>(p.x.dim(0));
}

struct ScaleVariant {
  Magnitude magnitude = Magnitude::kMean;
  bool around_one = true;  ///< divided by sqrt(max * min)
  bool inverted = false;
};

Tensor<float> reference_scales(const Problem& p, double exponent, const ScaleVariant& variant = {}) {
  std::vector<double> powers;
  for (std::int64_t j = 0; j < p.x.dim(1); ++j) {
    const double m = std::max(magnitude_of(p, j, variant.magnitude), 1e-4);
    powers.push_back(std::pow(m, variant.inverted ? -exponent : exponent));
  }
  const auto [low, high] = std::ranges::minmax_element(powers);
  const double middle = variant.around_one ? std::sqrt(*low * *high) : 1.0;
  Tensor<float> scales({p.x.dim(1)});
  std::ranges::transform(powers, scales.span().begin(),
                         [&](double power) { return static_cast<float>(power / middle); });
  return scales;
}

// --------------------------------------------------------------------------------- the error of the outputs

enum class ErrorOf { kOutputs, kWeights, kOutputsWithScaledWeights };

/// What quantizing does to each weight: [out, in].
Tensor<float> weight_errors(const Problem& p, const Tensor<float>& scales, bool undo = true) {
  Tensor<float> scaled = kit::clone(p.w.view());
  for (std::int64_t o = 0; o < p.w.dim(0); ++o) {
    for (std::int64_t j = 0; j < p.w.dim(1); ++j) scaled(o, j) *= scales(j);
  }
  const Tensor<float> q =
      lab04_tests::reference_dequantize_groups(lab04_tests::reference_quantize_groups(scaled, p.grid));
  Tensor<float> errors(p.w.shape());
  for (std::int64_t o = 0; o < p.w.dim(0); ++o) {
    for (std::int64_t j = 0; j < p.w.dim(1); ++j) {
      errors(o, j) = p.w(o, j) - q(o, j) / (undo ? scales(j) : 1.0F);
    }
  }
  return errors;
}

double mean_square_output(const Tensor<float>& x, const Tensor<float>& errors) {
  double total = 0.0;
  for (std::int64_t t = 0; t < x.dim(0); ++t) {
    for (std::int64_t o = 0; o < errors.dim(0); ++o) {
      double y = 0.0;
      for (std::int64_t j = 0; j < x.dim(1); ++j) y += double{x(t, j)} * double{errors(o, j)};
      total += y * y;
    }
  }
  return total / static_cast<double>(x.dim(0) * errors.dim(0));
}

double reference_error(const Problem& p, double exponent, ErrorOf what = ErrorOf::kOutputs) {
  const Tensor<float> errors =
      weight_errors(p, reference_scales(p, exponent), what != ErrorOf::kOutputsWithScaledWeights);
  if (what != ErrorOf::kWeights) return mean_square_output(p.x, errors);
  double sum = 0.0;
  for (const float e : errors.span()) sum += double{e} * double{e};
  return sum / static_cast<double>(errors.size());
}

/// The error without scaling when the most active 1 % of the channels, at least one, stay in full precision.
double error_with_channels_kept(const Problem& p) {
  Tensor<float> errors = weight_errors(p, reference_scales(p, 0.0));
  std::vector<std::int64_t> order(static_cast<std::size_t>(p.x.dim(1)));
  std::iota(order.begin(), order.end(), 0);
  std::ranges::sort(order, std::greater(),
                    [&](std::int64_t j) { return magnitude_of(p, j, Magnitude::kMean); });
  order.resize(std::max<std::size_t>(order.size() / 100, 1));
  for (const std::int64_t j : order) {
    for (std::int64_t o = 0; o < errors.dim(0); ++o) errors(o, j) = 0.0F;
  }
  return mean_square_output(p.x, errors);
}

std::vector<double> errors_of_the_grid(const Problem& p, ErrorOf what = ErrorOf::kOutputs) {
  std::vector<double> errors(kGridPoints);
  for (int i = 0; i < kGridPoints; ++i) {
    errors[static_cast<std::size_t>(i)] = reference_error(p, static_cast<double>(i) / kGridPoints, what);
  }
  return errors;
}

double best_exponent(std::span<const double> errors) {
  return static_cast<double>(std::ranges::min_element(errors) - errors.begin()) / kGridPoints;
}

/// The index of an exponent on the grid, -1 when it is not there.
int grid_index(double exponent) {
  const double steps = exponent * kGridPoints;
  if (!(steps > -0.5 && steps < kGridPoints - 0.5) || std::abs(steps - std::round(steps)) > 1e-9) return -1;
  return static_cast<int>(std::lround(steps));
}

::testing::AssertionResult is_on_the_grid(double exponent) {
  if (grid_index(exponent) >= 0) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << fmt::format("the exponent {} is none of 0, 1/20, ..., 19/20", exponent);
}

// ---------------------------------------------------------------------------------------------------- tests

TEST(AwqSearch, ScalesArePowersOfTheMeanMagnitudes) {
  for (const Problem& p : problems(800)) {
    SCOPED_TRACE(text_of(p));
    const AwqScales got = search(p);
    ASSERT_TRUE(is_on_the_grid(got.exponent));
    const double a = got.exponent;
    EXPECT_TRUE(matches(
        as_tensor(got.scales), reference_scales(p, a), kScaleTolerance,
        {{{"max|x_j| instead of mean|x_j|", reference_scales(p, a, {.magnitude = Magnitude::kMax})},
          {"|mean x_j| instead of mean|x_j|", reference_scales(p, a, {.magnitude = Magnitude::kSignedMean})},
          {"the magnitude of the weights; salience is that of the activations",
           reference_scales(p, a, {.magnitude = Magnitude::kWeights})},
          {"scales that are not divided by sqrt(max s * min s)",
           reference_scales(p, a, {.around_one = false})},
          {"1 / s_j: the weights of loud channels must grow", reference_scales(p, a, {.inverted = true})}}}))
        << "at the exponent " << a;
  }
}

TEST(AwqSearch, ErrorIsThatOfTheOutputs) {
  for (const Problem& p : problems(810)) {
    SCOPED_TRACE(text_of(p));
    const AwqScales got = search(p);
    ASSERT_TRUE(is_on_the_grid(got.exponent));
    const double expected = reference_error(p, got.exponent);
    EXPECT_TRUE(matches_value(
        got.error, expected, kErrorTolerance,
        {{{"the error of the weights; that of the outputs counts",
           reference_error(p, got.exponent, ErrorOf::kWeights)},
          {"quantized weights that are not divided by s_j again",
           reference_error(p, got.exponent, ErrorOf::kOutputsWithScaledWeights)},
          {"the most active 1 % of the channels kept in full precision: AWQ scales them up and quantizes all",
           error_with_channels_kept(p)},
          {"a sum over the outputs instead of their mean", expected * static_cast<double>(p.w.dim(0))},
          {"a sum over rows and outputs instead of their mean",
           expected * static_cast<double>(p.w.dim(0) * p.x.dim(0))},
          {"the root of the mean square", std::sqrt(expected)}}}))
        << "at the exponent " << got.exponent;
  }
}

TEST(AwqSearch, PlainErrorIsThatOfTheUnscaledWeights) {
  for (const Problem& p : problems(820)) {
    SCOPED_TRACE(text_of(p));
    const AwqScales got = search(p);
    EXPECT_TRUE(matches_value(
        got.plain_error, reference_error(p, 0.0), kErrorTolerance,
        {{{"the error of the chosen exponent", got.error},
          {"the error of the weights; that of the outputs counts",
           reference_error(p, 0.0, ErrorOf::kWeights)},
          {"the error of the exponent 1/20: 0 is one of the twenty", reference_error(p, 0.05)}}}));
  }
}

/// Why somebody may have chosen this exponent; empty when it is not known.
std::string likely_choice(const Problem& p, double exponent) {
  if (exponent == best_exponent(errors_of_the_grid(p, ErrorOf::kWeights))) {
    return "\nLikely cause: this is best for the error of the weights; that of the outputs counts.";
  }
  if (exponent == best_exponent(errors_of_the_grid(p, ErrorOf::kOutputsWithScaledWeights))) {
    return "\nLikely cause: this is best when quantized weights are not divided by s_j again.";
  }
  return "";
}

TEST(AwqSearch, ChoosesTheExponentWithTheSmallestError) {
  for (const Problem& p : problems(830)) {
    SCOPED_TRACE(text_of(p));
    const AwqScales got = search(p);
    ASSERT_TRUE(is_on_the_grid(got.exponent));
    const std::vector<double> errors = errors_of_the_grid(p);
    const double chosen = errors[static_cast<std::size_t>(grid_index(got.exponent))];
    const double least = *std::ranges::min_element(errors);
    EXPECT_TRUE(chosen <= least * (1.0 + kErrorTolerance))
        << "the output error is " << chosen << " at the exponent " << got.exponent << ", and " << least
        << " at " << best_exponent(errors) << (chosen > least ? likely_choice(p, got.exponent) : "");
  }
}

TEST(AwqSearch, ExponentZeroWinsWhereScalingHurts) {
  // Each group has one loud channel, whose weights are the group's largest and on the grid exactly. Scaled
  // up, they only make the grid of the others coarser.
  constexpr int kGroup = 16;
  Problem p = random_problem({33, 24, 3 * kGroup}, {.bits = 4, .group_size = kGroup}, 840);
  kit::Rng rng = make_rng(841);
  rng.fill_uniform(p.w.span(), -1.7F, 1.7F);
  for (std::int64_t o = 0; o < p.w.dim(0); ++o) {
    for (std::int64_t j = 5; j < p.w.dim(1); j += kGroup) p.w(o, j) = rng.below(2) == 0 ? 1.75F : -1.75F;
  }
  const AwqScales got = search(p);
  EXPECT_EQ(got.exponent, 0.0)
      << "output errors: chosen " << got.error << ", without scaling " << reference_error(p, 0.0)
      << (got.exponent == 0.05
              ? "\nLikely cause: the exponent 0 is not tried, so that AWQ can become worse than no scaling."
              : "");
  EXPECT_EQ(got.error, got.plain_error);
  EXPECT_TRUE(matches(as_tensor(got.scales), Tensor<float>({p.x.dim(1)}, 1.0F), {})) << "m^0 is 1";
}

TEST(AwqSearch, FirstOfEqualErrorsWins) {
  Problem p = random_problem({5, 3, 33}, {.bits = 4, .group_size = 8}, 850);
  std::ranges::fill(p.w.span(), 0.0F);  // all errors are 0
  const AwqScales got = search(p);
  EXPECT_EQ(got.exponent, 0.0) << (got.exponent == 0.95 ? "Likely cause: the last of equal errors wins."
                                                        : "");
  EXPECT_EQ(got.error, 0.0);
  EXPECT_EQ(got.plain_error, 0.0);
  EXPECT_TRUE(matches(as_tensor(got.scales), Tensor<float>({33}, 1.0F), {})) << "m^0 is 1";
}

TEST(AwqSearch, SilentChannelsGetTheScaleOfVerySmallOnes) {
  Problem p = random_problem({33, 32, 64}, {.bits = 4, .group_size = 32}, 860);
  for (const std::int64_t silent : {0, 17, 63}) {
    for (std::int64_t t = 0; t < p.x.dim(0); ++t) p.x(t, silent) = 0.0F;
  }
  constexpr auto kHint =
      "a channel whose activations are all 0 counts as 1e-4: was mean|x_j| bounded from below?";
  AwqScales got;
  try {
    got = search(p);
  } catch (const kit::Error& error) {
    FAIL() << error.what() << "\n" << kHint;
  }
  ASSERT_TRUE(is_on_the_grid(got.exponent));
  EXPECT_TRUE(matches(as_tensor(got.scales), reference_scales(p, got.exponent), kScaleTolerance))
      << "at the exponent " << got.exponent << "; " << kHint;
  EXPECT_GT(got.exponent, 0.0) << "with outliers some scaling is best; " << kHint;
}

TEST(AwqSearch, OneOfEverything) {
  Problem p = random_problem({1, 1, 1}, {.bits = 4, .group_size = 128}, 870);
  const AwqScales got = search(p);
  EXPECT_TRUE(is_on_the_grid(got.exponent));
  EXPECT_TRUE(matches(as_tensor(got.scales), Tensor<float>({1}, 1.0F), {1e-6, 0.0}))
      << "a single scale is divided by itself";
  EXPECT_LE(got.error, got.plain_error);
}

TEST(AwqSearch, RefusesWhatCannotBe) {
  const GroupConfig grid{.bits = 4, .group_size = 8};
  const Tensor<float> x({3, 8}, 1.0F);
  const Tensor<float> w({5, 8}, 1.0F);
  const auto call = [&](TensorView<const float> inputs, TensorView<const float> weights) {
    return [=] { (void)lab04::search_awq_scales(inputs, weights, grid); };
  };
  const Tensor<float> narrow({3, 7}, 1.0F);
  const Tensor<float> flat({8}, 1.0F);
  const Tensor<float> no_rows({0, 8});
  EXPECT_TRUE(throws_error(call(narrow, w))) << "x [3, 7], w [5, 8]";
  EXPECT_TRUE(throws_error(call(flat, w))) << "x [8], w [5, 8]";
  EXPECT_TRUE(throws_error(call(x, flat))) << "x [3, 8], w [8]";
  EXPECT_TRUE(throws_error(call(no_rows, w))) << "no rows of inputs";
  for (const float bad : {kNan, kInfinity, -kInfinity}) {
    Tensor<float> bad_x = kit::clone(x.view());
    bad_x(2, 7) = bad;
    EXPECT_TRUE(throws_error(call(bad_x, w))) << "an input is " << bad;
    Tensor<float> bad_w = kit::clone(w.view());
    bad_w(4, 0) = bad;
    EXPECT_TRUE(throws_error(call(x, bad_w))) << "a weight is " << bad;
  }
}

// -------------------------------------------------------------------------------------------------- folding

/// A quotient or a product, also as a product with 1 / s: two roundings of 6e-8.
constexpr kit::Tolerance kFoldTolerance{0.0, 5e-7};

struct Fold {
  Tensor<float> before;  // gain [in, 1], or previous [in, any]
  Tensor<float> w;       // [out, in]
  std::vector<float> scales;
};

Fold random_fold(std::int64_t in, std::int64_t any, std::int64_t out, std::uint64_t stream) {
  kit::Rng rng = make_rng(stream);
  Fold fold{random_tensor({in, any}, rng), random_tensor({out, in}, rng), {}};
  for (std::int64_t j = 0; j < in; ++j) {
    fold.scales.push_back(static_cast<float>(std::exp(1.5 * rng.normal())));
  }
  return fold;
}

using Rescale = std::function<float(float value, float scale)>;
float times(float value, float scale) {
  return value * scale;
}
float over(float value, float scale) {
  return value / scale;
}

Tensor<float> rescale_rows(const Tensor<float>& m, const std::vector<float>& s, const Rescale& f) {
  Tensor<float> result = kit::clone(m.view());
  for (std::int64_t i = 0; i < m.dim(0); ++i) {
    for (float& value : result.row(i)) value = f(value, s[static_cast<std::size_t>(i) % s.size()]);
  }
  return result;
}

Tensor<float> rescale_columns(const Tensor<float>& m, const std::vector<float>& s, const Rescale& f) {
  Tensor<float> result = kit::clone(m.view());
  for (std::int64_t i = 0; i < m.dim(0); ++i) {
    for (std::size_t j = 0; j < result.row(i).size(); ++j) {
      result.row(i)[j] = f(result.row(i)[j], s[j % s.size()]);
    }
  }
  return result;
}

/// [out, in] taken for [in, out].
Tensor<float> rescale_as_if_transposed(const Tensor<float>& m, const std::vector<float>& s) {
  Tensor<float> result = kit::clone(m.view());
  for (std::int64_t i = 0; i < m.size(); ++i) result.data()[i] *= s[static_cast<std::size_t>(i / m.dim(0))];
  return result;
}

/// y(t, o) = sum_j (sum_i z(t, i) before(j, i)) w(o, j); with one column `before` is the gain of a norm.
Tensor<float> outputs_of(const Tensor<float>& before, const Tensor<float>& w) {
  kit::Rng rng = make_rng(880);
  const Tensor<float> z = random_tensor({3, before.size()}, rng);
  Tensor<float> y({3, w.dim(0)});
  for (std::int64_t t = 0; t < 3; ++t) {
    for (std::int64_t o = 0; o < w.dim(0); ++o) {
      double sum = 0.0;
      for (std::int64_t i = 0; i < before.size(); ++i) {
        const std::int64_t j = i / before.dim(1);
        sum += double{z(t, i)} * double{before.data()[i]} * double{w(o, j)};
      }
      y(t, o) = static_cast<float>(sum);
    }
  }
  return y;
}

/// What goes wrong with the part before the weights, whose rows belong to channels.
std::vector<KnownMistake> mistakes_before(const Fold& fold) {
  return {{"values that are not divided: the inverse must be folded in, or the layer's function changes",
           fold.before},
          {"values multiplied by s_j: they are to be divided", rescale_rows(fold.before, fold.scales, times)},
          {"columns divided by s_i: channel j is row j of the linear before",
           rescale_columns(fold.before, fold.scales, over)},
          {"a scale that is applied twice",
           rescale_rows(rescale_rows(fold.before, fold.scales, over), fold.scales, over)}};
}

std::vector<KnownMistake> mistakes_in_weights(const Fold& fold) {
  return {{"weights that are not multiplied", fold.w},
          {"weights divided by s_j: they are to be multiplied", rescale_columns(fold.w, fold.scales, over)},
          {"scales along the outputs: s_j belongs to the input channel j, a column of [out, in]",
           rescale_rows(fold.w, fold.scales, times)},
          {"weights read as [in, out] instead of [out, in]", rescale_as_if_transposed(fold.w, fold.scales)},
          {"a scale that is applied twice",
           rescale_columns(rescale_columns(fold.w, fold.scales, times), fold.scales, times)}};
}

/// `before` and `w` are the student's results for `fold`.
void expect_folded(const Fold& fold, const Tensor<float>& before, const Tensor<float>& w) {
  EXPECT_TRUE(
      matches(before, rescale_rows(fold.before, fold.scales, over), kFoldTolerance, mistakes_before(fold)))
      << "in what comes before the weights";
  EXPECT_TRUE(
      matches(w, rescale_columns(fold.w, fold.scales, times), kFoldTolerance, mistakes_in_weights(fold)))
      << "in the weights";
}

void expect_same_function(const Fold& fold, const Tensor<float>& before, const Tensor<float>& w) {
  const Tensor<float> old = outputs_of(fold.before, fold.w);
  double square = 0.0;
  for (const float y : old.span()) square += double{y} * double{y};
  // Each product has two roundings of 6e-8 more than before; their sum is within 1e-6 of the outputs' size.
  const double size = std::sqrt(square / static_cast<double>(old.size()));
  EXPECT_TRUE(matches(outputs_of(before, w), old, {5e-6 * size, 0.0},
                      {{{"the gain or linear before left as it was", outputs_of(fold.before, w)},
                        {"weights left as they were", outputs_of(before, fold.w)},
                        {"s_j on both sides: one must be divided",
                         outputs_of(rescale_rows(fold.before, fold.scales, times), w)}}}))
      << "folding scales must not change what the layer computes";
}

void fold_into_norm(const Fold& fold, Tensor<float>& gain, Tensor<float>& w) {
  lab04::fold_into_norm(fold.scales, gain.span(), w);
}
void fold_into_linear(const Fold& fold, Tensor<float>& previous, Tensor<float>& w) {
  lab04::fold_into_linear(fold.scales, previous, w);
}

TEST(FoldIntoNorm, DividesTheGainAndMultipliesTheWeights) {
  for (const auto& [in, out] : std::vector<std::pair<int, int>>{{1, 1}, {33, 31}, {64, 64}, {100, 7}}) {
    SCOPED_TRACE(fmt::format("{} channels, {} outputs", in, out));
    const Fold fold = random_fold(in, 1, out, 881);
    Tensor<float> gain = kit::clone(fold.before.view());
    Tensor<float> w = kit::clone(fold.w.view());
    fold_into_norm(fold, gain, w);
    expect_folded(fold, gain, w);
    expect_same_function(fold, gain, w);
  }
}

TEST(FoldIntoLinear, DividesRowsBeforeAndMultipliesColumns) {
  for (const auto& [in, any, out] :
       std::vector<std::array<int, 3>>{{1, 1, 1}, {33, 20, 31}, {40, 40, 40}, {100, 7, 9}, {9, 100, 33}}) {
    SCOPED_TRACE(fmt::format("{} channels from {}, {} outputs", in, any, out));
    const Fold fold = random_fold(in, any, out, 882);
    Tensor<float> previous = kit::clone(fold.before.view());
    Tensor<float> w = kit::clone(fold.w.view());
    fold_into_linear(fold, previous, w);
    expect_folded(fold, previous, w);
    expect_same_function(fold, previous, w);
  }
}

/// Both folds refuse these in the same way, and leave everything as it was.
void expect_refuses_bad_scales(void (*run)(const Fold&, Tensor<float>&, Tensor<float>&), std::int64_t any) {
  for (const float bad : {0.0F, -1.0F, kNan, kInfinity}) {
    Fold fold = random_fold(33, any, 5, 883);
    fold.scales.back() = bad;
    Tensor<float> before = kit::clone(fold.before.view());
    Tensor<float> w = kit::clone(fold.w.view());
    EXPECT_TRUE(throws_error([&] { run(fold, before, w); })) << "the last scale is " << bad;
    EXPECT_TRUE(matches(before, fold.before, {})) << "after an error nothing may have changed";
    EXPECT_TRUE(matches(w, fold.w, {})) << "after an error nothing may have changed";
  }
}

/// A fold of `n_scales` scales into `before` [in_before, any] and w [5, in_w].
void expect_refuses_shapes(void (*run)(const Fold&, Tensor<float>&, Tensor<float>&), std::int64_t any) {
  for (const auto& [n_scales, in_before, in_w] :
       std::vector<std::array<int, 3>>{{8, 8, 9}, {8, 7, 8}, {7, 8, 8}, {0, 8, 8}}) {
    const Fold fold{Tensor<float>({in_before, any}, 1.0F), Tensor<float>({5, in_w}, 1.0F),
                    std::vector<float>(static_cast<std::size_t>(n_scales), 2.0F)};
    Tensor<float> before = kit::clone(fold.before.view());
    Tensor<float> w = kit::clone(fold.w.view());
    EXPECT_TRUE(throws_error([&] { run(fold, before, w); }))
        << n_scales << " scales, " << in_before << " channels before, " << in_w << " in the weights";
    EXPECT_TRUE(matches(before, fold.before, {})) << "after an error nothing may have changed";
    EXPECT_TRUE(matches(w, fold.w, {})) << "after an error nothing may have changed";
  }
}

TEST(FoldIntoNorm, RefusesWhatCannotBeAndChangesNothing) {
  expect_refuses_bad_scales(fold_into_norm, 1);
  expect_refuses_shapes(fold_into_norm, 1);
}

TEST(FoldIntoLinear, RefusesWhatCannotBeAndChangesNothing) {
  expect_refuses_bad_scales(fold_into_linear, 6);
  expect_refuses_shapes(fold_into_linear, 6);
}

}  // namespace
