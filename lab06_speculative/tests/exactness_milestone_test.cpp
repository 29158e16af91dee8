#include <gtest/gtest.h>

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "chi_square.h"
#include "kit/reference.h"
#include "kit/testing.h"
#include "lab06/speculative_decoder.h"
#include "speculation_reference.h"
#include "table_model.h"

// Milestone: what the decoder writes has the target's distribution, by chi-square with a false alarm in a
// million gradings. Tables make the target's distribution exact, and tests cheap enough for many seeds.

namespace {

using lab06::SamplingRule;
using lab06::SpeculativeConfig;
using lab06::SpeculativeResult;
using lab06_tests::noisy;
using lab06_tests::random_logits;
using lab06_tests::TableModel;

struct Case {
  const char* name;
  SamplingRule rule;
  int gamma;
};

constexpr Case kCases[] = {{"temperature 1", {}, 2},
                           {"temperature 0.6", {.temperature = 0.6}, 3},
                           {"temperature 1.5, top_k 3", {.temperature = 1.5, .top_k = 3}, 2},
                           {"top_p 0.9", {.temperature = 1.0, .top_k = 0, .top_p = 0.9}, 4}};

struct Pair {
  Pair(std::uint64_t stream, int vocab_size)
      : target({.vocab_size = vocab_size, .order = 2, .eos = {}}, random_logits(stream, vocab_size, 1.0F)),
        draft({.vocab_size = vocab_size, .order = 2, .eos = {}},
              noisy(random_logits(stream, vocab_size, 1.0F), stream + 1, 0.5F)) {}
  SpeculativeResult run(const std::vector<int>& prompt, const SpeculativeConfig& config, kit::Rng& rng) {
    const int room = static_cast<int>(prompt.size()) + config.max_new_tokens;
    const auto target_cache = kit::make_reference_kv_cache(target.config().kv_cache_config(room));
    const auto draft_cache = kit::make_reference_kv_cache(draft.config().kv_cache_config(room));
    return lab06::speculative_generate(target, *target_cache, draft, *draft_cache, prompt, config, rng);
  }
  TableModel target;
  TableModel draft;
};

void short_texts_of_many_seeds() {
  // All texts of 3 tokens over 4: 64 cells. 2500 texts a rule are about 5000 rounds.
  constexpr int kVocab = 4;
  constexpr int kTokens = 3;
  constexpr int kTexts = 2500;
  const std::vector<int> prompt = {1, 3};
  std::uint64_t stream = 7000;
  std::vector<double> p_values;
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.name);
    stream += 10;
    Pair pair(stream, kVocab);
    std::vector<std::int64_t> counts(kVocab * kVocab * kVocab, 0);
    for (int i = 0; i < kTexts; ++i) {
      kit::Rng rng(kit::testing::seed() * 1000003 + static_cast<std::uint64_t>(i), stream);
      const SpeculativeResult got =
          pair.run(prompt, {.gamma = c.gamma, .rule = c.rule, .max_new_tokens = kTokens}, rng);
      ASSERT_EQ(got.tokens.size(), kTokens);
      std::size_t cell = 0;
      for (const int token : got.tokens) {
        ASSERT_TRUE(token >= 0 && token < kVocab);
        cell = cell * kVocab + static_cast<std::size_t>(token);
      }
      ++counts[cell];
    }
    std::vector<double> expected(counts.size(), 1.0);
    for (std::size_t cell = 0; cell < expected.size(); ++cell) {
      std::vector<int> text = prompt;
      for (std::size_t place = kVocab * kVocab; place > 0; place /= kVocab) {
        const std::size_t token = cell / place % kVocab;
        expected[cell] *= lab06_tests::reference_distribution(pair.target.logits_after(text), c.rule)[token];
        text.push_back(static_cast<int>(token));
      }
    }
    EXPECT_TRUE(lab06_tests::follows(counts, expected));
    p_values.push_back(lab06_tests::goodness_of_fit(counts, expected).p_value);
  }
  kit::testing::record_value("smallest_p_value", *std::ranges::min_element(p_values));
  kit::testing::record_value("false_alarm_rate", lab06_tests::kFalseAlarmRate);
}

void transitions_of_long_texts() {
  // A table model's text is a Markov chain: after every two tokens the next has a known distribution, and the
  // statistics of the 25 pairs add up. Long texts see what a first round cannot: caches after many roll
  // backs.
  constexpr int kVocab = 5;
  constexpr int kTokens = 500;
  constexpr int kTexts = 8;
  std::uint64_t stream = 7100;
  for (const Case& c : kCases) {
    stream += 10;
    Pair pair(stream, kVocab);
    std::vector<std::vector<std::int64_t>> counts(kVocab * kVocab, std::vector<std::int64_t>(kVocab, 0));
    for (int i = 0; i < kTexts; ++i) {
      kit::Rng rng(kit::testing::seed() * 1000003 + static_cast<std::uint64_t>(i), stream);
      std::vector<int> text = {0, i % kVocab};
      const SpeculativeResult got =
          pair.run(text, {.gamma = c.gamma, .rule = c.rule, .max_new_tokens = kTokens}, rng);
      ASSERT_EQ(got.tokens.size(), kTokens);
      for (const int token : got.tokens) {
        ASSERT_TRUE(token >= 0 && token < kVocab);
        const auto history = static_cast<std::size_t>(text[text.size() - 2] * kVocab + text.back());
        ++counts[history][static_cast<std::size_t>(token)];
        text.push_back(token);
      }
    }
    double statistic = 0.0;
    int degrees = 0;
    double worst = 1.0;
    for (std::size_t h = 0; h < counts.size(); ++h) {
      // A rule may exclude tokens after which no history ever stood.
      if (std::ranges::all_of(counts[h], [](std::int64_t count) { return count == 0; })) continue;
      const std::vector<int> history = {static_cast<int>(h) / kVocab, static_cast<int>(h) % kVocab};
      const auto fit = lab06_tests::goodness_of_fit(
          counts[h], lab06_tests::reference_distribution(pair.target.logits_after(history), c.rule));
      statistic += fit.statistic;
      degrees += fit.degrees_of_freedom;
      if (fit.p_value == 0) worst = 0.0;  // what cannot occur did
    }
    const double p_value = degrees > 0 ? lab06_tests::chi_square_tail(statistic, degrees) : 1.0;
    EXPECT_TRUE(std::min(worst, p_value) >= lab06_tests::kFalseAlarmRate) << fmt::format(
        "{}, gamma {}: chi-square {:.1f} at {} degrees of freedom, p-value {:.2g}; a right decoder is "
        "below {} once in a million gradings{}",
        c.name, c.gamma, statistic, degrees, p_value, lab06_tests::kFalseAlarmRate,
        worst == 0 ? "; a token came that the rule excludes" : "");
  }
}

TEST(ExactnessMilestone, EmittedTextsFollowTheTarget) {
  short_texts_of_many_seeds();
  transitions_of_long_texts();
}

}  // namespace
