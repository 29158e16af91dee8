#include "lab06/speculative_decoder.h"

#include <gtest/gtest.h>

#include <fmt/format.h>

#include <limits>

#include "counted_run.h"
#include "kit/reference.h"
#include "kit/testing.h"
#include "reference_round.h"
#include "speculation_reference.h"
#include "table_model.h"

// Task 5: the loop around the rounds. Models are tables, caches the kit's; what is counted, the kit counts.

namespace {

using kit::Rng;
using kit::testing::KnownCount;
using kit::testing::make_rng;
using kit::testing::matches_count;
using kit::testing::throws_error;
using lab06::SamplingRule;
using lab06::SpeculativeConfig;
using lab06::SpeculativeResult;
using lab06_tests::CountedRun;
using lab06_tests::noisy;
using lab06_tests::random_logits;
using lab06_tests::TableModel;
using lab06_tests::text_in;
using lab06_tests::to_text;

/// Random models of order 2 that resemble each other, and a cache for each.
struct Decoder {
  explicit Decoder(std::uint64_t stream, int vocab_size, std::vector<int> eos = {}, int room = 512)
      : target({.vocab_size = vocab_size, .order = 2, .eos = eos}, random_logits(stream, vocab_size, 1.5F)),
        draft({.vocab_size = vocab_size, .order = 2, .eos = eos},
              noisy(random_logits(stream, vocab_size, 1.5F), stream + 1, 0.4F)),
        target_cache(kit::make_reference_kv_cache(target.config().kv_cache_config(room))),
        draft_cache(kit::make_reference_kv_cache(draft.config().kv_cache_config(room))) {}

  SpeculativeResult run(const std::vector<int>& prompt, const SpeculativeConfig& config, Rng& rng) {
    return lab06::speculative_generate(target, *target_cache, draft, *draft_cache, prompt, config, rng);
  }
  CountedRun counted(const std::vector<int>& prompt, const SpeculativeResult& result) const {
    return lab06_tests::counted_run(target, static_cast<int>(prompt.size()),
                                    static_cast<int>(result.tokens.size()));
  }

  TableModel target;
  TableModel draft;
  std::unique_ptr<kit::KvCache> target_cache;
  std::unique_ptr<kit::KvCache> draft_cache;
};

const std::vector<int> kPrompt = {2, 0, 1};

/// The tokens first; they must be right before counts mean anything.
testing::AssertionResult same_tokens(const SpeculativeResult& got, const SpeculativeResult& expected) {
  if (got.tokens == expected.tokens) return testing::AssertionSuccess();
  auto failure = testing::AssertionFailure()
                 << "tokens " << to_text(got.tokens) << ", expected " << to_text(expected.tokens);
  if (got.tokens.size() > expected.tokens.size() &&
      std::equal(expected.tokens.begin(), expected.tokens.end(), got.tokens.begin())) {
    failure << "\nLikely cause: the last round's tokens are not limited: there may be no more than "
               "max_new_tokens, "
               "and none behind an end-of-text token";
  }
  return failure;
}

TEST(SpeculativeDecoder, MatchesTheReference) {
  const SamplingRule rules[] = {{},
                                {.temperature = 0.7, .top_k = 4},
                                {.temperature = 1.2, .top_k = 0, .top_p = 0.9},
                                {.temperature = 0.0}};
  std::uint64_t stream = 5000;
  for (const SamplingRule& rule : rules) {
    for (const int gamma : {0, 1, 3, 6}) {
      SCOPED_TRACE(fmt::format("gamma {}, temperature {}, top_k {}, top_p {}", gamma, rule.temperature,
                               rule.top_k, rule.top_p));
      stream += 10;
      Decoder decoder(stream, 6);
      const SpeculativeConfig config{.gamma = gamma, .rule = rule, .max_new_tokens = 37};
      Rng rng = make_rng(stream + 2);
      Rng expected_rng = rng;
      const SpeculativeResult expected =
          reference_generate(decoder.target, decoder.draft, kPrompt, config, expected_rng);
      const SpeculativeResult got = decoder.run(kPrompt, config, rng);
      ASSERT_TRUE(same_tokens(got, expected));
      EXPECT_EQ(rng, expected_rng) << "another number of random numbers was drawn";
    }
  }
}

TEST(SpeculativeDecoder, WritesExactlyMaxNewTokens) {
  for (int max_new_tokens = 0; max_new_tokens <= 14; ++max_new_tokens) {
    Decoder decoder(5300, 5);
    Rng rng = make_rng(5302);
    Rng expected_rng = rng;
    const SpeculativeConfig config{.gamma = 4, .rule = {}, .max_new_tokens = max_new_tokens};
    const SpeculativeResult expected =
        reference_generate(decoder.target, decoder.draft, kPrompt, config, expected_rng);
    const SpeculativeResult got = decoder.run(kPrompt, config, rng);
    ASSERT_TRUE(matches_count(std::ssize(got.tokens), max_new_tokens));
    EXPECT_TRUE(same_tokens(got, expected));
    if (max_new_tokens == 0) {
      EXPECT_TRUE(decoder.target.calls().empty() && decoder.draft.calls().empty());
    }
  }
}

TEST(SpeculativeDecoder, DraftsNoMoreThanIsStillWanted) {
  for (const int max_new_tokens : {1, 2, 3, 5}) {
    Decoder decoder(5400, 5);
    Rng rng = make_rng(5402);
    const SpeculativeResult got =
        decoder.run(kPrompt, {.gamma = 8, .rule = {}, .max_new_tokens = max_new_tokens}, rng);
    ASSERT_EQ(std::ssize(got.tokens), max_new_tokens);
    ASSERT_FALSE(decoder.target.calls().empty());
    EXPECT_EQ(decoder.target.calls()[0].n_tokens, 3 + max_new_tokens - 1)
        << "the prompt and the draft tokens: with the correction or bonus token a round emits one more than "
           "it drafts";
    for (const kit::ForwardCall& call : decoder.target.calls())
      EXPECT_LE(call.kv_len, 3 + max_new_tokens - 1);
  }
}

TEST(SpeculativeDecoder, EndsWithAnEndOfTextToken) {
  int n_ended = 0;
  for (std::uint64_t i = 0; i < 40; ++i) {
    Decoder decoder(5500 + 10 * i, 5, {3});
    const SpeculativeConfig config{.gamma = 4, .rule = {}, .max_new_tokens = 12};
    Rng rng = make_rng(5501 + 10 * i);
    Rng expected_rng = rng;
    const SpeculativeResult expected =
        reference_generate(decoder.target, decoder.draft, kPrompt, config, expected_rng);
    const SpeculativeResult got = decoder.run(kPrompt, config, rng);
    ASSERT_TRUE(same_tokens(got, expected));
    const auto end = std::ranges::find(got.tokens, 3);
    EXPECT_TRUE(end == got.tokens.end() || end + 1 == got.tokens.end())
        << "nothing follows an end-of-text token";
    n_ended += end != got.tokens.end() ? 1 : 0;
  }
  EXPECT_GT(n_ended, 0) << "of 40 texts";
}

TEST(SpeculativeDecoder, SaysWhatItDid) {
  for (const int gamma : {1, 4, 7}) {
    Decoder decoder(5900 + static_cast<std::uint64_t>(gamma), 6);
    Rng rng = make_rng(5910);
    const SpeculativeResult got =
        decoder.run(kPrompt, {.gamma = gamma, .rule = {}, .max_new_tokens = 200}, rng);
    ASSERT_EQ(got.tokens.size(), 200);
    // The kit's own counts, from the calls of its models.
    const CountedRun counted = decoder.counted(kPrompt, got);
    ASSERT_TRUE(counted.plausible) << "the target's passes are not those of rounds";
    const std::int64_t n_bonus = counted.n_rounds - (counted.n_tested - counted.n_accepted);
    const std::vector<KnownCount> accepted_mistakes = {
        {"correction and bonus tokens counted as accepted: only draft tokens are",
         counted.n_accepted + counted.n_rounds},
        {"bonus tokens counted as accepted: only draft tokens are", counted.n_accepted + n_bonus}};
    const std::vector<KnownCount> tested_mistakes = {
        {"all draft tokens counted as tested: what stands behind the first rejection was not judged",
         counted.n_drafted},
        {"accepted tokens alone counted as tested: the rejected one was, too", counted.n_accepted},
        {"one rejection a round: where all were accepted, none was rejected",
         counted.n_accepted + counted.n_rounds}};
    EXPECT_TRUE(matches_count(got.n_rounds, counted.n_rounds)) << "n_rounds";
    EXPECT_TRUE(matches_count(got.n_drafted, counted.n_drafted)) << "n_drafted";
    EXPECT_TRUE(matches_count(got.n_tested, counted.n_tested, tested_mistakes)) << "n_tested";
    EXPECT_TRUE(matches_count(got.n_accepted, counted.n_accepted, accepted_mistakes)) << "n_accepted";
  }
}

TEST(SpeculativeDecoder, CountsAtTheEndOfText) {
  // Where an accepted end-of-text token ends the text, no token follows it: counts by the reference.
  for (std::uint64_t i = 0; i < 30; ++i) {
    Decoder decoder(6000 + 10 * i, 4, {1});
    const SpeculativeConfig config{.gamma = 3, .rule = {}, .max_new_tokens = 30};
    Rng rng = make_rng(6001 + 10 * i);
    Rng expected_rng = rng;
    const SpeculativeResult expected =
        reference_generate(decoder.target, decoder.draft, kPrompt, config, expected_rng);
    const SpeculativeResult got = decoder.run(kPrompt, config, rng);
    ASSERT_TRUE(same_tokens(got, expected));
    EXPECT_EQ(got.n_rounds, expected.n_rounds);
    EXPECT_EQ(got.n_drafted, expected.n_drafted);
    EXPECT_EQ(got.n_tested, expected.n_tested);
    EXPECT_EQ(got.n_accepted, expected.n_accepted);
  }
}

TEST(SpeculativeDecoder, OneTargetPassARound) {
  Decoder decoder(6400, 6);
  Rng rng = make_rng(6401);
  const SpeculativeResult got = decoder.run(kPrompt, {.gamma = 4, .rule = {}, .max_new_tokens = 100}, rng);
  EXPECT_TRUE(matches_count(static_cast<std::int64_t>(decoder.target.calls().size()), got.n_rounds,
                            std::vector<KnownCount>{{"a pass for each token: nothing is gained", 100}}));
  EXPECT_LT(decoder.target.calls().size(), 80) << "for 100 tokens";
  EXPECT_EQ(std::ssize(decoder.draft.calls()), got.n_drafted) << "one draft pass for each draft token";
}

TEST(SpeculativeDecoder, GammaZeroLeavesTheDraftAlone) {
  Decoder decoder(6500, 6);
  Rng rng = make_rng(6501);
  const SpeculativeResult got = decoder.run(kPrompt, {.gamma = 0, .rule = {}, .max_new_tokens = 9}, rng);
  EXPECT_EQ(got.tokens.size(), 9);
  EXPECT_EQ(got.n_rounds, 9);
  EXPECT_EQ(got.n_tested, 0);
  EXPECT_EQ(decoder.target.calls().size(), 9);
  EXPECT_TRUE(decoder.draft.calls().empty());
}

TEST(SpeculativeDecoder, GreedyIsTheTargetsOwnText) {
  Decoder decoder(6600, 9);
  Rng rng = make_rng(6601);
  const SpeculativeResult got =
      decoder.run(kPrompt, {.gamma = 5, .rule = {.temperature = 0.0}, .max_new_tokens = 60}, rng);
  std::vector<int> text = kPrompt;
  for (int i = 0; i < 60; ++i) {
    const std::vector<float>& logits = decoder.target.logits_after(text);
    text.push_back(static_cast<int>(std::ranges::max_element(logits) - logits.begin()));
  }
  EXPECT_EQ(got.tokens, std::vector<int>(text.begin() + 3, text.end()));
}

TEST(SpeculativeDecoder, GoesOnWhereTheCachesAre) {
  // Two halves with the same caches are one whole: nothing is computed twice.
  Decoder decoder(6700, 6);
  Rng rng = make_rng(6701);
  std::vector<int> text = kPrompt;
  for (int half = 0; half < 2; ++half) {
    const SpeculativeResult got = decoder.run(text, {.gamma = 3, .rule = {}, .max_new_tokens = 20}, rng);
    ASSERT_EQ(got.tokens.size(), 20);
    text.insert(text.end(), got.tokens.begin(), got.tokens.end());
    EXPECT_EQ(text_in(*decoder.target_cache), std::vector<int>(text.begin(), text.end() - 1));
    const std::vector<int> drafted = text_in(*decoder.draft_cache);
    ASSERT_LT(drafted.size(), text.size());
    EXPECT_TRUE(std::equal(drafted.begin(), drafted.end(), text.begin()))
        << "the draft's cache holds other words";
  }
  // A second run begins where the first one's cache ended.
  ASSERT_FALSE(decoder.target.seen().empty());
  int n_first_tokens = 0;
  for (const lab06_tests::TableCall& call : decoder.target.seen())
    n_first_tokens += call.first_pos == 0 ? 1 : 0;
  EXPECT_EQ(n_first_tokens, 1) << "the prompt is processed once";
}

TEST(SpeculativeDecoder, FillsTheRoomToTheLastPosition) {
  Decoder decoder(6800, 6, {}, /*room=*/20);
  Rng rng = make_rng(6801);
  const SpeculativeResult got = decoder.run(kPrompt, {.gamma = 4, .rule = {}, .max_new_tokens = 18}, rng);
  EXPECT_EQ(got.tokens.size(), 18) << "20 positions hold 3 + 17 tokens; the last needs none";
  Decoder other(6800, 6, {}, /*room=*/20);
  EXPECT_TRUE(
      throws_error([&] { other.run(kPrompt, {.gamma = 4, .rule = {}, .max_new_tokens = 19}, rng); }, "20"));
  EXPECT_TRUE(other.target.calls().empty());
}

TEST(SpeculativeDecoder, RejectsWhatCannotBe) {
  Decoder decoder(6900, 6);
  Rng rng = make_rng(6901);
  EXPECT_TRUE(throws_error([&] { decoder.run({}, {.gamma = 4, .rule = {}, .max_new_tokens = 4}, rng); }));
  EXPECT_TRUE(
      throws_error([&] { decoder.run(kPrompt, {.gamma = -1, .rule = {}, .max_new_tokens = 4}, rng); }, "-1"));
  EXPECT_TRUE(
      throws_error([&] { decoder.run(kPrompt, {.gamma = 4, .rule = {}, .max_new_tokens = -2}, rng); }, "-2"));
}

}  // namespace
