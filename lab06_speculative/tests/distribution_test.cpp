#include "lab06/distribution.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kit/testing.h"
#include "known_distribution.h"
#include "speculation_reference.h"

namespace {

using kit::testing::make_rng;
using kit::testing::throws_error;
using lab06::sample;
using lab06::SamplingRule;
using lab06::to_distribution;
using lab06_tests::all_match;
using lab06_tests::KnownDistribution;
using lab06_tests::matches_distribution;
using lab06_tests::reference_distribution;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// exp((a - b) / T) and exp(a / T - b / T) differ by the rounding of |logit / T|, here up to 1e4, times 2^-53:
// 1e-12. A computation in float is wrong by 1e-7. What a cut dropped is 0 exactly: no absolute tolerance but
// for numbers too small to have 53 bits.
constexpr double kRelative = 1e-10;
constexpr double kAbsolute = 1e-300;

/// What one test asks; all against the definition, and the classic mistakes.
class Questions {
 public:
  void add(const std::vector<float>& logits, const SamplingRule& rule) {
    cases_.push_back({fmt::format("{} logits, temperature {}, top_k {}, top_p {}", logits.size(),
                                  rule.temperature, rule.top_k, rule.top_p),
                      to_distribution(logits, rule), reference_distribution(logits, rule),
                      [=] { return lab06_tests::wrong_distributions(logits, rule); }});
  }
  testing::AssertionResult all_right() const { return all_match(cases_, kAbsolute, kRelative); }

 private:
  std::vector<lab06_tests::Case> cases_;
};

std::vector<float> random_logits(int vocab_size, float stddev, kit::Rng& rng) {
  std::vector<float> logits(static_cast<std::size_t>(vocab_size));
  rng.fill_normal(logits, stddev);
  return logits;
}

/// A top_p that no rounding can tell apart from its neighbours: the middle between two sums of the sorted
/// distribution that top_k leaves.
double unambiguous_top_p(std::span<const float> logits, const SamplingRule& rule, kit::Rng& rng) {
  std::vector<double> p = reference_distribution(logits, {rule.temperature, rule.top_k, 1.0});
  std::ranges::sort(p, std::ranges::greater());
  std::vector<double> middles;
  double sum = 0.0;
  for (const double x : p) {
    if (x > 1e-9) middles.push_back(sum + x / 2.0);
    sum += x;
  }
  return middles[rng.below(static_cast<std::uint32_t>(middles.size()))];
}

TEST(Distribution, ByHand) {
  // Differences of ln 2: weights 1, 1/2, 1/4, 1/4.
  const auto ln2 = static_cast<float>(std::log(2.0));
  const std::vector<float> logits = {-1.0F - ln2, -1.0F, -1.0F - 2 * ln2, -1.0F - 2 * ln2};
  const std::vector<double> expected = {0.25, 0.5, 0.125, 0.125};
  // The logits are floats: ln 2 is off by 2^-25.
  EXPECT_TRUE(matches_distribution(to_distribution(logits, {}), expected, 2e-7, 0.0));
  const std::vector<double> colder = {0.2 / 1.1, 0.8 / 1.1, 0.05 / 1.1, 0.05 / 1.1};  // squares
  EXPECT_TRUE(matches_distribution(to_distribution(logits, {.temperature = 0.5}), colder, 2e-7, 0.0));
  const std::vector<double> two = {1.0 / 3.0, 2.0 / 3.0, 0.0, 0.0};
  EXPECT_TRUE(matches_distribution(to_distribution(logits, {.top_k = 2}), two, 2e-7, 0.0));
  EXPECT_TRUE(matches_distribution(to_distribution(logits, {.top_p = 0.6}), two, 2e-7, 0.0));
}

TEST(Distribution, SumsToOne) {
  kit::Rng rng = make_rng(101);
  for (const int vocab_size : {1, 31, 33, 1000, 2048}) {
    for (const SamplingRule& rule : {SamplingRule{}, SamplingRule{0.3, 5, 1.0}, SamplingRule{1.4, 0, 0.7}}) {
      const std::vector<double> p = to_distribution(random_logits(vocab_size, 3.0F, rng), rule);
      ASSERT_EQ(std::ssize(p), vocab_size);
      EXPECT_NEAR(std::accumulate(p.begin(), p.end(), 0.0), 1.0, 1e-12);
    }
  }
}

TEST(Distribution, TemperatureMatchesTheDefinition) {
  Questions questions;
  kit::Rng rng = make_rng(102);
  for (const double temperature : {0.05, 0.5, 0.8, 1.0, 1.7, 20.0}) {
    for (const int vocab_size : {1, 31, 33, 1000}) {
      questions.add(random_logits(vocab_size, 3.0F, rng), {.temperature = temperature});
    }
  }
  EXPECT_TRUE(questions.all_right());
}

TEST(Distribution, TemperatureZeroIsTheLargestLogit) {
  Questions questions;
  kit::Rng rng = make_rng(103);
  for (const int vocab_size : {1, 2, 33, 1000}) {
    questions.add(random_logits(vocab_size, 3.0F, rng), {.temperature = 0.0});
    questions.add(random_logits(vocab_size, 3.0F, rng), {.temperature = 0.0, .top_k = 7, .top_p = 0.4});
  }
  EXPECT_TRUE(questions.all_right());
}

TEST(Distribution, TemperatureZeroTiesGoToTheLowestId) {
  Questions questions;
  const std::vector<float> logits = {0.5F, 2.0F, -1.0F, 2.0F, 2.0F};
  questions.add(logits, {.temperature = 0.0});
  EXPECT_TRUE(questions.all_right());
}

TEST(Distribution, HugeAndTinyLogits) {
  Questions questions;
  kit::Rng rng = make_rng(104);
  for (const float offset : {-8000.0F, 8000.0F}) {
    std::vector<float> logits = random_logits(33, 2.0F, rng);
    for (float& x : logits) x += offset;
    questions.add(logits, {});
    questions.add(logits, {.top_k = 5, .top_p = 1.0});
  }
  // Differences as large as floats have them: one token, at any temperature.
  const std::vector<float> extreme = {-3e38F, 3e38F, 0.0F};
  questions.add(extreme, {});
  questions.add(extreme, {.temperature = 1e-3});
  EXPECT_TRUE(questions.all_right());
}

TEST(Distribution, TopKMatchesTheDefinition) {
  Questions questions;
  kit::Rng rng = make_rng(105);
  for (const int vocab_size : {1, 31, 1000}) {
    for (const int top_k : {1, 2, 30, 31, 32, 5000}) {
      questions.add(random_logits(vocab_size, 3.0F, rng), {.temperature = 0.8, .top_k = top_k});
    }
  }
  EXPECT_TRUE(questions.all_right());
}

TEST(Distribution, TopKCutsBetweenEqualLogits) {
  Questions questions;
  // Two of the three 2.0 stay, the ones with the lower ids; the larger 3.0 comes last and stays.
  const std::vector<float> logits = {2.0F, 1.0F, 2.0F, 2.0F, 0.0F, 3.0F};
  questions.add(logits, {.top_k = 3});
  kit::Rng rng = make_rng(106);
  std::vector<float> coarse(200);  // many ties everywhere
  for (float& x : coarse) x = static_cast<float>(rng.below(6));
  for (const int top_k : {1, 7, 50, 199}) questions.add(coarse, {.temperature = 1.3, .top_k = top_k});
  EXPECT_TRUE(questions.all_right());
}

TEST(Distribution, TopPMatchesTheDefinition) {
  Questions questions;
  kit::Rng rng = make_rng(107);
  for (const int vocab_size : {2, 31, 33, 1000}) {
    for (const double temperature : {0.7, 1.0, 1.5}) {
      for (int repeat = 0; repeat < 4; ++repeat) {
        const std::vector<float> logits = random_logits(vocab_size, 2.0F, rng);
        SamplingRule rule{.temperature = temperature};
        rule.top_p = unambiguous_top_p(logits, rule, rng);
        questions.add(logits, rule);
      }
    }
  }
  EXPECT_TRUE(questions.all_right());
}

TEST(Distribution, TopPKeepsTheTokenThatCrosses) {
  Questions questions;
  // 0.64, 0.24, 0.09, 0.03: 0.7 needs two tokens, 0.9 three.
  const std::vector<float> logits = {-1.0F, 2.0F, 1.0F, 0.0F};
  questions.add(logits, {.top_p = 0.7});
  questions.add(logits, {.top_p = 0.9});
  questions.add(logits, {.top_p = 0.5});    // the first alone crosses
  questions.add(logits, {.top_p = 1e-12});  // at least one token stays
  EXPECT_TRUE(questions.all_right());
}

TEST(Distribution, TopPCutsBetweenEqualLogits) {
  Questions questions;
  // Eight of 1/8 each: five reach 0.55, and they are the first five.
  const std::vector<float> logits(8, 1.25F);
  questions.add(logits, {.top_p = 0.55});
  const std::vector<float> mixed = {0.0F, 1.0F, 0.0F, 0.0F, 1.0F, 0.0F};
  questions.add(mixed, {.top_p = 0.3});
  questions.add(mixed, {.top_p = 0.75});
  EXPECT_TRUE(questions.all_right());
}

TEST(Distribution, TopPOneKeepsEverything) {
  Questions questions;
  // The first token's probability rounds to 1; the others stay all the same.
  const std::vector<float> logits = {60.0F, 0.0F, -5.0F};
  questions.add(logits, {});
  questions.add(logits, {.top_k = 2});
  EXPECT_TRUE(questions.all_right());
}

TEST(Distribution, TemperatureThenTopKThenTopP) {
  Questions questions;
  kit::Rng rng = make_rng(108);
  for (const double temperature : {0.6, 1.0, 1.6}) {
    for (const int top_k : {3, 8, 20}) {
      for (int repeat = 0; repeat < 4; ++repeat) {
        const std::vector<float> logits = random_logits(33, 1.5F, rng);
        SamplingRule rule{.temperature = temperature, .top_k = top_k};
        rule.top_p = unambiguous_top_p(logits, rule, rng);
        questions.add(logits, rule);
      }
    }
  }
  EXPECT_TRUE(questions.all_right());
}

TEST(Distribution, MinusInfinityHasProbabilityZero) {
  Questions questions;
  const std::vector<float> logits = {-kInfinity, 1.0F, -kInfinity, 0.0F, -1.0F};
  for (const SamplingRule& rule : {SamplingRule{}, SamplingRule{0.0, 0, 1.0}, SamplingRule{2.0, 4, 1.0},
                                   SamplingRule{0.5, 2, 1.0}, SamplingRule{1.0, 0, 0.8}}) {
    questions.add(logits, rule);
  }
  questions.add(std::vector<float>{-kInfinity, -7.0F}, {});
  EXPECT_TRUE(questions.all_right());
}

TEST(Distribution, RejectsLogitsThatCannotBe) {
  const std::vector<float> nan = {0.0F, 1.0F, 2.0F, kNan, 1.0F};
  const std::vector<float> infinite = {0.0F, 1.0F, kInfinity, 0.0F};
  const std::vector<float> nothing = {-kInfinity, -kInfinity};
  for (const double temperature : {0.0, 1.0}) {
    const SamplingRule rule{.temperature = temperature};
    EXPECT_TRUE(throws_error([&] { to_distribution({}, rule); }));
    EXPECT_TRUE(throws_error([&] { to_distribution(nan, rule); }, "3"));
    EXPECT_TRUE(throws_error([&] { to_distribution(infinite, rule); }, "2"));
    EXPECT_TRUE(throws_error([&] { to_distribution(nothing, rule); }));
  }
}

TEST(Distribution, RejectsRulesThatCannotBe) {
  const std::vector<float> logits = {0.0F, 1.0F};
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  for (const double temperature : {-1.0, -1e-9, nan, infinity}) {
    EXPECT_TRUE(throws_error([&] { to_distribution(logits, {.temperature = temperature}); }));
  }
  EXPECT_TRUE(throws_error([&] { to_distribution(logits, {.top_k = -1}); }, "-1"));
  for (const double top_p : {0.0, -0.5, 1.0001, nan}) {
    EXPECT_TRUE(throws_error([&] { to_distribution(logits, {.top_p = top_p}); }));
  }
}

/// What other readings of "inverse CDF" return.
std::vector<KnownDistribution> wrong_samples(std::span<const double> p, double u) {
  std::size_t at_most = 0;
  for (double sum = p[0]; at_most + 1 < p.size() && sum < u; sum += p[at_most]) ++at_most;
  std::size_t from_right = p.size() - 1;
  for (double sum = p.back(); from_right > 0 && sum <= u; sum += p[from_right]) --from_right;
  std::size_t last_id = 0;
  for (double sum = p[0]; last_id + 1 < p.size() && u >= sum; sum += p[last_id]) ++last_id;
  const auto likeliest = static_cast<double>(std::ranges::max_element(p) - p.begin());
  return {
      {"u <= sum: the first token whose sum reaches u; it must exceed u", {static_cast<double>(at_most)}},
      {"the last id where u is beyond all sums; it may have probability 0", {static_cast<double>(last_id)}},
      {"a sum from the right; it is summed from token 0", {static_cast<double>(from_right)}},
      {"the likeliest token, whatever u says", {likeliest}}};
}

/// What one test asks of sample.
class Draws {
 public:
  void add(const std::vector<double>& p, double u, std::size_t expected) {
    cases_.push_back({fmt::format("a token out of {}, u = {:.17g}", p.size(), u),
                      {static_cast<double>(sample(p, u))},
                      {static_cast<double>(expected)},
                      [=] { return wrong_samples(p, u); }});
  }
  testing::AssertionResult all_right() const { return all_match(cases_, 0.0, 0.0); }

 private:
  std::vector<lab06_tests::Case> cases_;
};

TEST(Sample, EveryTokenHasItsInterval) {
  Draws draws;
  kit::Rng rng = make_rng(110);
  for (const int vocab_size : {1, 2, 31, 33}) {
    std::vector<double> p = reference_distribution(random_logits(vocab_size, 1.0F, rng), {});
    for (std::size_t i = 3; i < p.size(); i += 4) p[i] = 0.0;  // some are impossible
    const double total = std::accumulate(p.begin(), p.end(), 0.0);
    double sum = 0.0;
    for (std::size_t i = 0; i < p.size(); ++i) {
      p[i] /= total;
      // Not near the ends of the interval, where the rounding of the sums decides.
      if (p[i] > 1e-9) {
        for (const double share : {0.001, 0.5, 0.999}) draws.add(p, sum + share * p[i], i);
      }
      sum += p[i];
    }
  }
  EXPECT_TRUE(draws.all_right());
}

TEST(Sample, SumMustExceedU) {
  Draws draws;
  const std::vector<double> quarters(4, 0.25);  // every sum is exact
  for (std::size_t i = 0; i < 4; ++i) draws.add(quarters, 0.25 * static_cast<double>(i), i);
  draws.add(quarters, std::nextafter(0.5, 0.0), 1);
  EXPECT_TRUE(draws.all_right());
}

TEST(Sample, NeverATokenOfProbabilityZero) {
  Draws draws;
  const std::vector<double> p = {0.0, 0.0, 0.5, 0.0, 0.5, 0.0};
  draws.add(p, 0.0, 2);  // "u <= sum" would take token 0
  draws.add(p, 0.5, 4);
  draws.add(p, std::nextafter(0.5, 0.0), 2);
  draws.add(p, std::nextafter(1.0, 0.0), 4);
  EXPECT_TRUE(draws.all_right());
}

TEST(Sample, RoundingAtTheEnd) {
  Draws draws;
  // Ten times 0.1 sums to 1 - 2^-53, which is also the largest u.
  std::vector<double> p(10, 0.1);
  const double largest = std::nextafter(1.0, 0.0);
  ASSERT_LE(std::accumulate(p.begin(), p.end(), 0.0), largest);
  draws.add(p, largest, 9);
  p.insert(p.end(), 5, 0.0);
  draws.add(p, largest, 9);
  EXPECT_TRUE(draws.all_right());
}

TEST(Sample, OnePossibleToken) {
  Draws draws;
  std::vector<double> p(1000, 0.0);
  p[617] = 1.0;
  for (const double u : {0.0, 0.3, std::nextafter(1.0, 0.0)}) draws.add(p, u, 617);
  EXPECT_TRUE(draws.all_right());
}

TEST(Sample, RejectsWhatCannotBe) {
  const std::vector<double> p = {0.5, 0.5};
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const double u : {-0.1, 1.0, 2.0, nan}) EXPECT_TRUE(throws_error([&] { sample(p, u); }));
  EXPECT_TRUE(throws_error([] { sample({}, 0.5); }));
  EXPECT_TRUE(throws_error([] { sample(std::vector<double>{0.0, 0.0, 0.0}, 0.5); }));
  EXPECT_TRUE(throws_error([&] { sample(std::vector<double>{0.5, nan, 0.5}, 0.9); }, "1"));
  EXPECT_TRUE(throws_error([] { sample(std::vector<double>{-0.5, 1.5}, 0.9); }, "0"));
}

}  // namespace
