#include "lab04/smoothquant.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "kit/testing.h"

namespace {

using kit::KnownMistake;
using kit::Tensor;
using kit::testing::make_rng;
using kit::testing::matches;
using kit::testing::random_tensor;
using kit::testing::throws_error;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Two powers and a quotient in float: a few roundings of 6e-8, times the logarithms of maxima up to 1e3.
constexpr kit::Tolerance kTolerance{0.0, 1e-5};

struct Problem {
  std::vector<float> x_max_abs;  // [in]
  std::vector<float> gain;       // [in]
  Tensor<float> w;               // [out, in]: several linears, one below the other
};

/// Three linears of `rows` outputs together: the weights of the last are the largest, and mostly negative.
Problem random_problem(std::int64_t in, std::int64_t rows, std::uint64_t stream) {
  kit::Rng rng = make_rng(stream);
  Problem p{{}, std::vector<float>(static_cast<std::size_t>(in)), random_tensor({rows, in}, rng, 0.1F)};
  rng.fill_normal(p.gain);
  for (std::int64_t j = 0; j < in; ++j) {
    p.x_max_abs.push_back((j % 16 == 5 ? 30.0F : 1.0F) * rng.uniform(0.5F, 6.0F));
    const float size = rng.uniform(0.5F, 3.0F);
    for (std::int64_t o = 0; o < rows; ++o) p.w(o, j) *= size;
    p.w(rows - 1, j) = -size;
  }
  return p;
}

struct Variant {
  bool exchanged = false;        ///< alpha and 1 - alpha
  bool first_linear = false;     ///< the maximum over one linear: the first `in` rows, as wq has
  bool signed_maximum = false;   ///< max w instead of max|w|
  bool product = false;          ///< times max|W|^(1-alpha) instead of divided by it
  bool mean_of_weights = false;  ///< mean|W_j| instead of the maximum
};

Tensor<float> reference_scales(const Problem& p, double alpha, const Variant& variant = {}) {
  const std::int64_t in = p.w.dim(1);
  const std::int64_t n_rows = variant.first_linear ? std::min(in, p.w.dim(0)) : p.w.dim(0);
  Tensor<float> scales({in});
  if (variant.exchanged) alpha = 1.0 - alpha;
  for (std::int64_t j = 0; j < in; ++j) {
    double w_max = 0.0;
    double sum = 0.0;
    for (std::int64_t o = 0; o < n_rows; ++o) {
      w_max = std::max(w_max, variant.signed_maximum ? double{p.w(o, j)} : std::abs(double{p.w(o, j)}));
      sum += std::abs(double{p.w(o, j)});
    }
    if (variant.mean_of_weights) w_max = sum / static_cast<double>(n_rows);
    const double x_max = p.x_max_abs[static_cast<std::size_t>(j)];
    const double power = std::pow(w_max, 1.0 - alpha);
    const double s = std::pow(x_max, alpha) * (variant.product ? power : 1.0 / power);
    scales(j) = x_max == 0.0 || w_max == 0.0 ? 1.0F : static_cast<float>(s);
  }
  return scales;
}

Tensor<float> as_tensor(std::span<const float> values) {
  Tensor<float> tensor({static_cast<std::int64_t>(values.size())});
  std::copy(values.begin(), values.end(), tensor.span().begin());
  return tensor;
}

std::vector<KnownMistake> scale_mistakes(const Problem& p, double alpha) {
  return {{"exponents exchanged: max|X|^(1-alpha) / max|W|^alpha",
           reference_scales(p, alpha, {.exchanged = true})},
          {"the maximum over the first linear alone: all that share the input count",
           reference_scales(p, alpha, {.first_linear = true})},
          {"max W instead of max|W|", reference_scales(p, alpha, {.signed_maximum = true})},
          {"max|X|^alpha * max|W|^(1-alpha): the second is a divisor",
           reference_scales(p, alpha, {.product = true})},
          {"mean|W| instead of max|W|", reference_scales(p, alpha, {.mean_of_weights = true})},
          {"alpha = 0.5 whatever alpha is", reference_scales(p, 0.5)}};
}

TEST(SmoothQuant, ScalesBalanceActivationsAndWeights) {
  for (const double alpha : {0.5, 0.75, 0.3, 0.0, 1.0}) {
    for (const auto& [in, rows] :
         std::vector<std::pair<std::int64_t, std::int64_t>>{{1, 2}, {33, 100}, {64, 128}, {100, 7}}) {
      SCOPED_TRACE(fmt::format("alpha {}, {} channels, {} outputs", alpha, in, rows));
      const Problem p = random_problem(in, rows, 900);
      const std::vector<float> got = lab04::smoothquant_scales(p.x_max_abs, p.w, alpha);
      EXPECT_TRUE(matches(as_tensor(got), reference_scales(p, alpha), kTolerance, scale_mistakes(p, alpha)));
    }
  }
}

TEST(SmoothQuant, ByHand) {
  // 16^0.5 / 4^0.5 = 2, and so on; alpha = 0.75 asks for 16^0.75 / 4^0.25.
  const std::vector<float> x_max_abs = {16.0F, 1.0F, 9.0F};
  Tensor<float> w({2, 3});
  const std::vector<float> values = {-4.0F, 0.25F, 1.0F, 1.0F, 0.0F, -1.0F};
  std::ranges::copy(values, w.span().begin());
  const auto expect = [&](double alpha, const std::vector<float>& expected) {
    const std::vector<float> got = lab04::smoothquant_scales(x_max_abs, w, alpha);
    EXPECT_TRUE(matches(as_tensor(got), as_tensor(expected), kTolerance)) << "alpha " << alpha;
  };
  expect(0.5, {2.0F, 2.0F, 3.0F});
  expect(0.75, {8.0F / std::sqrt(2.0F), std::sqrt(2.0F), 3.0F * std::sqrt(3.0F)});
  expect(1.0, {16.0F, 1.0F, 9.0F});
  expect(0.0, {0.25F, 4.0F, 1.0F});
}

TEST(SmoothQuant, SilentChannelsAreLeftAlone) {
  Problem p = random_problem(64, 40, 910);
  const std::vector<std::size_t> without_inputs = {0, 5, 31};
  const std::vector<std::size_t> without_weights = {5, 32, 63};
  for (const std::size_t j : without_inputs) p.x_max_abs[j] = 0.0F;
  for (const std::size_t j : without_weights) {
    for (std::int64_t o = 0; o < p.w.dim(0); ++o) p.w.row(o)[j] = 0.0F;
  }
  for (const double alpha : {0.5, 0.0, 1.0}) {
    const std::vector<float> got = lab04::smoothquant_scales(p.x_max_abs, p.w, alpha);
    ASSERT_EQ(got.size(), p.x_max_abs.size());
    for (const std::size_t j : {0, 5, 31, 32, 63}) {
      EXPECT_EQ(got[j], 1.0F) << "alpha " << alpha << ", channel " << j
                              << ", whose activations or weights are all 0: nothing is to be balanced";
    }
  }
}

// ------------------------------------------------------------------------------------------------ smoothing

// The scale's, and a rounding for the product or the quotient.
constexpr kit::Tolerance kSmoothTolerance{0.0, 1.2e-5};

Tensor<float> scaled_gain(const Problem& p, std::span<const float> s, bool divide = true) {
  Tensor<float> gain = as_tensor(p.gain);
  for (std::size_t j = 0; j < s.size(); ++j) gain.span()[j] *= divide ? 1.0F / s[j] : s[j];
  return gain;
}

Tensor<float> scaled_weights(const Problem& p, std::span<const float> s) {
  Tensor<float> w = kit::clone(p.w.view());
  for (std::int64_t o = 0; o < w.dim(0); ++o) {
    for (std::size_t j = 0; j < s.size(); ++j) w.row(o)[j] *= s[j];
  }
  return w;
}

Tensor<float> squared(const Tensor<float>& s) {
  Tensor<float> result = kit::clone(s.view());
  for (float& value : result.span()) value *= value;
  return result;
}

Tensor<float> inverse(const Tensor<float>& s) {
  Tensor<float> result = kit::clone(s.view());
  for (float& value : result.span()) value = 1.0F / value;
  return result;
}

TEST(SmoothQuant, SmoothingDividesTheGainAndMultipliesTheWeights) {
  for (const double alpha : {0.5, 0.8}) {
    SCOPED_TRACE(fmt::format("alpha {}", alpha));
    const Problem p = random_problem(33, 90, 920);
    Problem got = p;
    const std::vector<float> returned = lab04::smooth(p.x_max_abs, alpha, std::span(got.gain), got.w);
    const Tensor<float> s = reference_scales(p, alpha);
    const Tensor<float> exchanged = reference_scales(p, alpha, {.exchanged = true});
    const Tensor<float> first = reference_scales(p, alpha, {.first_linear = true});
    EXPECT_TRUE(matches(as_tensor(returned), s, kTolerance, scale_mistakes(p, alpha)))
        << "the scales returned";
    EXPECT_TRUE(matches(as_tensor(got.gain), scaled_gain(p, s.span()), kSmoothTolerance,
                        {{{"a gain that is not divided: the layer's function changes", as_tensor(p.gain)},
                          {"a gain multiplied by s_j: it is to be divided", scaled_gain(p, s.span(), false)},
                          {"scales that are applied twice", scaled_gain(p, squared(s).span())},
                          {"exchanged exponents", scaled_gain(p, exchanged.span())},
                          {"the maximum over the first linear alone", scaled_gain(p, first.span())}}}))
        << "the gain";
    EXPECT_TRUE(
        matches(got.w, scaled_weights(p, s.span()), kSmoothTolerance,
                {{{"weights that are not multiplied", p.w},
                  {"weights divided by s_j: they are to be multiplied", scaled_weights(p, inverse(s).span())},
                  {"scales that are applied twice", scaled_weights(p, squared(s).span())},
                  {"exchanged exponents", scaled_weights(p, exchanged.span())},
                  {"the maximum over the first linear alone", scaled_weights(p, first.span())}}}))
        << "the weights";
  }
}

TEST(SmoothQuant, SmoothedLayerComputesTheSame) {
  const Problem p = random_problem(100, 33, 930);
  Problem got = p;
  (void)lab04::smooth(p.x_max_abs, 0.5, std::span(got.gain), got.w);
  kit::Rng rng = make_rng(931);
  const Tensor<float> z = random_tensor({9, 100}, rng);
  const auto outputs = [&](const Problem& layer) {
    Tensor<float> y({9, layer.w.dim(0)});
    for (std::int64_t t = 0; t < y.dim(0); ++t) {
      for (std::int64_t o = 0; o < y.dim(1); ++o) {
        double sum = 0.0;
        for (std::size_t j = 0; j < layer.gain.size(); ++j) {
          sum += double{z.row(t)[j]} * double{layer.gain[j]} * double{layer.w.row(o)[j]};
        }
        y(t, o) = static_cast<float>(sum);
      }
    }
    return y;
  };
  // A sum of 100 products of size 0.2, each with two roundings of 6e-8 more than before.
  EXPECT_TRUE(matches(outputs(got), outputs(p), {2e-5, 0.0}))
      << "smoothing must not change a layer's function";
}

TEST(SmoothQuant, RefusesWhatCannotBeAndChangesNothing) {
  const Problem p = random_problem(8, 5, 940);
  const auto expect_refused = [](const Problem& bad, double alpha, const std::string& what) {
    EXPECT_TRUE(throws_error([&] { (void)lab04::smoothquant_scales(bad.x_max_abs, bad.w, alpha); })) << what;
    Problem after = bad;
    EXPECT_TRUE(throws_error([&] {
      (void)lab04::smooth(bad.x_max_abs, alpha, std::span(after.gain), after.w);
    })) << what;
    // Bit by bit, as a NaN is not equal to itself.
    EXPECT_EQ(std::memcmp(after.gain.data(), bad.gain.data(), bad.gain.size() * sizeof(float)), 0)
        << "the gain changed, in spite of " << what;
    EXPECT_EQ(
        std::memcmp(after.w.data(), bad.w.data(), static_cast<std::size_t>(bad.w.size()) * sizeof(float)), 0)
        << "weights changed, in spite of " << what;
  };
  for (const double alpha : {-0.1, 1.1, double{kNan}}) {
    expect_refused(p, alpha, fmt::format("alpha = {}", alpha));
  }
  for (const float bad : {-1.0F, kNan, kInfinity}) {
    Problem bad_maximum = p;
    bad_maximum.x_max_abs.back() = bad;
    expect_refused(bad_maximum, 0.5, fmt::format("a maximum of {}", bad));
  }
  for (const float bad : {kNan, kInfinity, -kInfinity}) {
    Problem bad_weight = p;
    bad_weight.w(4, 7) = bad;
    expect_refused(bad_weight, 0.5, fmt::format("a weight of {}", bad));
  }
  Problem few_maxima = p;
  few_maxima.x_max_abs.pop_back();
  expect_refused(few_maxima, 0.5, "7 maxima for 8 channels");
  Problem flat = p;
  flat.w = Tensor<float>({8}, 1.0F);
  expect_refused(flat, 0.5, "w of one dimension");
  Problem long_gain = p;
  long_gain.gain.push_back(1.0F);
  EXPECT_TRUE(throws_error([&] {
    (void)lab04::smooth(p.x_max_abs, 0.5, std::span(long_gain.gain), long_gain.w);
  })) << "a gain of 9 channels for 8";
}

}  // namespace
