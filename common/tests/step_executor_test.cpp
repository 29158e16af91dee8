#include "kit/step_executor.h"

#include <gtest/gtest.h>

#include "kit/testing.h"

// What run() does for every executor, whatever is behind it: checks and counts.

namespace kit::testing {
namespace {

/// Remembers what came through; its logits are row and column numbers.
class FakeExecutor final : public StepExecutor {
 public:
  FakeExecutor() {
    config_.vocab_size = 41;
    config_.max_seq_len = 20;
  }
  const ModelConfig& config() const override { return config_; }
  const PagedKvConfig& kv_config() const override { return kv_; }

  std::vector<std::vector<StepSequence>> seen;
  bool fails = false;

 protected:
  Tensor<float> run_checked(const std::vector<StepSequence>& batch, Logits which) override {
    if (fails) throw Error("attention failed");
    seen.push_back(batch);
    std::size_t n_rows = batch.size();
    if (which == Logits::kAll) {
      n_rows = 0;
      for (const StepSequence& s : batch) n_rows += s.tokens.size();
    }
    return Tensor<float>({static_cast<std::int64_t>(n_rows), config_.vocab_size});
  }

 private:
  ModelConfig config_;
  PagedKvConfig kv_{.n_layers = 1, .n_kv_heads = 1, .head_dim = 2, .block_size = 4, .n_blocks = 6};
};

/// A prompt of five tokens in blocks 3 and 1, and a decode of position 8 in its third block.
std::vector<StepSequence> mixed_batch() {
  return {{.tokens = {7, 0, 40, 3, 3}, .first_pos = 0, .block_table = {3, 1}},
          {.tokens = {9}, .first_pos = 8, .block_table = {0, 5, 2, 4}}};
}

TEST(StepExecutor, CountsStepsTokensAndTheLongestContext) {
  FakeExecutor executor;
  executor.run(mixed_batch());
  executor.run({{.tokens = {1, 2}, .first_pos = 0, .block_table = {0}}});
  ASSERT_EQ(executor.steps().size(), 2U);
  EXPECT_EQ(executor.steps()[0].n_sequences, 2);
  EXPECT_EQ(executor.steps()[0].n_tokens, 6);
  EXPECT_EQ(executor.steps()[0].longest_context, 9);
  EXPECT_EQ(executor.steps()[1].n_sequences, 1);
  EXPECT_EQ(executor.steps()[1].n_tokens, 2);
  EXPECT_EQ(executor.steps()[1].longest_context, 2);
  EXPECT_EQ(executor.tokens_processed(), 8);
  executor.reset_stats();
  EXPECT_TRUE(executor.steps().empty());
  EXPECT_EQ(executor.tokens_processed(), 0);
}

TEST(StepExecutor, ReturnsTheLogitsThatWereAskedFor) {
  FakeExecutor executor;
  EXPECT_EQ(executor.run(mixed_batch()).shape(), (Shape{2, 41}));
  EXPECT_EQ(executor.run(mixed_batch(), Logits::kAll).shape(), (Shape{6, 41}));
  EXPECT_EQ(executor.tokens_processed(), 12) << "the count is of tokens that were run, not of logits";
}

TEST(StepExecutor, RunsNothingAndCountsNothingAfterAnError) {
  // Each case spoils one thing of a batch that is right, in its second sequence: what comes before must not
  // have run either.
  struct Case {
    const char* needle;
    std::function<void(std::vector<StepSequence>&)> spoil;
  };
  const std::vector<Case> cases = {
      {"a step without sequences", [](auto& b) { b.clear(); }},
      {"sequence 1 of the batch has no tokens", [](auto& b) { b[1].tokens.clear(); }},
      {"token 41 is not in [0, 41)", [](auto& b) { b[1].tokens = {41}; }},
      {"token -1 is not in [0, 41)", [](auto& b) { b[1].tokens = {-1}; }},
      {"positions -1 .. -1", [](auto& b) { b[1].first_pos = -1; }},
      {"positions 20 .. 20, the model has 20",
       [](auto& b) {
         b[1].first_pos = 20;
         b[1].block_table = {0, 5, 2, 4, 0, 5};
       }},
      {"positions 2147483647 .. 2147483647", [](auto& b) { b[1].first_pos = 2147483647; }},
      {"2 blocks for 9 positions, 3 are needed",
       [](auto& b) {
         b[1].block_table = {0, 5};
       }},
      {"block 6 is not in [0, 6)",
       [](auto& b) {
         b[1].block_table = {0, 6, 2};
       }},
      {"block -1 is not in [0, 6)",
       [](auto& b) {
         b[1].block_table = {-1, 5, 2};
       }},
      {"sequence 1 of the batch would write its position 8 to block 1, place 0",
       [](auto& b) {
         b[1].block_table = {0, 5, 1};
       }},
      {"sequence 0 of the batch would write its position 4 to block 3, place 0", [](auto& b) {
         b[0].block_table = {3, 3};
       }}};
  for (const Case& c : cases) {
    FakeExecutor executor;
    auto batch = mixed_batch();
    c.spoil(batch);
    EXPECT_TRUE(throws_error([&] { executor.run(batch); }, c.needle));
    EXPECT_TRUE(executor.seen.empty()) << c.needle;
    EXPECT_TRUE(executor.steps().empty()) << c.needle;
    EXPECT_EQ(executor.tokens_processed(), 0) << c.needle;
  }
}

TEST(StepExecutor, LetsSequencesReadTheSameBlocks) {
  // Sharing a prefix is legal; only writing to one place twice is not.
  FakeExecutor executor;
  executor.run({{.tokens = {1}, .first_pos = 4, .block_table = {0, 1}},
                {.tokens = {2}, .first_pos = 4, .block_table = {0, 2}}});
  EXPECT_EQ(executor.tokens_processed(), 2);
}

TEST(StepExecutor, TakesTheLastPositionOfTheModelAndLongTables) {
  FakeExecutor executor;
  // Blocks past the last position are the caller's reserve; nobody looks at them.
  executor.run({{.tokens = {1, 2}, .first_pos = 18, .block_table = {0, 1, 2, 3, 4, 99}}});
  EXPECT_EQ(executor.steps()[0].longest_context, 20);
}

TEST(StepExecutor, CountsNoStepThatFailed) {
  FakeExecutor executor;
  executor.fails = true;
  EXPECT_TRUE(throws_error([&] { executor.run(mixed_batch()); }, "attention failed"));
  EXPECT_TRUE(executor.steps().empty());
  EXPECT_EQ(executor.tokens_processed(), 0);
}

}  // namespace
}  // namespace kit::testing
