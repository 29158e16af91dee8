#include "lab06/speculative_round.h"

#include <gtest/gtest.h>

#include <fmt/format.h>

#include "kit/reference.h"
#include "kit/testing.h"
#include "reference_round.h"
#include "speculation_reference.h"
#include "table_model.h"

// Task 3. The models are tables (exact, cheap), the caches the kit's, and the kit counts the passes.

namespace {

using kit::Rng;
using kit::testing::make_rng;
using kit::testing::throws_error;
using lab06::RoundResult;
using lab06::SamplingRule;
using lab06_tests::certain;
using lab06_tests::LogitsOf;
using lab06_tests::noisy;
using lab06_tests::random_logits;
using lab06_tests::RoundCase;
using lab06_tests::TableCall;
using lab06_tests::TableModel;
using lab06_tests::text_in;
using lab06_tests::to_text;

constexpr SamplingRule kGreedy{.temperature = 0.0};

/// Both models and both caches.
struct Pair {
  Pair(const lab06_tests::TableConfig& table, LogitsOf target_logits, LogitsOf draft_logits,
       int target_room = 256, int draft_room = 256)
      : target(table, std::move(target_logits)),
        draft(table, std::move(draft_logits)),
        target_cache(kit::make_reference_kv_cache(target.config().kv_cache_config(target_room))),
        draft_cache(kit::make_reference_kv_cache(draft.config().kv_cache_config(draft_room))) {}

  RoundResult round(const std::vector<int>& context, int gamma, const SamplingRule& rule, Rng& rng) {
    target.forget_calls();
    draft.forget_calls();
    return lab06::speculative_round(target, *target_cache, draft, *draft_cache, context, gamma, rule, rng);
  }
  RoundResult greedy(const std::vector<int>& context, int gamma) {
    Rng rng(1);
    return round(context, gamma, kGreedy, rng);
  }
  /// Fills a cache with the first n tokens.
  static void fill(TableModel& model, kit::KvCache& cache, const std::vector<int>& context, std::size_t n) {
    model.forward(std::span(context).first(n), cache);
  }

  TableModel target;
  TableModel draft;
  std::unique_ptr<kit::KvCache> target_cache;
  std::unique_ptr<kit::KvCache> draft_cache;
};

int counting(int last) {
  return (last + 1) % 10;
}

/// The target counts 0, 1, .., 9, 0; so does the draft, but after `slip` it says 0.
Pair counting_pair(int slip, std::vector<int> eos = {}, int target_room = 256, int draft_room = 256) {
  return {{.vocab_size = 10, .order = 1, .eos = std::move(eos)},
          certain(10, counting),
          certain(10, [slip](int last) { return last == slip ? 0 : counting(last); }),
          target_room,
          draft_room};
}

/// Random models of order 2 that resemble each other.
Pair random_pair(std::uint64_t stream, int vocab_size, std::vector<int> eos = {}) {
  const LogitsOf logits = random_logits(stream, vocab_size, 1.5F);
  return {
      {.vocab_size = vocab_size, .order = 2, .eos = std::move(eos)}, logits, noisy(logits, stream + 1, 0.4F)};
}

/// What a cache must hold, and what it says when it does not.
testing::AssertionResult holds(const kit::KvCache& cache, const std::vector<int>& text, int n,
                               const char* whose) {
  const std::vector<int> kept = text_in(cache);
  const std::vector<int> expected(text.begin(), text.begin() + n);
  if (kept == expected && cache.length(1) == n) return testing::AssertionSuccess();
  auto failure = testing::AssertionFailure()
                 << "the " << whose << "'s cache holds " << to_text(kept) << " (layer 1: " << cache.length(1)
                 << " tokens), expected " << to_text(expected);
  if (kept.size() > expected.size()) {
    failure << "\nLikely cause: the " << whose << "'s cache was not rolled back: rejected tokens stay in it";
  } else if (kept.size() < expected.size()) {
    failure << "\nLikely cause: the " << whose
            << "'s cache was rolled back too far: all tokens but the last stay";
  }
  return failure;
}

std::vector<int> joined(std::vector<int> context, const RoundResult& round) {
  context.insert(context.end(), round.tokens.begin(), round.tokens.end());
  return context;
}

TEST(SpeculativeRound, AcceptedPrefixThenTheCorrection) {
  Pair pair = counting_pair(/*slip=*/5);
  // The draft says 4, 5, 0, 1; the target 4, 5, 6.
  EXPECT_EQ(pair.greedy({3}, 4), (RoundResult{{4, 5, 6}, 4, 2}));
}

TEST(SpeculativeRound, FirstRejectedLeavesTheCorrectionAlone) {
  Pair pair = counting_pair(/*slip=*/3);
  EXPECT_EQ(pair.greedy({3}, 4), (RoundResult{{4}, 4, 0}));
}

TEST(SpeculativeRound, AllAcceptedEarnTheBonusToken) {
  Pair pair = counting_pair(/*slip=*/9);
  EXPECT_EQ(pair.greedy({3}, 4), (RoundResult{{4, 5, 6, 7, 8}, 4, 4}))
      << "4 accepted draft tokens, and the target's token behind them";
  EXPECT_EQ(pair.greedy({3, 4, 5, 6, 7, 8}, 1), (RoundResult{{9, 0}, 1, 1}));
}

TEST(SpeculativeRound, MatchesTheReferenceRoundByRound) {
  const SamplingRule rules[] = {{},
                                {.temperature = 0.6},
                                {.temperature = 1.4, .top_k = 4},
                                {.temperature = 0.9, .top_k = 0, .top_p = 0.8},
                                kGreedy};
  std::uint64_t stream = 3000;
  for (const SamplingRule& rule : rules) {
    for (const int gamma : {1, 2, 3, 5}) {
      stream += 10;
      Pair pair = random_pair(stream, 7);
      Rng rng = make_rng(stream + 2);
      std::vector<int> context = {1, 6, 2};
      for (int i = 0; i < 12; ++i) {
        const Rng before = rng;
        const RoundCase question{
            .context = context,
            .gamma = gamma,
            .rule = rule,
            .target_lacks = static_cast<int>(context.size()) - pair.target_cache->length(0),
            .draft_lacks = static_cast<int>(context.size()) - pair.draft_cache->length(0)};
        const RoundResult got = pair.round(context, gamma, rule, rng);
        ASSERT_TRUE(is_reference_round(got, rng, pair.target, pair.draft, question, before)) << "round " << i;
        context = joined(context, got);
      }
    }
  }
}

TEST(SpeculativeRound, TheTargetIsCalledOnce) {
  Pair pair = random_pair(3300, 9);
  Rng rng = make_rng(3301);
  std::vector<int> context = {4};
  for (int i = 0; i < 10; ++i) {
    context = joined(context, pair.round(context, 4, {}, rng));
    ASSERT_EQ(pair.target.calls().size(), 1)
        << "one pass judges all draft tokens: a pass for each costs what "
           "plain decoding costs";
    EXPECT_EQ(pair.target.calls()[0].n_tokens, 5) << "the newest token and 4 draft tokens";
    EXPECT_EQ(pair.draft.calls().size(), 4) << "one pass for each draft token";
  }
}

TEST(SpeculativeRound, TheFirstRoundTakesThePromptAlong) {
  Pair pair = counting_pair(/*slip=*/5);
  const std::vector<int> prompt = {9, 7, 1, 2, 3};
  EXPECT_EQ(pair.greedy(prompt, 3), (RoundResult{{4, 5, 6}, 3, 2}));
  ASSERT_EQ(pair.target.seen().size(), 1) << "the prompt goes into the pass that judges the draft tokens";
  EXPECT_EQ(pair.target.seen()[0].tokens, (std::vector<int>{9, 7, 1, 2, 3, 4, 5, 0}));
  ASSERT_EQ(pair.draft.seen().size(), 3);
  EXPECT_EQ(pair.draft.seen()[0].tokens, prompt);
  EXPECT_EQ(pair.draft.seen()[1].tokens, std::vector<int>{4});
}

TEST(SpeculativeRound, CachesHoldAllTokensButTheLast) {
  Pair pair = random_pair(3400, 6);
  Rng rng = make_rng(3401);
  std::vector<int> context = {5, 0, 3};
  for (int i = 0; i < 20; ++i) {
    const RoundResult got = pair.round(context, 3, {}, rng);
    context = joined(context, got);
    ASSERT_GE(got.tokens.size(), 1);
    const int n = static_cast<int>(context.size()) - 1;
    ASSERT_TRUE(holds(*pair.target_cache, context, n, "target")) << "after round " << i;
    // The draft never saw the last of its tokens when all were accepted.
    ASSERT_TRUE(holds(*pair.draft_cache, context, got.tokens.size() == 4 ? n - 1 : n, "draft"))
        << "after round " << i;
  }
}

TEST(SpeculativeRound, TheDraftCatchesUpAfterFullAcceptance) {
  Pair pair = counting_pair(/*slip=*/9);
  const std::vector<int> context = joined({3}, pair.greedy({3}, 2));
  ASSERT_EQ(context, (std::vector<int>{3, 4, 5, 6}));
  pair.greedy(context, 2);
  ASSERT_EQ(pair.draft.seen().size(), 2)
      << "one pass for each draft token: the first takes what is missing, too";
  EXPECT_EQ(pair.draft.seen()[0].first_pos, 2);
  EXPECT_EQ(pair.draft.seen()[0].tokens, (std::vector<int>{5, 6}))
      << "the draft never saw its last accepted token: it takes it together with the bonus token";
}

TEST(SpeculativeRound, CachesMayLackAnyNumberOfTokens) {
  const std::vector<int> context = {1, 0, 2, 5, 3, 3, 1, 4};
  for (const std::size_t target_has : {0, 3, 7}) {
    for (const std::size_t draft_has : {0, 1, 6}) {
      Pair pair = random_pair(3500, 6);
      if (target_has > 0) Pair::fill(pair.target, *pair.target_cache, context, target_has);
      if (draft_has > 0) Pair::fill(pair.draft, *pair.draft_cache, context, draft_has);
      Rng rng = make_rng(3501 + target_has * 10 + draft_has);
      const Rng before = rng;
      const RoundResult got = pair.round(context, 3, {}, rng);
      const RoundCase question{.context = context,
                               .gamma = 3,
                               .rule = {},
                               .target_lacks = static_cast<int>(context.size() - target_has),
                               .draft_lacks = static_cast<int>(context.size() - draft_has)};
      EXPECT_TRUE(is_reference_round(got, rng, pair.target, pair.draft, question, before));
      EXPECT_EQ(pair.target.calls().size(), 1);
      EXPECT_EQ(pair.draft.calls().size(), 3);
    }
  }
}

TEST(SpeculativeRound, NothingFollowsAnAcceptedEndOfText) {
  Pair pair = counting_pair(/*slip=*/9, /*eos=*/{5});
  const RoundResult got = pair.greedy({3}, 4);
  EXPECT_EQ(got.tokens, (std::vector<int>{4, 5}))
      << "the draft's end-of-text token was accepted: the text ends there";
  EXPECT_EQ(got.n_accepted, 2);
  EXPECT_EQ(got.n_drafted, 2) << "an end-of-text token ends drafting";
  EXPECT_EQ(pair.draft.calls().size(), 2);
  EXPECT_TRUE(holds(*pair.target_cache, {3, 4, 5}, 2, "target"));
  EXPECT_TRUE(holds(*pair.draft_cache, {3, 4, 5}, 2, "draft"));
}

TEST(SpeculativeRound, ARejectedEndOfTextEndsNothing) {
  // The draft says 4, 5, 0; 0 is end of text, and the target says 6.
  Pair pair = counting_pair(/*slip=*/5, /*eos=*/{0});
  EXPECT_EQ(pair.greedy({3}, 6), (RoundResult{{4, 5, 6}, 3, 2}));
  EXPECT_TRUE(holds(*pair.target_cache, {3, 4, 5, 6}, 3, "target"));
}

TEST(SpeculativeRound, EndOfTextInRandomRounds) {
  for (int i = 0; i < 60; ++i) {
    Pair pair = random_pair(3600 + static_cast<std::uint64_t>(i), 4, {2});
    Rng rng = make_rng(3700 + static_cast<std::uint64_t>(i));
    const Rng before = rng;
    const std::vector<int> context = {1, 3};
    const RoundResult got = pair.round(context, 5, {}, rng);
    const RoundCase question{.context = context, .gamma = 5, .rule = {}, .target_lacks = 2, .draft_lacks = 2};
    ASSERT_TRUE(is_reference_round(got, rng, pair.target, pair.draft, question, before));
    const int n = static_cast<int>(context.size() + got.tokens.size()) - 1;
    ASSERT_TRUE(holds(*pair.target_cache, joined(context, got), n, "target"));
  }
}

TEST(SpeculativeRound, GammaZeroIsADecodingStep) {
  Pair pair = random_pair(3800, 8);
  Rng rng = make_rng(3801);
  std::vector<int> context = {1, 2};
  for (int i = 0; i < 5; ++i) {
    Rng expected_rng = rng;
    const double u = expected_rng.uniform();
    const RoundResult got = pair.round(context, 0, {}, rng);
    ASSERT_EQ(got.tokens.size(), 1);
    EXPECT_EQ(got.n_drafted, 0);
    EXPECT_EQ(got.n_accepted, 0);
    double below = 0.0;
    const std::vector<double> p = lab06_tests::reference_distribution(pair.target.logits_after(context), {});
    ASSERT_TRUE(got.tokens[0] >= 0 && got.tokens[0] < 8);
    for (int v = 0; v < got.tokens[0]; ++v) below += p[static_cast<std::size_t>(v)];
    EXPECT_TRUE(below <= u && u < below + p[static_cast<std::size_t>(got.tokens[0])] + 1e-12);
    EXPECT_EQ(rng, expected_rng) << "one random number";
    EXPECT_TRUE(pair.draft.calls().empty()) << "the draft has nothing to do";
    EXPECT_EQ(pair.target.calls().size(), 1);
    context = joined(context, got);
    EXPECT_TRUE(holds(*pair.target_cache, context, static_cast<int>(context.size()) - 1, "target"));
  }
}

TEST(SpeculativeRound, DraftsNoMoreThanThereIsRoomFor) {
  struct Room {
    int target = 0;
    int draft = 0;
    int n_drafted = 0;
  };
  // A context of 3 and gamma 5: the target needs 3 + n positions, the draft 2 + n.
  for (const Room& room : {Room{8, 7, 5}, Room{7, 100, 4}, Room{100, 6, 4}, Room{4, 5, 1}, Room{3, 100, 0},
                           Room{100, 3, 1}, Room{100, 2, 0}}) {
    Pair pair = counting_pair(/*slip=*/-1, {}, room.target, room.draft);
    const RoundResult got = pair.greedy({3, 4, 5}, 5);
    EXPECT_EQ(got.n_drafted, room.n_drafted) << fmt::format(
        "the target's cache has room for {} tokens, the draft's for {}", room.target, room.draft);
    EXPECT_EQ(got.tokens.size(), static_cast<std::size_t>(room.n_drafted) + 1)
        << "the bonus token takes no room";
  }
  // A model that is shorter than its cache.
  Pair pair{{.vocab_size = 10, .order = 1, .eos = {}, .max_seq_len = 5},
            certain(10, counting),
            certain(10, counting)};
  EXPECT_EQ(pair.greedy({3, 4, 5}, 5), (RoundResult{{6, 7, 8}, 2, 2}));
}

TEST(SpeculativeRound, GreedyDrawsNoRandomNumber) {
  Pair pair = counting_pair(/*slip=*/5);
  Rng rng = make_rng(3900);
  const Rng before = rng;
  EXPECT_EQ(pair.round({3}, 4, kGreedy, rng), (RoundResult{{4, 5, 6}, 4, 2}));
  EXPECT_EQ(rng, before);
}

TEST(SpeculativeRound, RejectsWhatCannotBe) {
  Pair pair = counting_pair(/*slip=*/5, {}, /*target_room=*/6);
  EXPECT_TRUE(throws_error([&] { pair.greedy({}, 4); }));
  EXPECT_TRUE(throws_error([&] { pair.greedy({3}, -1); }, "-1"));
  EXPECT_TRUE(throws_error([&] { pair.greedy({1, 2, 3, 4, 5, 6, 7}, 2); }, "7")) << "room for 6";
  TableModel draft({.vocab_size = 11, .order = 1, .eos = {}}, certain(11, counting));
  Rng rng(1);
  const std::vector<int> context = {1, 2};
  EXPECT_TRUE(throws_error(
      [&] {
        lab06::speculative_round(pair.target, *pair.target_cache, draft, *pair.draft_cache, context, 2,
                                 kGreedy, rng);
      },
      "11"))
      << "another vocabulary";
  Pair::fill(pair.target, *pair.target_cache, context, 2);
  pair.target.forget_calls();
  EXPECT_TRUE(throws_error([&] { pair.greedy(context, 2); }, "2")) << "the cache holds the whole context";
  EXPECT_TRUE(pair.target.calls().empty());
  EXPECT_TRUE(pair.draft.calls().empty());
}

}  // namespace
