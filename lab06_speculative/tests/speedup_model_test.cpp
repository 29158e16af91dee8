#include "lab06/speedup_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kit/testing.h"
#include "known_distribution.h"

namespace {

using kit::testing::KnownCount;
using kit::testing::KnownValue;
using kit::testing::make_rng;
using kit::testing::matches_count;
using kit::testing::matches_value;
using kit::testing::throws_error;
using lab06::RoundCounts;
using lab06_tests::all_match;
using lab06_tests::Case;
using lab06_tests::KnownDistribution;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// The quotient (1 - a^(g + 1)) / (1 - a) loses up to 4e-9 to cancellation, at a = 1 - 1e-9 (1 - a is exact,
// and so, nearer to 1, is 1 - a^n but for second-order terms). Every wrong formula is off by more than this.
constexpr double kRelative = 1e-7;

/// Sum over i = first .. last of alpha^i, from the small powers to the large ones.
double power_sum(double alpha, int first, int last) {
  double sum = 0.0;
  for (int i = last; i >= first; --i) sum += std::pow(alpha, i);
  return sum;
}

double reference_speedup(double alpha, int gamma, double draft_cost, double verify_cost) {
  return power_sum(alpha, 0, gamma) / (gamma * draft_cost + verify_cost);
}

void expect_tokens(double alpha, int gamma) {
  SCOPED_TRACE(fmt::format("alpha {:.17g}, gamma {}", alpha, gamma));
  const std::vector<KnownValue> mistakes = {
      {"1 + the sum of alpha^i from i = 0 to gamma - 1: the target's own token is counted twice",
       1.0 + power_sum(alpha, 0, gamma - 1)},
      {"1 + the sum of alpha^i from i = 0 to gamma: the target's own token is counted twice",
       1.0 + power_sum(alpha, 0, gamma)},
      {"the accepted tokens alone, without the target's own", power_sum(alpha, 1, gamma)},
      {"the sum to alpha^(gamma - 1): the last draft token is forgotten", power_sum(alpha, 0, gamma - 1)},
      {"1 + gamma alpha: what stands behind a rejection is counted as accepted", 1.0 + gamma * alpha},
      {"gamma alpha: what stands behind a rejection is counted as accepted", gamma * alpha}};
  EXPECT_TRUE(
      matches_value(lab06::expected_tokens(alpha, gamma), power_sum(alpha, 0, gamma), kRelative, mistakes));
}

TEST(ExpectedTokens, ByHand) {
  // 1 + 0.9 + 0.81 + 0.729 + 0.6561, not 4.439.
  EXPECT_TRUE(matches_value(
      lab06::expected_tokens(0.9, 4), 4.0951, kRelative,
      std::vector<KnownValue>{
          {"1 + the sum of alpha^i from i = 0 to gamma - 1: the target's own token is counted twice", 4.439},
          {"1 + gamma alpha: what stands behind a rejection is counted as accepted", 4.6}}));
  expect_tokens(0.5, 3);
  expect_tokens(0.75, 4);
}

TEST(ExpectedTokens, MatchesTheSum) {
  kit::Rng rng = make_rng(601);
  for (const int gamma : {1, 2, 3, 4, 7, 16, 31, 1000}) {
    for (int repeat = 0; repeat < 10; ++repeat) expect_tokens(rng.uniform(), gamma);
  }
}

TEST(ExpectedTokens, WithoutDraftsOne) {
  for (const double alpha : {0.0, 0.3, 1.0}) expect_tokens(alpha, 0);
}

TEST(ExpectedTokens, NothingAccepted) {
  for (const int gamma : {1, 4, 100}) expect_tokens(0.0, gamma);
}

TEST(ExpectedTokens, EverythingAccepted) {
  for (const int gamma : {1, 4, 100}) expect_tokens(1.0, gamma);
}

TEST(ExpectedTokens, JustBelowOne) {
  for (const double alpha : {1.0 - 1e-7, 1.0 - 1e-10, 1.0 - 1e-13, std::nextafter(1.0, 0.0)})
    expect_tokens(alpha, 4);
}

TEST(ExpectedTokens, RejectsWhatCannotBe) {
  for (const double alpha : {-0.1, 1.1, kNan, kInfinity}) {
    EXPECT_TRUE(throws_error([&] { lab06::expected_tokens(alpha, 4); }));
  }
  EXPECT_TRUE(throws_error([] { lab06::expected_tokens(0.5, -1); }));
}

TEST(Speedup, MatchesTheDefinition) {
  kit::Rng rng = make_rng(602);
  for (const int gamma : {0, 1, 4, 9}) {
    for (int repeat = 0; repeat < 20; ++repeat) {
      const double alpha = 0.2 + 0.75 * rng.uniform();
      const double c = 0.02 + 0.3 * rng.uniform();
      const double v = 1.0 + rng.uniform();
      SCOPED_TRACE(fmt::format("alpha {}, gamma {}, draft_cost {}, verify_cost {}", alpha, gamma, c, v));
      const double tokens = power_sum(alpha, 0, gamma);
      const std::vector<KnownValue> mistakes = {
          {"a draft that costs nothing", tokens / v},
          {"one draft step a round; there are gamma, one after the other",
           tokens / ((gamma > 0 ? c : 0.0) + v)},
          {"gamma + 1 draft steps a round", tokens / ((gamma + 1) * c + v)},
          {"a target that is called once a draft token", tokens / (gamma * (c + v) + v)},
          {"verify_cost 1", tokens / (gamma * c + 1.0)},
          {"a speedup with one token too many: 1 + the sum from alpha^0 to alpha^(gamma - 1)",
           (1.0 + power_sum(alpha, 0, gamma - 1)) / (gamma * c + v)},
          {"the inverse: time, not speed", (gamma * c + v) / tokens}};
      EXPECT_TRUE(
          matches_value(lab06::speedup(alpha, gamma, c, v), tokens / (gamma * c + v), kRelative, mistakes));
    }
  }
}

TEST(Speedup, ByHand) {
  EXPECT_TRUE(matches_value(lab06::speedup(0.9, 4, 0.05), 4.0951 / 1.2, kRelative,
                            std::vector<KnownValue>{{"4.439 tokens a round", 4.439 / 1.2},
                                                    {"a draft that costs nothing", 4.0951}}));
  EXPECT_TRUE(matches_value(lab06::speedup(0.0, 4, 0.05), 1.0 / 1.2, kRelative));  // it can lose
  EXPECT_TRUE(matches_value(lab06::speedup(0.7, 0, 0.05), 1.0, kRelative));
}

TEST(Speedup, RejectsWhatCannotBe) {
  EXPECT_TRUE(throws_error([] { lab06::speedup(1.5, 4, 0.1); }));
  EXPECT_TRUE(throws_error([] { lab06::speedup(0.5, -1, 0.1); }));
  for (const double c : {-0.1, kNan, kInfinity}) {
    EXPECT_TRUE(throws_error([&] { lab06::speedup(0.5, 4, c); }));
  }
  for (const double v : {0.0, -1.0, kNan, kInfinity}) {
    EXPECT_TRUE(throws_error([&] { lab06::speedup(0.5, 4, 0.1, v); }));
  }
}

struct Best {
  int gamma = 0;
  double margin = 0.0;  // by how much it beats every other gamma, relative
};

Best reference_best(double alpha, double draft_cost, const std::vector<double>& verify_costs) {
  std::vector<double> speedups;
  for (int gamma = 0; gamma < std::ssize(verify_costs); ++gamma) {
    speedups.push_back(
        reference_speedup(alpha, gamma, draft_cost, verify_costs[static_cast<std::size_t>(gamma)]));
  }
  const auto best = std::ranges::max_element(speedups);
  Best result{static_cast<int>(best - speedups.begin()), 1.0};
  for (auto s = speedups.begin(); s != speedups.end(); ++s) {
    if (s != best) result.margin = std::min(result.margin, 1.0 - *s / *best);
  }
  return result;
}

/// The best of 1 .. max_gamma: what comes out if "do not speculate" is never tried.
int best_of_drafting(double alpha, double draft_cost, std::vector<double> verify_costs) {
  verify_costs[0] = 1e300;
  return reference_best(alpha, draft_cost, verify_costs).gamma;
}

/// By the formula that counts the target's own token twice.
int best_by_wrong_sum(double alpha, double draft_cost, const std::vector<double>& verify_costs) {
  std::vector<double> speedups;
  for (int gamma = 0; gamma < std::ssize(verify_costs); ++gamma) {
    speedups.push_back((1.0 + power_sum(alpha, 0, gamma - 1)) /
                       (gamma * draft_cost + verify_costs[static_cast<std::size_t>(gamma)]));
  }
  return static_cast<int>(std::ranges::max_element(speedups) - speedups.begin());
}

/// An answer for these costs. (max_gamma is that of verify_costs.)
Case best_case(int got, double alpha, double draft_cost, const std::vector<double>& verify_costs) {
  const int expected = reference_best(alpha, draft_cost, verify_costs).gamma;
  const auto mistakes = [=]() -> std::vector<KnownDistribution> {
    const int max_gamma = static_cast<int>(verify_costs.size()) - 1;
    const int drafting = max_gamma > 0 ? best_of_drafting(alpha, draft_cost, verify_costs) : 0;
    const int at_cost_one =
        reference_best(alpha, draft_cost, std::vector<double>(verify_costs.size(), 1.0)).gamma;
    const int wrong_sum = best_by_wrong_sum(alpha, draft_cost, verify_costs);
    const auto value = [](int x) { return std::vector<double>{static_cast<double>(x)}; };
    return {{"the best gamma of 1 .. max_gamma; 0, not to speculate, is a choice too", value(drafting)},
            {"the best gamma at verify cost 1", value(at_cost_one)},
            {"max_gamma: the most tokens a round, whatever they cost", value(max_gamma)},
            {"the best gamma plus 1: the number of positions, not gamma", value(expected + 1)},
            {"the best gamma for a sum that counts the target's own token twice", value(wrong_sum)}};
  };
  return {fmt::format("alpha {}, draft_cost {}, max_gamma {}", alpha, draft_cost, verify_costs.size() - 1),
          {static_cast<double>(got)},
          {static_cast<double>(expected)},
          mistakes};
}

TEST(BestGamma, MatchesASearch) {
  std::vector<Case> cases;
  kit::Rng rng = make_rng(603);
  for (int n = 0; n < 60;) {
    const double alpha = rng.uniform();
    const double c = 0.4 * rng.uniform() * rng.uniform();
    const int max_gamma = static_cast<int>(rng.below(24));
    const std::vector<double> ones(static_cast<std::size_t>(max_gamma) + 1, 1.0);
    if (reference_best(alpha, c, ones).margin < 1e-6) continue;  // rounding could decide
    cases.push_back(best_case(lab06::best_gamma(alpha, c, max_gamma), alpha, c, ones));
    ++n;
  }
  EXPECT_TRUE(all_match(cases, 0.0, 0.0));
}

TEST(BestGamma, WhereItDoesNotPayZero) {
  std::vector<Case> cases;
  const std::vector<double> ones(9, 1.0);
  cases.push_back(best_case(lab06::best_gamma(0.1, 0.2, 8), 0.1, 0.2,
                            ones));  // alpha < c: the first draft costs more than it brings
  cases.push_back(best_case(lab06::best_gamma(0.5, 0.7, 8), 0.5, 0.7, ones));
  EXPECT_EQ(lab06::best_gamma(0.9, 0.05, 0), 0);
  EXPECT_TRUE(all_match(cases, 0.0, 0.0));
}

TEST(BestGamma, SmallestOfEqualOnes) {
  // Drafts that cost nothing and are never accepted: a speedup of exactly 1 for every gamma.
  EXPECT_TRUE(
      matches_count(lab06::best_gamma(0.0, 0.0, 8), 0,
                    std::vector<KnownCount>{
                        {"the largest of equal ones", 8},
                        {"the best gamma of 1 .. max_gamma; 0, not to speculate, is a choice too", 1}}));
}

TEST(BestGamma, AsManyAsPossibleWhereDraftsAreFreeAndRight) {
  EXPECT_EQ(lab06::best_gamma(1.0, 0.0, 12), 12);
  EXPECT_EQ(lab06::best_gamma(1.0, 0.1, 12), 12);
}

TEST(BestGamma, RejectsWhatCannotBe) {
  EXPECT_TRUE(throws_error([] { lab06::best_gamma(0.5, 0.1, -1); }));
  EXPECT_TRUE(throws_error([] { lab06::best_gamma(-0.5, 0.1, 4); }));
  EXPECT_TRUE(throws_error([] { lab06::best_gamma(0.5, -0.1, 4); }));
}

TEST(BestGammaForCosts, MatchesASearch) {
  std::vector<Case> cases;
  kit::Rng rng = make_rng(604);
  for (int n = 0; n < 60;) {
    const double alpha = rng.uniform();
    const double c = 0.3 * rng.uniform() * rng.uniform();
    std::vector<double> costs = {0.9 + 0.2 * rng.uniform()};
    const std::uint32_t max_gamma = rng.below(16);
    const double slope = 0.6 * rng.uniform() * rng.uniform();
    while (costs.size() < max_gamma + 1) costs.push_back(costs.back() + 2.0 * slope * rng.uniform());
    if (reference_best(alpha, c, costs).margin < 1e-6) continue;
    cases.push_back(best_case(lab06::best_gamma_for_costs(alpha, c, costs), alpha, c, costs));
    ++n;
  }
  EXPECT_TRUE(all_match(cases, 0.0, 0.0));
}

TEST(BestGammaForCosts, ABatchBeyondTheRidgeDoesNotSpeculate) {
  std::vector<Case> cases;
  // Arithmetic limits the target already: gamma + 1 positions cost gamma + 1 steps.
  const std::vector<double> costs = {1.0, 2.0, 3.0, 4.0, 5.0};
  cases.push_back(best_case(lab06::best_gamma_for_costs(0.8, 0.05, costs), 0.8, 0.05, costs));
  EXPECT_TRUE(all_match(cases, 0.0, 0.0));
}

TEST(BestGammaForCosts, RejectsWhatCannotBe) {
  EXPECT_TRUE(throws_error([] { lab06::best_gamma_for_costs(0.5, 0.1, {}); }));
  EXPECT_TRUE(throws_error([] { lab06::best_gamma_for_costs(0.5, 0.1, std::vector<double>{1.0, 0.0}); }));
  EXPECT_TRUE(throws_error([] { lab06::best_gamma_for_costs(1.5, 0.1, std::vector<double>{1.0}); }));
}

TEST(RooflineVerifyCost, MatchesTheDefinition) {
  kit::Rng rng = make_rng(605);
  std::vector<std::pair<int, int>> sizes = {{1, 4}, {100, 4}, {300, 3}, {50, 3}, {25, 3}};
  for (int repeat = 0; repeat < 20; ++repeat) {
    sizes.emplace_back(1 + static_cast<int>(rng.below(400)), static_cast<int>(rng.below(9)));
  }
  for (const auto& [n_seqs, gamma] : sizes) {
    for (const double ridge : {0.5, 100.0, 153.0}) {
      SCOPED_TRACE(fmt::format("{} sequences, gamma {}, ridge at {} tokens", n_seqs, gamma, ridge));
      const double n = n_seqs;
      const std::vector<KnownValue> mistakes = {
          {"gamma tokens a sequence; the target sees gamma + 1",
           std::max(n * gamma, ridge) / std::max(n, ridge)},
          {"a verify cost of 1 at every batch", 1.0},
          {"a verify cost of gamma + 1 at every batch", gamma + 1.0},
          {"one sequence: the batch has no influence", std::max(gamma + 1.0, ridge) / ridge},
          {"time in units of the weights' way from memory, not of a decode step of the batch",
           std::max(n * (gamma + 1), ridge) / ridge}};
      EXPECT_TRUE(matches_value(lab06::roofline_verify_cost(n_seqs, gamma, ridge),
                                std::max(n * (gamma + 1), ridge) / std::max(n, ridge), kRelative, mistakes));
    }
  }
}

TEST(RooflineVerifyCost, RejectsWhatCannotBe) {
  EXPECT_TRUE(throws_error([] { lab06::roofline_verify_cost(0, 4, 100.0); }));
  EXPECT_TRUE(throws_error([] { lab06::roofline_verify_cost(1, -1, 100.0); }));
  for (const double ridge : {0.0, -1.0, kNan, kInfinity}) {
    EXPECT_TRUE(throws_error([&] { lab06::roofline_verify_cost(1, 4, ridge); }));
  }
}

/// The other ways to count.
std::vector<KnownValue> wrong_rates(const std::vector<RoundCounts>& rounds) {
  double drafted = 0.0;
  double accepted = 0.0;
  double tested = 0.0;
  double tested_one_more = 0.0;
  double mean = 0.0;
  for (const auto& [n_drafted, n_accepted] : rounds) {
    drafted += n_drafted;
    accepted += n_accepted;
    tested += std::min(n_accepted + 1, n_drafted);
    tested_one_more += n_accepted + 1;
    if (n_drafted > 0) mean += static_cast<double>(n_accepted) / n_drafted;
  }
  const auto n_rounds = static_cast<double>(rounds.size());
  return {{"accepted / drafted: what stands behind a rejection was never tested", accepted / drafted},
          {"(accepted + 1 a round) / drafted: the correction or bonus token is counted as accepted",
           (accepted + n_rounds) / drafted},
          {"(accepted + 1 a round) / tested: the correction or bonus token is counted as accepted",
           (accepted + n_rounds) / tested},
          {"accepted / (accepted + 1 a round): a round without a rejection has no failed test",
           accepted / tested_one_more},
          {"the mean over the rounds of accepted / drafted", mean / n_rounds}};
}

void expect_rate(const std::vector<RoundCounts>& rounds) {
  double accepted = 0.0;
  double tested = 0.0;
  for (const auto& [n_drafted, n_accepted] : rounds) {
    accepted += n_accepted;
    tested += n_accepted < n_drafted ? n_accepted + 1 : n_accepted;
  }
  EXPECT_TRUE(
      matches_value(lab06::acceptance_rate(rounds), accepted / tested, kRelative, wrong_rates(rounds)));
}

/// A round in which every test succeeds with probability alpha.
RoundCounts simulated_round(double alpha, int gamma, kit::Rng& rng) {
  RoundCounts round{gamma, 0};
  while (round.n_accepted < gamma && rng.uniform() < alpha) ++round.n_accepted;
  return round;
}

TEST(AcceptanceRate, ByHand) {
  expect_rate({{4, 4}, {4, 0}, {4, 2}});  // 6 of 4 + 1 + 3
  expect_rate({{4, 3}});                  // 3 of 4
  expect_rate({{4, 0}, {2, 0}});          // 0 of 2
  expect_rate({{4, 4}, {1, 1}});          // all
}

TEST(AcceptanceRate, MatchesTheDefinition) {
  kit::Rng rng = make_rng(606);
  for (int repeat = 0; repeat < 20; ++repeat) {
    const double alpha = 0.1 + 0.8 * rng.uniform();
    std::vector<RoundCounts> rounds = {{3, 1}};  // one test at least
    for (int i = 0; i < 30; ++i)
      rounds.push_back(simulated_round(alpha, static_cast<int>(rng.below(7)), rng));
    expect_rate(rounds);
  }
}

TEST(AcceptanceRate, RoundsWithoutDraftsSayNothing) {
  expect_rate({{0, 0}, {4, 2}, {0, 0}, {3, 3}});
}

TEST(AcceptanceRate, FindsTheTrueRate) {
  kit::Rng rng = make_rng(607);
  for (const double alpha : {0.3, 0.65, 0.9}) {
    std::vector<RoundCounts> rounds;
    double tested = 0.0;
    for (int i = 0; i < 20000; ++i) {
      rounds.push_back(simulated_round(alpha, 4, rng));
      tested += std::min(rounds.back().n_accepted + 1, 4);
    }
    // Six standard deviations: a right estimate fails once in 500 million runs. accepted / drafted is 30 off.
    const double six_sigma = 6.0 * std::sqrt(alpha * (1.0 - alpha) / tested);
    EXPECT_TRUE(matches_value(lab06::acceptance_rate(rounds), alpha, six_sigma / alpha, wrong_rates(rounds)));
  }
}

TEST(AcceptanceRate, RejectsWhatCannotBe) {
  const auto fails = [](const std::vector<RoundCounts>& rounds) {
    return throws_error([&] { lab06::acceptance_rate(rounds); });
  };
  EXPECT_TRUE(fails({}));
  EXPECT_TRUE(fails({{0, 0}, {0, 0}}));
  EXPECT_TRUE(fails({{4, 2}, {4, 5}}));
  EXPECT_TRUE(fails({{4, 2}, {4, -1}}));
  EXPECT_TRUE(fails({{4, 2}, {-2, -3}}));
}

}  // namespace
