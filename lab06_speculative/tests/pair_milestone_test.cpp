#include <gtest/gtest.h>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "counted_run.h"
#include "kit/reference.h"
#include "kit/testing.h"
#include "shipped_pair.h"
#include "table_model.h"

// Milestones with the shipped models. Every number comes from calls that the kit counted on its own side.

namespace {

using kit::testing::record_series;
using kit::testing::record_value;
using lab06::SamplingRule;
using lab06_tests::CountedRun;
using lab06_tests::formula_tokens;
using lab06_tests::PairRun;
using lab06_tests::ShippedPair;

constexpr SamplingRule kGreedy{.temperature = 0.0};
constexpr int kPromptTokens = 16;

// --- Greedy
// ---------------------------------------------------------------------------------------------------------

/// Every token of `got` must be the target's choice after what stands before it: the largest logit, up to a
/// margin that the order of float sums can move. One forward pass sees all of them.
testing::AssertionResult is_greedy_text(kit::Model& target, const std::vector<int>& prompt,
                                        const std::vector<int>& got) {
  // Logits of size 10 through 6 layers differ by about 1e-5 between two orders of summation.
  constexpr float kMargin = 1e-3F;
  for (const int token : got) {
    if (token < 0 || token >= target.config().vocab_size)
      return testing::AssertionFailure() << "token " << token;
  }
  std::vector<int> text = prompt;
  text.insert(text.end(), got.begin(), got.end());
  const kit::Tensor<float> logits = target.forward(text, kit::Logits::kAll);
  for (std::size_t i = 0; i < got.size(); ++i) {
    const auto row = logits.row(static_cast<std::int64_t>(prompt.size() + i) - 1);
    const auto best = std::ranges::max_element(row) - row.begin();
    if (!(row[static_cast<std::size_t>(got[i])] >= row[static_cast<std::size_t>(best)] - kMargin)) {
      return testing::AssertionFailure()
             << fmt::format("new token {} is {}, the target's choice is {}", i, got[i], best);
    }
  }
  return testing::AssertionSuccess();
}

TEST(PairMilestone, GreedyTextIsTheTargetsOwn) {
  constexpr int kPrompts = 50;
  constexpr int kTokens = 40;
  ShippedPair pair = lab06_tests::shipped_pair();
  const auto prompts = lab06_tests::pair_prompts(kPrompts, kPromptTokens, 8000);
  const PairRun run = run_pair(pair, prompts, {.gamma = 4, .rule = kGreedy, .max_new_tokens = kTokens}, 8001);
  ASSERT_TRUE(run.complete) << "texts of " << kTokens << " tokens";
  int n_equal = 0;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const auto equal = is_greedy_text(*pair.target, prompts[i], run.texts[i]);
    EXPECT_TRUE(equal) << "prompt " << i;
    n_equal += equal ? 1 : 0;
  }
  record_value("equal_prompts", n_equal);
  record_value("prompts", kPrompts);
}

// --- The formula
// ---------------------------------------------------------------------------------------------------------

/// Within 5 % of (1 - a^(g+1)) / (1 - a), a measured on the same rounds.
testing::AssertionResult follows_formula(const CountedRun& run, int gamma) {
  if (!run.plausible || run.n_tested == 0) {
    return testing::AssertionFailure()
           << "the target's passes are not those of rounds: one pass a round, which "
              "begins with the newest token and ends with the draft tokens";
  }
  const double expected = formula_tokens(run.acceptance(), gamma);
  const std::vector<kit::testing::KnownValue> mistakes = {
      {"accepted tokens alone: each round adds a correction or a bonus token", expected - 1.0},
      {"one token a target call: plain decoding", 1.0}};
  return kit::testing::matches_value(run.tokens_per_call(), expected, 0.05, mistakes);
}

void tables_with_a_constant_rate() {
  // Two distributions in another order after every history: the overlap, sum min(p, q), stays what it is, so
  // acceptances are independent and the formula is exact. Overlaps: 0.5, 0.8, 0.95.
  constexpr std::array<double, 5> kTarget = {0.40, 0.25, 0.15, 0.10, 0.10};
  constexpr std::array<std::array<double, 5>, 3> kDrafts = {
      {{0.05, 0.10, 0.15, 0.25, 0.45}, {0.25, 0.20, 0.20, 0.20, 0.15}, {0.35, 0.25, 0.20, 0.10, 0.10}}};
  constexpr int kTokens = 1500;
  std::uint64_t stream = 8100;
  for (const auto& draft : kDrafts) {
    std::vector<double> gammas, measured, formula;
    for (const int gamma : {1, 2, 4, 8}) {
      auto pair = lab06_tests::constant_acceptance_pair(stream++, kTarget, draft);
      const auto target_cache =
          kit::make_reference_kv_cache(pair.target->config().kv_cache_config(kTokens + 2));
      const auto draft_cache =
          kit::make_reference_kv_cache(pair.draft->config().kv_cache_config(kTokens + 2));
      kit::Rng rng = kit::testing::make_rng(stream);
      const std::vector<int> prompt = {0, 1};
      const auto result =
          lab06::speculative_generate(*pair.target, *target_cache, *pair.draft, *draft_cache, prompt,
                                      {.gamma = gamma, .rule = {}, .max_new_tokens = kTokens}, rng);
      ASSERT_EQ(result.tokens.size(), kTokens);
      const CountedRun run = lab06_tests::counted_run(*pair.target, 2, kTokens, gamma);
      EXPECT_TRUE(follows_formula(run, gamma)) << "gamma " << gamma;
      double overlap = 0.0;
      for (std::size_t i = 0; i < draft.size(); ++i) overlap += std::min(kTarget[i], draft[i]);
      // The rate is what the tables make it, within 6 standard deviations of a proportion.
      const double deviation = std::sqrt(overlap * (1.0 - overlap) / static_cast<double>(run.n_tested));
      EXPECT_TRUE(std::abs(run.acceptance() - overlap) <= 6.0 * deviation)
          << "an acceptance rate of " << run.acceptance() << ", expected " << overlap << " at gamma "
          << gamma;
      gammas.push_back(gamma);
      measured.push_back(run.tokens_per_call());
      formula.push_back(formula_tokens(run.acceptance(), gamma));
    }
    const std::string name = fmt::format("table_{}_", &draft - kDrafts.data());
    record_series(name + "gamma", gammas);
    record_series(name + "tokens_per_call", measured);
    record_series(name + "formula", formula);
  }
}

void shipped_pair_by_gamma() {
  // 1280 tokens a gamma. Over 4 seeds of 2400 the measurement was within 1.3 % of the formula each time.
  constexpr int kPrompts = 16;
  constexpr int kTokens = 80;
  ShippedPair pair = lab06_tests::shipped_pair();
  const auto prompts = lab06_tests::pair_prompts(kPrompts, kPromptTokens, 8200);
  std::vector<double> gammas, measured, formula, acceptance;
  for (const int gamma : {1, 2, 4, 7}) {
    const PairRun run =
        run_pair(pair, prompts, {.gamma = gamma, .rule = {}, .max_new_tokens = kTokens}, 8201);
    ASSERT_TRUE(run.complete);
    EXPECT_TRUE(follows_formula(run.full, gamma)) << "gamma " << gamma;
    gammas.push_back(gamma);
    measured.push_back(run.full.tokens_per_call());
    formula.push_back(formula_tokens(run.full.acceptance(), gamma));
    acceptance.push_back(run.full.acceptance());
  }
  record_series("gamma", gammas);
  record_series("tokens_per_call", measured);
  record_series("formula", formula);
  record_series("acceptance", acceptance);
  double worst = 0.0;
  for (std::size_t i = 0; i < gammas.size(); ++i) {
    worst = std::max(worst, 100.0 * std::abs(measured[i] / formula[i] - 1.0));
  }
  record_value("deviation_percent", worst);
  record_value("deviation_bar_percent", 5.0);
}

TEST(FormulaMilestone, TokensPerTargetCallFollowTheFormula) {
  tables_with_a_constant_rate();
  shipped_pair_by_gamma();
}

// --- The bar
// ---------------------------------------------------------------------------------------------------------

testing::AssertionResult reaches(const CountedRun& run, double bar) {
  if (run.plausible && run.tokens_per_call() >= bar) return testing::AssertionSuccess();
  return testing::AssertionFailure() << fmt::format(
             "{} tokens in {} target calls: {:.2f} a call, the bar is {}", run.n_tokens, run.n_rounds,
             run.tokens_per_call(), bar);
}

TEST(PairMilestone, TokensPerTargetCall) {
  // Measured over 4 seeds: 2.71 to 2.79 at temperature 1, 2.82 to 2.97 greedy. A round emits 2.7 +- 1.6
  // tokens, so that the mean of 580 rounds has a standard error of 0.07.
  constexpr double kSampledBar = 2.3;
  constexpr double kGreedyBar = 2.2;
  constexpr int kTokens = 80;
  ShippedPair pair = lab06_tests::shipped_pair();
  const auto prompts = lab06_tests::pair_prompts(20, kPromptTokens, 8300);
  const PairRun sampled = run_pair(pair, prompts, {.gamma = 4, .rule = {}, .max_new_tokens = kTokens}, 8301);
  ASSERT_TRUE(sampled.complete);
  EXPECT_TRUE(reaches(sampled.all, kSampledBar)) << "at temperature 1";
  const PairRun greedy =
      run_pair(pair, prompts, {.gamma = 4, .rule = kGreedy, .max_new_tokens = kTokens}, 8302);
  ASSERT_TRUE(greedy.complete);
  EXPECT_TRUE(reaches(greedy.all, kGreedyBar)) << "greedy";
  // A text that the target would not have written earns nothing, however few calls it took.
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    EXPECT_TRUE(is_greedy_text(*pair.target, prompts[i], greedy.texts[i])) << "greedy, prompt " << i;
  }
  record_value("tokens_per_call", sampled.all.tokens_per_call());
  record_value("tokens_per_call_bar", kSampledBar);
  record_value("acceptance", sampled.all.acceptance());
  record_value("greedy_tokens_per_call", greedy.all.tokens_per_call());
  record_value("greedy_tokens_per_call_bar", kGreedyBar);
  record_value("greedy_acceptance", greedy.all.acceptance());
}

}  // namespace
