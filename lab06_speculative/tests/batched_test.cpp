#include "lab06/batched.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "batched_run.h"
#include "kit/sampling.h"
#include "kit/testing.h"

namespace {

using kit::testing::make_rng;
using kit::testing::throws_error;
using lab06::batched_speculation;
using lab06::BatchedConfig;
using lab06::BatchedRequest;
using lab06::BatchedResult;
using lab06_tests::BatchMistake;
using lab06_tests::expected_batch;
using lab06_tests::ExpectedBatch;
using lab06_tests::noisy_copy;
using lab06_tests::random_tokens;
using lab06_tests::same_tokens;
using lab06_tests::tiny_llama;
using lab06_tests::TinyLlama;
using lab06_tests::WatchedModel;

constexpr int kBlockSize = 4;
constexpr int kDraftBlockSize = 5;

struct Pair {
  TinyLlama target;
  TinyLlama draft;
};
/// A draft that is right often, but not always.
Pair make_pair(std::uint64_t stream, std::vector<int> eos = {}) {
  const TinyLlama target = tiny_llama(stream, std::move(eos));
  return {target, noisy_copy(target, 0.3F, stream + 1)};
}

/// Requests of different lengths, in prompt and text.
std::vector<BatchedRequest> make_requests(const Pair& pair, std::uint64_t stream) {
  kit::Rng rng = make_rng(stream);
  std::vector<BatchedRequest> requests;
  const int lengths[][2] = {{5, 30}, {1, 9}, {17, 21}, {8, 1}, {4, 34}};
  for (const auto& [n_prompt, n_new] : lengths) {
    const std::uint64_t seed = (std::uint64_t{rng.next_u32()} << 32U) + requests.size();
    requests.push_back({random_tokens(n_prompt, pair.target.config, rng), n_new, seed});
  }
  return requests;
}

/// Both models, watched, and what the implementation under test made of them.
struct Speculation {
  Speculation(const Pair& pair, int n_blocks, int n_draft_blocks)
      : target(pair.target, kBlockSize, n_blocks), draft(pair.draft, kDraftBlockSize, n_draft_blocks) {}
  explicit Speculation(const Pair& pair) : Speculation(pair, 200, 200) {}

  std::vector<BatchedResult> speculate(const std::vector<BatchedRequest>& requests,
                                       const BatchedConfig& config) {
    return batched_speculation(target, target.blocks(), draft, draft.blocks(), requests, config);
  }

  WatchedModel target;
  WatchedModel draft;
};

/// The mistake whose tokens are those that came; empty when there is none.
std::string likely_cause(const std::vector<BatchedResult>& got, const Pair& pair,
                         const std::vector<BatchedRequest>& requests, const BatchedConfig& config) {
  const std::vector<std::pair<BatchMistake, std::string>> mistakes = {
      {BatchMistake::kShortestAcceptance, "a batch that is cut to its shortest acceptance"},
      {BatchMistake::kOneGenerator, "one generator for all sequences; each has its own, kit::Rng(seed)"},
      {BatchMistake::kGoesOnBehindTheEnd, "sequences that go on behind an end of text"},
      {BatchMistake::kGreedy, "greedy decoding, whatever the temperature"},
      {BatchMistake::kRuleForTargetOnly, "a draft that samples at temperature 1, whatever the rule"}};
  for (const auto& [mistake, name] : mistakes) {
    const ExpectedBatch wrong = expected_batch(pair.target, pair.draft, requests, config, mistake);
    bool equal = true;
    for (std::size_t i = 0; i < got.size(); ++i) equal = equal && got[i].tokens == wrong.results[i].tokens;
    if (equal) return name;
  }
  return {};
}

void check_tokens(const std::vector<BatchedResult>& got, const ExpectedBatch& expected, const Pair& pair,
                  const std::vector<BatchedRequest>& requests, const BatchedConfig& config) {
  ASSERT_EQ(got.size(), requests.size());
  std::string cause;
  for (std::size_t i = 0; i < got.size() && cause.empty(); ++i) {
    if (got[i].tokens != expected.results[i].tokens) cause = likely_cause(got, pair, requests, config);
  }
  for (std::size_t i = 0; i < got.size(); ++i) {
    EXPECT_TRUE(same_tokens(got[i].tokens, expected.results[i].tokens, cause)) << "request " << i;
  }
}

const BatchedConfig kSampling = {.gamma = 4, .rule = {1.0, 0, 1.0}};
const BatchedConfig kGreedy = {.gamma = 4, .rule = {0.0, 0, 1.0}};

TEST(BatchedSpeculation, OneSequence) {
  const Pair pair = make_pair(800);
  const std::vector<BatchedRequest> requests = {make_requests(pair, 802)[0]};
  Speculation run(pair);
  const auto got = run.speculate(requests, kSampling);
  check_tokens(got, expected_batch(pair.target, pair.draft, requests, kSampling), pair, requests, kSampling);
}

TEST(BatchedSpeculation, EverySequenceGetsWhatItGetsAlone) {
  const Pair pair = make_pair(810);
  const std::vector<BatchedRequest> requests = make_requests(pair, 812);
  for (const BatchedConfig& config : {kSampling, BatchedConfig{1, {1.0, 0, 1.0}},
                                      BatchedConfig{7, {0.6, 0, 1.0}}, BatchedConfig{3, {1.5, 3, 1.0}}}) {
    Speculation run(pair);
    const auto got = run.speculate(requests, config);
    check_tokens(got, expected_batch(pair.target, pair.draft, requests, config), pair, requests, config);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(BatchedSpeculation, GreedySequencesAreTheTargets) {
  const Pair pair = make_pair(820);
  const std::vector<BatchedRequest> requests = make_requests(pair, 822);
  Speculation run(pair);
  const auto got = run.speculate(requests, kGreedy);
  const ExpectedBatch expected = expected_batch(pair.target, pair.draft, requests, kGreedy);
  check_tokens(got, expected, pair, requests, kGreedy);
  // The definition agrees with plain decoding.
  const auto model = pair.target.model();
  for (std::size_t i = 0; i < requests.size(); ++i) {
    std::vector<int> all = requests[i].prompt;
    for (const int token : expected.results[i].tokens) {
      kit::Rng unused = make_rng(0);
      ASSERT_EQ(kit::sample(model->forward(all).span(), 0.0F, unused), token);
      all.push_back(token);
    }
  }
}

TEST(BatchedSpeculation, TargetRunsOnceARoundForAll) {
  const Pair pair = make_pair(830);
  const std::vector<BatchedRequest> requests = make_requests(pair, 832);
  Speculation run(pair);
  (void)run.speculate(requests, kSampling);
  const ExpectedBatch expected = expected_batch(pair.target, pair.draft, requests, kSampling);
  int n_all = 0;
  int n_plain = 0;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    n_all += expected.results[i].n_rounds;
    n_plain += requests[i].max_new_tokens;
  }
  EXPECT_TRUE(kit::testing::matches_count(
      static_cast<std::int64_t>(run.target.steps().size()),
      static_cast<std::int64_t>(expected.target_runs.size()),
      std::vector<kit::testing::KnownCount>{{"one run of the target for each sequence and round", n_all},
                                            {"one run of the target for each token", n_plain}}));
  EXPECT_TRUE(same_runs(run.target, expected.target_runs, "the target"));
}

TEST(BatchedSpeculation, DraftRunsOnceAStepForAll) {
  const Pair pair = make_pair(840);
  const std::vector<BatchedRequest> requests = make_requests(pair, 842);
  for (const int gamma : {1, 4}) {
    const BatchedConfig config = {gamma, {0.8, 0, 1.0}};
    Speculation run(pair);
    (void)run.speculate(requests, config);
    EXPECT_TRUE(same_runs(run.draft, expected_batch(pair.target, pair.draft, requests, config).draft_runs,
                          "the draft"));
  }
}

TEST(BatchedSpeculation, GivesBlocksOfRejectedTokensBack) {
  const Pair pair = make_pair(850);
  const std::vector<BatchedRequest> requests = make_requests(pair, 852);
  const BatchedConfig config = {9, {1.0, 0, 1.0}};
  Speculation run(pair);
  (void)run.speculate(requests, config);
  const ExpectedBatch expected = expected_batch(pair.target, pair.draft, requests, config);
  EXPECT_TRUE(holds_no_more(run.target, expected.target_runs, "the target"));
  EXPECT_TRUE(holds_no_more(run.draft, expected.draft_runs, "the draft"));
  EXPECT_EQ(run.target.n_used_blocks(), 0) << "blocks of the target that nobody gave back";
  EXPECT_EQ(run.draft.n_used_blocks(), 0) << "blocks of the draft that nobody gave back";
}

TEST(BatchedSpeculation, LivesOnTheBlocksThatItNeeds) {
  const Pair pair = make_pair(860);
  const std::vector<BatchedRequest> requests = make_requests(pair, 862);
  const BatchedConfig config = {6, {1.0, 0, 1.0}};
  const ExpectedBatch expected = expected_batch(pair.target, pair.draft, requests, config);
  int n_target = 0;
  int n_draft = 0;
  for (const auto& r : expected.target_runs) n_target = std::max(n_target, r.n_blocks(kBlockSize));
  for (const auto& r : expected.draft_runs) n_draft = std::max(n_draft, r.n_blocks(kDraftBlockSize));
  Speculation run(pair, n_target, n_draft);
  check_tokens(run.speculate(requests, config), expected, pair, requests, config);
}

TEST(BatchedSpeculation, GivesEverythingBackWhenBlocksRunOut) {
  const Pair pair = make_pair(870);
  const std::vector<BatchedRequest> requests = make_requests(pair, 872);
  // The prompts alone need 2 + 1 + 5 + 2 + 1 blocks of the target.
  for (const auto& [n_target, n_draft] : {std::pair{6, 200}, std::pair{200, 5}, std::pair{14, 200}}) {
    Speculation run(pair, n_target, n_draft);
    EXPECT_TRUE(throws_error([&] { (void)run.speculate(requests, kSampling); }));
    EXPECT_EQ(run.target.n_used_blocks(), 0);
    EXPECT_EQ(run.draft.n_used_blocks(), 0);
  }
}

TEST(BatchedSpeculation, SequencesEndAtDifferentTimes) {
  const Pair pair = make_pair(880, {3, 11, 25, 30});
  const std::vector<BatchedRequest> requests = make_requests(pair, 882);
  for (const BatchedConfig& config : {kSampling, kGreedy, BatchedConfig{8, {0.7, 0, 1.0}}}) {
    Speculation run(pair);
    const auto got = run.speculate(requests, config);
    const ExpectedBatch expected = expected_batch(pair.target, pair.draft, requests, config);
    check_tokens(got, expected, pair, requests, config);
    EXPECT_TRUE(same_runs(run.target, expected.target_runs, "the target"));
    EXPECT_TRUE(same_runs(run.draft, expected.draft_runs, "the draft"));
    EXPECT_EQ(run.target.n_used_blocks(), 0);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(BatchedSpeculation, CountsForEachSequence) {
  const Pair pair = make_pair(890, {3, 11});
  const std::vector<BatchedRequest> requests = make_requests(pair, 892);
  Speculation run(pair);
  const auto got = run.speculate(requests, kSampling);
  const ExpectedBatch expected = expected_batch(pair.target, pair.draft, requests, kSampling);
  ASSERT_EQ(got.size(), expected.results.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].n_rounds, expected.results[i].n_rounds) << "request " << i;
    EXPECT_EQ(got[i].n_drafted, expected.results[i].n_drafted) << "request " << i;
    EXPECT_EQ(got[i].n_accepted, expected.results[i].n_accepted) << "request " << i;
  }
}

TEST(BatchedSpeculation, WithoutDraftTokensItIsABatchOfPlainDecoding) {
  const Pair pair = make_pair(900);
  const std::vector<BatchedRequest> requests = make_requests(pair, 902);
  const BatchedConfig config = {0, {1.0, 0, 1.0}};
  Speculation run(pair);
  const auto got = run.speculate(requests, config);
  check_tokens(got, expected_batch(pair.target, pair.draft, requests, config), pair, requests, config);
  EXPECT_EQ(run.target.steps().size(), 34U) << "the longest text has 34 tokens";
  EXPECT_TRUE(run.draft.steps().empty());
}

TEST(BatchedSpeculation, UsesTheLastPosition) {
  const Pair pair = make_pair(910);
  kit::Rng rng = make_rng(912);
  const std::vector<BatchedRequest> requests = {{random_tokens(88, pair.target.config, rng), 9, 1},
                                                {random_tokens(3, pair.target.config, rng), 12, 2}};
  Speculation run(pair);
  check_tokens(run.speculate(requests, kSampling),
               expected_batch(pair.target, pair.draft, requests, kSampling), pair, requests, kSampling);
}

TEST(BatchedSpeculation, NothingForNoRequests) {
  const Pair pair = make_pair(920);
  Speculation run(pair);
  EXPECT_TRUE(run.speculate({}, kSampling).empty());
  EXPECT_TRUE(run.target.steps().empty() && run.draft.steps().empty());
}

TEST(BatchedSpeculation, RejectsWhatCannotBe) {
  Pair pair = make_pair(930);
  const std::vector<BatchedRequest> good = make_requests(pair, 932);
  Speculation run(pair);
  const auto with = [&](const BatchedRequest& request) {
    std::vector<BatchedRequest> requests = good;
    requests.push_back(request);
    return [&run, requests] { (void)run.speculate(requests, kSampling); };
  };
  EXPECT_TRUE(throws_error(with({{}, 4, 1}), "5")) << "request 5 has no prompt";
  EXPECT_TRUE(throws_error(with({{1, 2}, 0, 1}), "5")) << "request 5 wants no tokens";
  EXPECT_TRUE(throws_error(with({{1, 2}, 96, 1}), "97")) << "the models have 96 positions";
  EXPECT_TRUE(throws_error([&] { (void)run.speculate(good, {-1, {1.0, 0, 1.0}}); }, "-1"));
  kit::Rng rng = make_rng(933);
  pair.draft.config.vocab_size = 40;
  pair.draft.weights =
      std::make_shared<const kit::LlamaWeights>(random_llama_weights(pair.draft.config, rng));
  Speculation other(pair);
  EXPECT_TRUE(throws_error([&] { (void)other.speculate(good, kSampling); }, "40"))
      << "vocabularies of 41 and 40";
  for (const Speculation* each : {&run, &other}) {
    EXPECT_TRUE(each->target.steps().empty() && each->draft.steps().empty());
    EXPECT_EQ(each->target.n_used_blocks() + each->draft.n_used_blocks(), 0);
  }
}

}  // namespace
