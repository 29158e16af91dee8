#include "lab06/ngram.h"

#include <gtest/gtest.h>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "kit/reference.h"
#include "kit/testing.h"
#include "speculation_reference.h"
#include "tiny_llama.h"

namespace {

using kit::testing::make_rng;
using kit::testing::throws_error;
using lab06::ngram_draft;
using lab06::ngram_generate;
using lab06::NgramConfig;
using lab06::SamplingRule;
using lab06_tests::random_tokens;
using lab06_tests::same_tokens;
using lab06_tests::tiny_llama;
using lab06_tests::TinyLlama;
using Tokens = std::vector<int>;

// The lookup
// -------------------------------------------------------------------------------------------------

enum class Lookup {
  kRight,
  kOldest,
  kShortestFirst,
  kSuffixItself,
  kNoOverlap,
  kFromTheNgram,
  kOneLate,
  kPastTheEnd
};

/// The definition, position by position. `what` is one of the ways to get it wrong.
Tokens looked_up(const Tokens& context, const NgramConfig& config, Lookup what = Lookup::kRight) {
  const int size = static_cast<int>(context.size());
  const auto token = [&](int i) { return context[static_cast<std::size_t>(i)]; };
  std::optional<int> best_begin;
  int best_n = 0;
  for (int n = config.min_n; n <= std::min(config.max_n, size); ++n) {
    if (best_begin && what == Lookup::kShortestFirst) break;
    std::optional<int> found;
    for (int begin = 0; begin + n <= size; ++begin) {
      if (begin == size - n && what != Lookup::kSuffixItself) continue;
      if (begin + n > size - n && what == Lookup::kNoOverlap) continue;
      bool equal = true;
      for (int i = 0; i < n; ++i) equal = equal && token(begin + i) == token(size - n + i);
      if (equal && !(found && what == Lookup::kOldest)) found = begin;
    }
    if (!found) continue;
    best_begin = found;
    best_n = n;
  }
  if (!best_begin) return {};
  int from = *best_begin + best_n;
  if (what == Lookup::kFromTheNgram) from = *best_begin;
  if (what == Lookup::kOneLate) from += 1;
  Tokens draft;
  for (int i = from; static_cast<int>(draft.size()) < config.gamma; ++i) {
    if (i >= size && what != Lookup::kPastTheEnd) break;
    draft.push_back(i < size ? token(i) : draft[static_cast<std::size_t>(i - size)]);
  }
  return draft;
}

testing::AssertionResult same_draft(const Tokens& context, const NgramConfig& config) {
  const Tokens expected = looked_up(context, config);
  const Tokens got = ngram_draft(context, config);
  if (got == expected) return testing::AssertionSuccess();
  constexpr std::array causes = {"",
                                 "the oldest occurrence; the most recent is wanted",
                                 "the shortest suffix first; the longest is wanted",
                                 "a suffix that finds itself: nothing follows it yet",
                                 "occurrences that do not overlap the suffix only",
                                 "a draft that begins with the n-gram itself; it begins behind it",
                                 "a draft that skips the first token",
                                 "a draft that goes on behind the end of the context"};
  auto failure = testing::AssertionFailure();
  failure << fmt::format("context {}, n = {} .. {}, gamma {}: got {}, expected {}", context, config.min_n,
                         config.max_n, config.gamma, got, expected);
  // Of a short context several mistakes may make the same draft.
  const char* before = ". Likely cause: the draft matches ";
  for (std::size_t i = 1; i < causes.size(); ++i) {
    if (looked_up(context, config, static_cast<Lookup>(i)) != got) continue;
    failure << before << causes[i];
    before = ", or ";
  }
  return failure;
}

TEST(NgramDraft, ByHand) {
  const NgramConfig config = {.min_n = 1, .max_n = 3, .gamma = 4};
  // "7 8" was there before, and 9 1 2 7 followed it.
  EXPECT_EQ(ngram_draft(Tokens{7, 8, 9, 1, 2, 7, 8}, config), (Tokens{9, 1, 2, 7}));
  // The last but one "1 2" was followed by 4, not by 3.
  EXPECT_EQ(ngram_draft(Tokens{1, 2, 3, 5, 1, 2, 4, 6, 1, 2}, config), (Tokens{4, 6, 1, 2}));
  // Three tokens say more than one: 5 was followed by 9 more recently, but "3 4 5" by 6.
  EXPECT_EQ(ngram_draft(Tokens{3, 4, 5, 6, 7, 5, 9, 3, 4, 5}, config), (Tokens{6, 7, 5, 9}));
  // An overlap: "2 2 2" ends one token before the suffix does, and one token is all that follows.
  EXPECT_EQ(ngram_draft(Tokens{2, 2, 2, 2}, config), (Tokens{2}));
  EXPECT_EQ(ngram_draft(Tokens{1, 2, 3, 4}, config), Tokens{});
}

TEST(NgramDraft, MatchesBruteForce) {
  kit::Rng rng = make_rng(700);
  for (int i = 0; i < 400; ++i) {
    Tokens context(rng.below(34));
    const std::uint32_t n_tokens = 1 + rng.below(5);
    for (int& token : context) token = static_cast<int>(rng.below(n_tokens));
    const int min_n = 1 + static_cast<int>(rng.below(3));
    const NgramConfig config = {.min_n = min_n,
                                .max_n = min_n + static_cast<int>(rng.below(4)),
                                .gamma = static_cast<int>(rng.below(8))};
    ASSERT_TRUE(same_draft(context, config));
  }
}

TEST(NgramDraft, LooksThroughLongContexts) {
  kit::Rng rng = make_rng(701);
  Tokens context(1000);
  for (int& token : context) token = static_cast<int>(rng.below(2000));
  // A passage from the beginning comes again.
  const Tokens passage(context.begin() + 31, context.begin() + 64);
  for (const int length : {2, 3, 31}) {
    Tokens again = context;
    again.insert(again.end(), passage.begin(), passage.begin() + length);
    EXPECT_TRUE(same_draft(again, {.min_n = 2, .max_n = 5, .gamma = 10}));
  }
}

TEST(NgramDraft, FindsNothingWhereNothingCanBe) {
  EXPECT_EQ(ngram_draft(Tokens{}, {}), Tokens{});
  EXPECT_EQ(ngram_draft(Tokens{5}, {}), Tokens{});
  EXPECT_EQ(ngram_draft(Tokens{5, 5}, {.min_n = 2, .max_n = 4, .gamma = 3}), Tokens{});
  EXPECT_EQ(ngram_draft(Tokens{5, 5, 5}, {.min_n = 1, .max_n = 4, .gamma = 0}), Tokens{});
}

TEST(NgramDraft, RejectsLengthsThatCannotBe) {
  const Tokens context = {1, 2, 1, 2};
  EXPECT_TRUE(throws_error([&] { ngram_draft(context, {.min_n = 0, .max_n = 3, .gamma = 4}); }, "0"));
  EXPECT_TRUE(throws_error([&] { ngram_draft(context, {.min_n = 3, .max_n = 2, .gamma = 4}); }, "2"));
  EXPECT_TRUE(throws_error([&] { ngram_draft(context, {.min_n = 1, .max_n = 3, .gamma = -1}); }, "-1"));
}

// The decoder
// ------------------------------------------------------------------------------------------------

/// What was written, and how.
struct Written {
  Tokens tokens;
  std::vector<kit::ForwardCall> calls;
  int n_drafted = 0;
  int n_accepted = 0;
};

enum class Decoder { kRight, kAcceptsAlways, kCorrectionFromP, kNoBonus, kGoesOnBehindTheEnd, kGreedy };

const std::vector<std::pair<Decoder, std::string>>& decoder_mistakes() {
  static const std::vector<std::pair<Decoder, std::string>> all = {
      {Decoder::kAcceptsAlways, "a decoder that keeps every draft token"},
      {Decoder::kCorrectionFromP,
       "corrections drawn from p; the rejected token must be taken out, and the rest renormalised"},
      {Decoder::kNoBonus, "a decoder that forgets the token after a draft that was kept as a whole"},
      {Decoder::kGoesOnBehindTheEnd, "a decoder that goes on behind an end of text"},
      {Decoder::kGreedy, "greedy decoding, whatever the temperature"}};
  return all;
}

/// The definition; `what` is a way to get it wrong.
Written reference_written(kit::Model& model, const Tokens& prompt, const NgramConfig& config,
                          const SamplingRule& given_rule, int max_new_tokens, kit::Rng rng,
                          Decoder what = Decoder::kRight) {
  const SamplingRule rule = what == Decoder::kGreedy ? SamplingRule{0.0, 0, 1.0} : given_rule;
  const auto uniform = [&] { return rule.temperature == 0.0 ? 0.0 : rng.uniform(); };
  const auto cache = kit::make_reference_kv_cache(model.config().kv_cache_config(model.config().max_seq_len));
  const auto is_eos = [&](int token) {
    return what != Decoder::kGoesOnBehindTheEnd && model.config().is_eos(token);
  };
  Written w;
  Tokens all = prompt;
  const std::size_t end = prompt.size() + static_cast<std::size_t>(max_new_tokens);
  model.reset_stats();
  for (bool is_over = false; !is_over;) {
    NgramConfig limited = config;
    limited.gamma = std::min(config.gamma, static_cast<int>(end - all.size()) - 1);
    Tokens draft = looked_up(all, limited);
    const auto eos = std::ranges::find_if(draft, is_eos);
    if (eos != draft.end()) draft.erase(eos + 1, draft.end());
    Tokens input(all.begin() + cache->length(0), all.end());
    input.insert(input.end(), draft.begin(), draft.end());
    const kit::Tensor<float> logits = model.forward(input, *cache, kit::Logits::kAll);
    std::vector<double> uniforms;
    for (std::size_t i = 0; i <= draft.size(); ++i) uniforms.push_back(uniform());
    w.n_drafted += static_cast<int>(draft.size());
    for (std::size_t i = 0;; ++i) {
      const auto row = static_cast<std::int64_t>(input.size() - draft.size() - 1 + i);
      std::vector<double> p = lab06_tests::reference_distribution(logits.row(row), rule);
      if (i == draft.size()) {
        if (what == Decoder::kNoBonus && i > 0) break;
        all.push_back(lab06_tests::reference_sample(p, uniforms.back()));
        break;
      }
      const auto x = static_cast<std::size_t>(draft[i]);
      if (uniforms[i] < p[x] || what == Decoder::kAcceptsAlways) {
        all.push_back(draft[i]);
        w.n_accepted += 1;
        if (is_eos(draft[i])) break;
        continue;
      }
      if (what != Decoder::kCorrectionFromP) {
        p[x] = 0.0;
        const double sum = std::accumulate(p.begin(), p.end(), 0.0);
        for (double& value : p) value /= sum;
      }
      all.push_back(lab06_tests::reference_sample(p, uniforms.back()));
      break;
    }
    is_over = is_eos(all.back()) || all.size() == end;
    cache->truncate(static_cast<int>(all.size()) - 1);
  }
  w.tokens.assign(all.begin() + static_cast<std::ptrdiff_t>(prompt.size()), all.end());
  w.calls = model.calls();
  return w;
}

/// Runs the decoder under test and compares tokens, calls, cache and counts with the definition.
void check_decoder(kit::Model& model, const Tokens& prompt, const NgramConfig& config,
                   const SamplingRule& rule, int max_new_tokens, std::uint64_t stream) {
  const Written expected = reference_written(model, prompt, config, rule, max_new_tokens, make_rng(stream));
  const auto cache = kit::make_reference_kv_cache(model.config().kv_cache_config(model.config().max_seq_len));
  kit::Rng rng = make_rng(stream);
  model.reset_stats();
  const lab06::NgramResult got = ngram_generate(model, *cache, prompt, config, rule, max_new_tokens, rng);
  const std::vector<kit::ForwardCall> calls = model.calls();
  std::string cause;
  for (const auto& [mistake, name] : decoder_mistakes()) {
    if (got.tokens == expected.tokens || !cause.empty()) break;
    // The mistakes that write no more than the others may need more positions than there are; then they are
    // not it.
    try {
      if (reference_written(model, prompt, config, rule, max_new_tokens, make_rng(stream), mistake).tokens ==
          got.tokens)
        cause = name;
    } catch (const kit::Error&) {
      continue;
    }
  }
  ASSERT_TRUE(same_tokens(got.tokens, expected.tokens, cause));
  ASSERT_EQ(calls.size(), expected.calls.size())
      << "calls of the target" << (calls.size() == got.tokens.size() ? ": one for each token" : "");
  for (std::size_t i = 0; i < calls.size(); ++i) {
    ASSERT_EQ(calls[i].n_tokens, expected.calls[i].n_tokens) << "tokens of the target's call " << i;
    ASSERT_EQ(calls[i].kv_len, expected.calls[i].kv_len)
        << "positions at the target's call " << i << ": rejected tokens must leave the cache";
  }
  EXPECT_EQ(cache->length(0), static_cast<int>(prompt.size() + expected.tokens.size()) - 1)
      << "at the end the cache holds all tokens but the last";
  EXPECT_EQ(got.n_rounds, static_cast<int>(expected.calls.size()));
  EXPECT_EQ(got.n_drafted, expected.n_drafted);
  EXPECT_EQ(got.n_accepted, expected.n_accepted);
}

/// A prompt that says things twice: of few tokens.
Tokens repetitive_prompt(int n, kit::Rng& rng) {
  Tokens prompt(static_cast<std::size_t>(n));
  for (int& token : prompt) token = 3 * static_cast<int>(rng.below(6));
  return prompt;
}

TEST(NgramGenerate, WithoutDraftsItIsPlainDecoding) {
  const TinyLlama llama = tiny_llama(710);
  const auto model = llama.model();
  kit::Rng rng = make_rng(711);
  const Tokens prompt = repetitive_prompt(9, rng);
  check_decoder(*model, prompt, {.min_n = 1, .max_n = 3, .gamma = 0}, {1.0, 0, 1.0}, 12, 712);
  ASSERT_EQ(model->calls().size(), 12U);
  EXPECT_EQ(model->tokens_processed(), 9 + 11);
}

TEST(NgramGenerate, GreedyWritesWhatTheTargetWrites) {
  // Random models fall into loops, which n-grams foresee.
  const TinyLlama llama = tiny_llama(720);
  const auto model = llama.model();
  kit::Rng rng = make_rng(721);
  for (const int n : {1, 5, 20}) {
    const Tokens prompt = repetitive_prompt(n, rng);
    const Written plain = reference_written(*model, prompt, {.min_n = 1, .max_n = 1, .gamma = 0},
                                            {0.0, 0, 1.0}, 60, make_rng(722));
    const Written speculated = reference_written(*model, prompt, {.min_n = 1, .max_n = 3, .gamma = 4},
                                                 {0.0, 0, 1.0}, 60, make_rng(722));
    ASSERT_EQ(plain.tokens, speculated.tokens);
    check_decoder(*model, prompt, {.min_n = 1, .max_n = 3, .gamma = 4}, {0.0, 0, 1.0}, 60, 722);
  }
}

TEST(NgramGenerate, SampledTokensAreThoseOfTheDefinition) {
  const TinyLlama llama = tiny_llama(730);
  const auto model = llama.model();
  kit::Rng rng = make_rng(731);
  std::uint64_t stream = 732;
  for (const SamplingRule& rule :
       {SamplingRule{1.0, 0, 1.0}, SamplingRule{0.5, 0, 1.0}, SamplingRule{1.5, 3, 1.0}}) {
    for (const int gamma : {1, 3, 6}) {
      const Tokens prompt = repetitive_prompt(1 + static_cast<int>(rng.below(32)), rng);
      check_decoder(*model, prompt, {.min_n = 1, .max_n = 2, .gamma = gamma}, rule, 40, stream++);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

/// The next token depends on the last one alone: certainly next[token], where the temperature is low.
class CyclicModel final : public kit::Model {
 public:
  CyclicModel(int vocab_size, std::vector<int> eos) {
    config_.vocab_size = vocab_size;
    config_.n_layers = config_.n_kv_heads = 1;
    config_.head_dim = 2;
    config_.max_seq_len = 200;
    config_.eos_token_ids = std::move(eos);
  }
  const kit::ModelConfig& config() const override { return config_; }

 protected:
  kit::Tensor<float> run(std::span<const int> tokens, kit::KvCache* cache, kit::Logits which) override {
    const auto n = std::ssize(tokens);
    const kit::Tensor<float> nothing({n, 1, 2});
    if (cache != nullptr) cache->append(0, nothing, nothing);
    const std::int64_t first = which == kit::Logits::kAll ? 0 : n - 1;
    kit::Tensor<float> logits({n - first, config_.vocab_size});
    for (std::int64_t i = first; i < n; ++i)
      logits(i - first, (tokens[static_cast<std::size_t>(i)] + 1) % config_.vocab_size) = 5.0F;
    return logits;
  }

 private:
  kit::ModelConfig config_;
};

TEST(NgramGenerate, DraftsThatAreKeptCostOneCall) {
  CyclicModel model(10, {});
  const Tokens prompt = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2};
  // 20 tokens in four rounds of four draft tokens and one more.
  check_decoder(model, prompt, {.min_n = 1, .max_n = 3, .gamma = 4}, {0.0, 0, 1.0}, 20, 740);
  EXPECT_EQ(model.calls().size(), 4U);
}

TEST(NgramGenerate, NeverWritesMoreThanWasAsked) {
  CyclicModel model(7, {});
  const Tokens prompt = {0, 1, 2, 3, 4, 5, 6, 0, 1, 2};
  for (int n = 1; n <= 12; ++n) {
    check_decoder(model, prompt, {.min_n = 1, .max_n = 3, .gamma = 4}, {0.0, 0, 1.0}, n, 745);
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(NgramGenerate, StopsAtAnEndOfTextInsideTheDraft) {
  for (const int eos : {3, 4, 6, 7}) {
    CyclicModel model(10, {eos});
    // The draft is 3 4 5 6.
    const Tokens prompt = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2};
    check_decoder(model, prompt, {.min_n = 1, .max_n = 3, .gamma = 4}, {0.0, 0, 1.0}, 30, 750);
    check_decoder(model, prompt, {.min_n = 1, .max_n = 3, .gamma = 4}, {0.7, 0, 1.0}, 30, 751);
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(NgramGenerate, EndOfTextByChance) {
  const TinyLlama llama = tiny_llama(760, {0, 6, 9});
  const auto model = llama.model();
  kit::Rng rng = make_rng(761);
  for (std::uint64_t stream = 762; stream < 774; ++stream) {
    const Tokens prompt = repetitive_prompt(20, rng);
    check_decoder(*model, prompt, {.min_n = 1, .max_n = 3, .gamma = 5}, {1.0, 0, 1.0}, 40, stream);
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(NgramGenerate, UsesTheLastPosition) {
  const TinyLlama llama = tiny_llama(780);
  const auto model = llama.model();
  kit::Rng rng = make_rng(781);
  const Tokens prompt = repetitive_prompt(77, rng);
  check_decoder(*model, prompt, {.min_n = 1, .max_n = 3, .gamma = 8}, {0.6, 0, 1.0}, 20, 782);
}

TEST(NgramGenerate, RejectsWhatCannotBe) {
  const TinyLlama llama = tiny_llama(790);
  const auto model = llama.model();
  const auto generate = [&](const Tokens& prompt, const NgramConfig& config, int max_new_tokens, int max_len,
                            int n_cached) {
    return [=, &model, &llama] {
      const auto cache = kit::make_reference_kv_cache(llama.config.kv_cache_config(max_len));
      if (n_cached > 0) {
        const kit::Tensor<float> rows({n_cached, 2, 6});
        for (int layer = 0; layer < 2; ++layer) cache->append(layer, rows, rows);
      }
      kit::Rng rng = make_rng(791);
      ngram_generate(*model, *cache, prompt, config, {1.0, 0, 1.0}, max_new_tokens, rng);
    };
  };
  EXPECT_TRUE(throws_error(generate({}, {}, 4, 96, 0)));
  EXPECT_TRUE(throws_error(generate({1, 2}, {}, 0, 96, 0), "0"));
  EXPECT_TRUE(throws_error(generate({1, 2}, {}, 96, 200, 0), "97")) << "the model has 96 positions";
  EXPECT_TRUE(throws_error(generate({1, 2}, {}, 20, 20, 0), "21")) << "the cache has 20 positions";
  EXPECT_TRUE(throws_error(generate({1, 2}, {}, 4, 96, 1), "1")) << "the cache is not empty";
  EXPECT_TRUE(throws_error(generate({1, 2}, {.min_n = 0, .max_n = 3, .gamma = 4}, 4, 96, 0), "0"));
  EXPECT_TRUE(throws_error(generate({1, 2}, {.min_n = 1, .max_n = 3, .gamma = -2}, 4, 96, 0), "-2"));
  EXPECT_TRUE(model->calls().empty()) << "the model is not called before the arguments are checked";
}

}  // namespace
