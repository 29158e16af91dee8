#include "lab05/online_softmax.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "kit/testing.h"

namespace {

using kit::KnownMistake;
using kit::Tensor;
using kit::testing::KnownValue;
using kit::testing::matches;
using kit::testing::matches_value;
using kit::testing::throws_error;
using lab05::SoftmaxStatistics;
using Floats = std::vector<float>;
using Lengths = std::vector<std::size_t>;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();
constexpr float kLargest = std::numeric_limits<float>::max();

/// Each of n additions to l, and each rescaling (the exponential, within 1 ulp, and the product), may cost 1
/// to 3 roundings of 2^-24; the exponents' own rounding and a final division some more.
double tolerance(std::size_t n) {
  return (4.0 * static_cast<double>(n) + 64.0) * 0x1p-24;
}

double max_of(std::span<const float> scores) {
  double m = kMinusInfinity;
  for (const float score : scores) m = std::max(m, double{score});
  return m;
}

double weight(double score, double m) {
  return score == kMinusInfinity ? 0.0 : std::exp(score - m);
}

double sum_of(std::span<const float> scores) {
  double l = 0.0;
  for (const float score : scores) l += weight(score, max_of(scores));
  return l;
}

/// How a wrong l comes about: what happens to it when the maximum grows.
using Rescale = std::function<double(double l, double old_m, double m)>;

/// The maximum is taken a chunk at a time.
double sum_with(std::span<const float> scores, std::span<const std::size_t> lengths, const Rescale& rescale) {
  double m = kMinusInfinity;
  double l = 0.0;
  std::size_t begin = 0;
  for (const std::size_t length : lengths) {
    const std::span<const float> chunk = scores.subspan(begin, length);
    begin += length;
    const double old_m = m;
    m = std::max(m, max_of(chunk));
    if (m > old_m && l > 0.0) l = rescale(l, old_m, m);
    for (const float score : chunk) l += weight(score, m);
  }
  return l;
}

Lengths ones(std::size_t n) {
  return Lengths(n, 1);
}

std::vector<KnownValue> sum_mistakes(std::span<const float> scores, std::span<const std::size_t> lengths) {
  std::vector<KnownValue> mistakes;
  const Lengths single = ones(scores.size());
  for (const std::span<const std::size_t> by : {std::span<const std::size_t>(single), lengths}) {
    const auto with = [&](const Rescale& rescale) { return sum_with(scores, by, rescale); };
    mistakes.push_back({"an l that is not rescaled when m grows",  //
                        with([](double l, double, double) { return l; })});
    mistakes.push_back(
        {"an l that is rescaled twice when m grows",
         with([](double l, double old_m, double m) { return l * std::exp(2 * (old_m - m)); })});
    mistakes.push_back({"an l rescaled by exp(new m - old m): the sign is wrong",
                        with([](double l, double old_m, double m) { return l * std::exp(m - old_m); })});
    mistakes.push_back({"an l that starts again when m grows",  //
                        with([](double, double, double) { return 0.0; })});
  }
  const double m = max_of(scores);
  double base_2 = 0.0;
  double from_zero = 0.0;
  for (const float score : scores) {
    base_2 += std::exp2(score - m);
    from_zero += weight(score, std::max(m, 0.0));
  }
  mistakes.push_back({"powers of 2, where exp is the natural one", base_2});
  mistakes.push_back({"an m that starts at 0: all scores may be negative", from_zero});
  if (!lengths.empty()) {
    mistakes.push_back({"the last chunk alone: what came before is in so_far",
                        sum_of(scores.subspan(scores.size() - lengths.back()))});
  }
  return mistakes;
}

std::vector<KnownValue> max_mistakes(std::span<const float> scores) {
  return {
      {"an m that starts at 0: all scores may be negative", 0.0},
      {"the first score", scores.empty() ? 0.0 : double{scores.front()}},
      {"the last score", scores.empty() ? 0.0 : double{scores.back()}},
      {"FLT_MIN as the least float: it is the least positive one", double{std::numeric_limits<float>::min()}},
      {"-FLT_MAX in place of -infinity: no finite number may stand for a masked score", -double{kLargest}},
      {"-1e30 in place of -infinity: no finite number may stand for a masked score", double{-1e30F}},
      {"-1e9 in place of -infinity: no finite number may stand for a masked score", double{-1e9F}},
      {"-1e4 in place of -infinity: no finite number may stand for a masked score", double{-1e4F}}};
}

/// Between two calls there is nothing but the two numbers of SoftmaxStatistics: what was seen is gone.
SoftmaxStatistics feed(std::span<const float> scores, std::span<const std::size_t> lengths) {
  SoftmaxStatistics statistics;
  std::size_t begin = 0;
  for (const std::size_t length : lengths) {
    // A copy, so that no pointer leads to the other chunks.
    const Floats chunk(scores.begin() + static_cast<std::ptrdiff_t>(begin),
                       scores.begin() + static_cast<std::ptrdiff_t>(begin + length));
    begin += length;
    statistics = lab05::update_statistics(statistics, chunk);
  }
  return statistics;
}

void expect_statistics(const SoftmaxStatistics& got, std::span<const float> scores,
                       std::span<const std::size_t> lengths) {
  EXPECT_TRUE(matches_value(got.m, max_of(scores), 0.0, max_mistakes(scores)))
      << "m of " << scores.size() << " scores in " << lengths.size() << " chunks";
  EXPECT_TRUE(matches_value(got.l, sum_of(scores), tolerance(scores.size()), sum_mistakes(scores, lengths)))
      << "l of " << scores.size() << " scores in " << lengths.size() << " chunks";
}

void expect_statistics(std::span<const float> scores, std::span<const std::size_t> lengths) {
  expect_statistics(feed(scores, lengths), scores, lengths);
}

Floats random_scores(std::size_t n, kit::Rng& rng, float stddev = 3.0F, float mean = 0.0F) {
  Floats scores(n);
  rng.fill_normal(scores, stddev);
  for (float& score : scores) score += mean;
  return scores;
}

/// Random lengths, some of them 0, that sum to n.
Lengths random_lengths(std::size_t n, kit::Rng& rng) {
  Lengths lengths;
  while (n > 0) {
    const std::size_t length = std::min<std::size_t>(n, rng.below(9));
    lengths.push_back(length);
    n -= length;
  }
  lengths.push_back(0);
  return lengths;
}

// m = 3, l = exp(-2) + 1 + exp(-1).
TEST(OnlineSoftmax, ByHand) {
  const SoftmaxStatistics got = lab05::update_statistics({}, Floats{1.0F, 3.0F, 2.0F});
  EXPECT_EQ(got.m, 3.0F);
  EXPECT_NEAR(got.l, 1.503214724, 1e-6);
  const SoftmaxStatistics later = lab05::update_statistics(got, Floats{5.0F});
  EXPECT_EQ(later.m, 5.0F);
  EXPECT_NEAR(later.l, 1.203437963, 1e-6) << "1.5032 exp(3 - 5) + 1";
}

TEST(OnlineSoftmax, OneScoreAtATimeIsEnough) {
  kit::Rng rng = kit::testing::make_rng(500);
  for (const std::size_t n : {1U, 2U, 31U, 33U, 1000U}) {
    const Floats scores = random_scores(n, rng);
    expect_statistics(scores, ones(n));
    if (HasFailure()) return;
  }
}

TEST(OnlineSoftmax, ChunksOfAnyLength) {
  kit::Rng rng = kit::testing::make_rng(501);
  for (int i = 0; i < 50; ++i) {
    const Floats scores = random_scores(1 + rng.below(100), rng);
    expect_statistics(scores, random_lengths(scores.size(), rng));
    if (HasFailure()) return;
  }
  const Floats scores = random_scores(1000, rng);
  expect_statistics(scores, Lengths{1000});
  expect_statistics(scores, Lengths{999, 1});
  expect_statistics(scores, Lengths{0, 1, 999});
}

TEST(OnlineSoftmax, MaximumAtEveryPlace) {
  kit::Rng rng = kit::testing::make_rng(502);
  for (std::size_t at = 0; at < 12; ++at) {
    Floats scores = random_scores(12, rng, 1.0F);
    scores[at] = 4.0F;
    expect_statistics(scores, ones(12));
    expect_statistics(scores, Lengths{5, 7});
    if (HasFailure()) return;
  }
}

TEST(OnlineSoftmax, RisingScoresRescaleEveryTime) {
  kit::Rng rng = kit::testing::make_rng(503);
  for (const float step : {0.01F, 0.5F, 30.0F, 200.0F}) {  // exp(-200) is 0 in float
    Floats scores(777);
    for (std::size_t i = 0; i < scores.size(); ++i) {
      scores[i] = step * (static_cast<float>(i) - 500.0F + rng.uniform(0.0F, 0.5F));
    }
    SCOPED_TRACE(fmt::format("steps of about {}", step));
    expect_statistics(scores, ones(scores.size()));
    std::reverse(scores.begin(), scores.end());
    expect_statistics(scores, ones(scores.size()));
    if (HasFailure()) return;
  }
}

TEST(OnlineSoftmax, EqualScoresAreCounted) {
  constexpr std::size_t kScores = 100'000;
  for (const float score : {0.0F, -7.25F, 1e4F}) {
    const Floats scores(kScores, score);
    const SoftmaxStatistics got = feed(scores, Lengths(100, kScores / 100));
    EXPECT_EQ(got.m, score);
    // Whole numbers below 2^24 are exact in float, and exp(0) is exactly 1.
    EXPECT_EQ(got.l, static_cast<float>(kScores)) << "exp(0), as often as there are scores";
  }
}

TEST(OnlineSoftmax, ContinuesFromAnyStatistics) {
  kit::Rng rng = kit::testing::make_rng(504);
  for (int i = 0; i < 20; ++i) {
    const Floats scores = random_scores(40, rng);
    const std::size_t n_before = 1 + rng.below(39);
    const std::span<const float> all(scores);
    const SoftmaxStatistics before{.m = static_cast<float>(max_of(all.first(n_before))),
                                   .l = static_cast<float>(sum_of(all.first(n_before)))};
    expect_statistics(lab05::update_statistics(before, all.subspan(n_before)), scores,
                      Lengths{n_before, scores.size() - n_before});
    if (HasFailure()) return;
  }
}

TEST(OnlineSoftmax, MaskedScoresAddNothing) {
  kit::Rng rng = kit::testing::make_rng(505);
  for (int i = 0; i < 30; ++i) {
    Floats scores = random_scores(3 + rng.below(60), rng);
    for (float& score : scores) {
      if (rng.below(3) == 0) score = -kInfinity;
    }
    if (i % 3 != 1) scores.front() = scores[1] = -kInfinity;  // nothing but masked ones so far
    if (i % 3 != 2) scores.back() = -kInfinity;
    expect_statistics(scores, ones(scores.size()));
    expect_statistics(scores, random_lengths(scores.size(), rng));
    if (HasFailure()) return;
  }
}

TEST(OnlineSoftmax, AllMaskedIsAsIfThereWereNone) {
  for (const std::size_t n : {0U, 1U, 2U, 33U}) {
    const Floats scores(n, -kInfinity);
    for (const Lengths& lengths : {Lengths{n}, ones(n), Lengths{0, n, 0}}) {
      const SoftmaxStatistics got = feed(scores, lengths);
      EXPECT_TRUE(matches_value(got.m, -kInfinity, 0.0, max_mistakes(scores))) << n << " masked scores";
      EXPECT_TRUE(matches_value(
          got.l, 0.0, 0.0,
          std::vector<KnownValue>{
              {"exp(0) for every masked score: -infinity minus a stand-in for it", static_cast<double>(n)}}))
          << n << " masked scores (a NaN comes of -infinity - -infinity)";
      if (HasFailure()) return;
    }
  }
}

// Whoever starts with a finite number in place of -infinity finds it larger than these.
TEST(OnlineSoftmax, VeryNegativeScores) {
  kit::Rng rng = kit::testing::make_rng(506);
  for (const float level : {-2e4F, -1.5e5F, -2e9F, -2e30F, -3e38F, -kLargest}) {
    SCOPED_TRACE(fmt::format("scores of {}", level));
    Floats scores(9, level);
    expect_statistics(scores, ones(9));
    scores[0] = scores[4] = -kInfinity;
    expect_statistics(scores, ones(9));
    expect_statistics(scores, Lengths{3, 3, 3});
    // Around level, as far as floats lie that close together.
    for (float& score : scores) score += rng.uniform(0.0F, 5.0F);
    expect_statistics(scores, Lengths{4, 5});
    if (HasFailure()) return;
  }
}

TEST(OnlineSoftmax, LargeScoresDoNotOverflow) {
  kit::Rng rng = kit::testing::make_rng(507);
  for (const float level : {88.8F, 1e3F, 1e4F, 3e30F}) {  // exp(88.8) exceeds FLT_MAX
    Floats scores = random_scores(50, rng, 2.0F, level);
    scores[20] = -kInfinity;
    SCOPED_TRACE(fmt::format("scores around {}", level));
    expect_statistics(scores, ones(50));
    expect_statistics(scores, random_lengths(50, rng));
    if (HasFailure()) return;
  }
  // The difference of the two is beyond the largest float, and its exponential is 0 all the same.
  expect_statistics(Floats{-3e38F, 3e38F, -3e38F, 3e38F}, ones(4));
  expect_statistics(Floats{3e38F, -3e38F, -kInfinity}, ones(3));
}

TEST(OnlineSoftmax, NamesTheFirstScoreThatIsNone) {
  for (const float bad : {kNan, kInfinity}) {
    Floats scores(60, 0.5F);
    scores[37] = scores[58] = bad;
    Floats probabilities(60, kNan);
    EXPECT_TRUE(throws_error([&] { (void)lab05::update_statistics({}, scores); }, "37")) << bad;
    EXPECT_TRUE(throws_error([&] { lab05::online_softmax(scores, probabilities); }, "37")) << bad;
    scores[0] = bad;
    EXPECT_TRUE(throws_error([&] { (void)lab05::update_statistics({}, scores); }, "0")) << bad;
  }
}

TEST(OnlineSoftmax, RejectsStatisticsThatCannotBe) {
  const auto refuses = [](float m, float l) {
    return throws_error([&] { (void)lab05::update_statistics({.m = m, .l = l}, Floats{1.0F}); });
  };
  EXPECT_TRUE(refuses(kNan, 1.0F));
  EXPECT_TRUE(refuses(kInfinity, 1.0F));
  EXPECT_TRUE(refuses(2.0F, kNan));
  EXPECT_TRUE(refuses(2.0F, kInfinity));
  EXPECT_TRUE(refuses(2.0F, -1.0F));
  EXPECT_TRUE(refuses(2.0F, 0.0F)) << "there is a maximum, so there is a score, and its exp(0) is 1";
  EXPECT_TRUE(refuses(-kInfinity, 1.0F)) << "no score, but a sum";
}

std::vector<KnownMistake> probability_mistakes(std::span<const float> scores) {
  const double m = max_of(scores);
  const Lengths single = ones(scores.size());
  const double not_rescaled = sum_with(scores, single, [](double l, double, double) { return l; });
  double base_2_sum = 0.0;
  for (const float score : scores) base_2_sum += std::exp2(score - m);
  const auto n = static_cast<std::int64_t>(scores.size());
  std::vector<KnownMistake> mistakes = {
      {"probabilities that were not divided by l", Tensor<float>({n})},
      {"an l that is not rescaled when m grows", Tensor<float>({n})},
      {"powers of 2, where exp is the natural one", Tensor<float>({n})},
      {"the same probability for every masked key: a finite number stands for -infinity",
       Tensor<float>({n}, 1.0F / static_cast<float>(n))}};
  for (std::int64_t i = 0; i < n; ++i) {
    const double score = scores[static_cast<std::size_t>(i)];
    mistakes[0].result(i) = static_cast<float>(weight(score, m));
    mistakes[1].result(i) = static_cast<float>(weight(score, m) / not_rescaled);
    mistakes[2].result(i) = static_cast<float>(std::exp2(score - m) / base_2_sum);
  }
  return mistakes;
}

void expect_probabilities(const Floats& scores) {
  const kit::Shape shape{static_cast<std::int64_t>(scores.size())};
  Tensor<float> expected(shape);
  const double m = max_of(scores);
  const double l = sum_of(scores);
  for (std::size_t i = 0; i < scores.size(); ++i) {
    expected.span()[i] = l == 0.0 ? 0.0F : static_cast<float>(weight(scores[i], m) / l);
  }
  Tensor<float> got = kit::testing::nan_tensor(shape);
  lab05::online_softmax(scores, got.span());
  // Below the normal floats, 1.2e-38, a result has fewer digits, or is 0 on some machines. The rounding of
  // score - m, at most 88 where the exponential is not 0, is 2^-24 * 88 in the exponent.
  const kit::Tolerance within{.absolute = 1.2e-38, .relative = tolerance(scores.size()) + 88 * 0x1p-24};
  EXPECT_TRUE(matches(got, expected, within, probability_mistakes(scores))) << scores.size() << " scores";
}

TEST(OnlineSoftmax, ProbabilitiesAreThoseOfTheDefinition) {
  kit::Rng rng = kit::testing::make_rng(508);
  for (const std::size_t n : {0U, 1U, 2U, 31U, 33U, 1000U}) {
    for (const float stddev : {0.1F, 3.0F, 30.0F}) {
      expect_probabilities(random_scores(n, rng, stddev));
      if (HasFailure()) return;
    }
  }
}

TEST(OnlineSoftmax, MaskedProbabilitiesAreZero) {
  kit::Rng rng = kit::testing::make_rng(509);
  for (const std::size_t n : {2U, 5U, 33U}) {
    Floats scores = random_scores(n, rng);
    for (std::size_t i = rng.below(2); i < n; i += 2) scores[i] = -kInfinity;
    expect_probabilities(scores);
    expect_probabilities(Floats(n, -kInfinity));
    if (HasFailure()) return;
  }
}

TEST(OnlineSoftmax, ProbabilitiesOfExtremeScores) {
  kit::Rng rng = kit::testing::make_rng(510);
  for (const float level : {-2e30F, -3e38F, -kLargest, -1e4F, 1e4F, 3e38F}) {
    Floats scores = random_scores(20, rng, 1.0F, level);
    expect_probabilities(scores);
    scores[3] = -kInfinity;
    expect_probabilities(scores);
    if (HasFailure()) return;
  }
  expect_probabilities(Floats{-3e38F, 3e38F, -kInfinity, 3e38F});
}

TEST(OnlineSoftmax, RejectsLengthsThatDiffer) {
  const Floats scores(5, 1.0F);
  Floats probabilities(4);
  EXPECT_TRUE(throws_error([&] { lab05::online_softmax(scores, probabilities); }));
  probabilities.resize(6);
  EXPECT_TRUE(throws_error([&] { lab05::online_softmax(scores, probabilities); }));
}

}  // namespace
