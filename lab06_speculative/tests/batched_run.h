#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "kit/block_allocator.h"
#include "kit/step_executor.h"
#include "lab06/batched.h"
#include "tiny_llama.h"

/// Batched speculation under test, between watched executors, and what it must do step by step.
namespace lab06_tests {

/// One sequence's part of a run that is expected.
struct ExpectedPart {
  int request = 0;
  std::vector<int> tokens;
  int first_pos = 0;
};
struct ExpectedRun {
  std::vector<ExpectedPart> parts;
  std::vector<int>
      held;  ///< positions that each sequence has in this model's cache, those of the run included

  int n_blocks(int block_size) const;
};

/// What a batch must do: computed one sequence after the other, each with a cache and a generator of its own.
struct ExpectedBatch {
  std::vector<lab06::BatchedResult> results;
  std::vector<ExpectedRun> target_runs;
  std::vector<ExpectedRun> draft_runs;
};

/// Ways to get a batch wrong whose tokens tell.
enum class BatchMistake {
  kNone,
  kShortestAcceptance,
  kOneGenerator,
  kGoesOnBehindTheEnd,
  kGreedy,
  kRuleForTargetOnly
};

ExpectedBatch expected_batch(const TinyLlama& target, const TinyLlama& draft,
                             const std::vector<lab06::BatchedRequest>& requests,
                             const lab06::BatchedConfig& config, BatchMistake what = BatchMistake::kNone);

/// One run as the executor saw it.
struct SeenRun {
  std::vector<kit::StepSequence> batch;
  int n_used_blocks = 0;  ///< of the allocator, while it ran
  std::string mistake;    ///< with the tables; empty when there is none
};

/// A model of the batch: an executor, the allocator of its blocks, and every run it was asked for.
class WatchedModel final : public kit::StepExecutor {
 public:
  WatchedModel(const TinyLlama& llama, int block_size, int n_blocks);
  const kit::ModelConfig& config() const override { return inner_->config(); }
  const kit::PagedKvConfig& kv_config() const override { return inner_->kv_config(); }
  kit::BlockAllocator& blocks() { return *allocator_; }
  int n_used_blocks() const { return allocator_->n_blocks() - allocator_->n_free(); }
  const std::vector<SeenRun>& runs() const { return runs_; }

 protected:
  kit::Tensor<float> run_checked(const std::vector<kit::StepSequence>& batch, kit::Logits which) override;

 private:
  std::unique_ptr<kit::StepExecutor> inner_;
  std::unique_ptr<kit::BlockAllocator> allocator_;
  std::vector<SeenRun> runs_;
  std::unordered_set<int> written_;  // slots that ever were
};

/// The runs are those expected: their number, and in each the sequences with tokens and positions, and
/// whether the tables are right. `model` names it in messages.
testing::AssertionResult same_runs(const WatchedModel& got, const std::vector<ExpectedRun>& expected,
                                   const std::string& model);
/// No run holds more blocks than its positions need.
testing::AssertionResult holds_no_more(const WatchedModel& got, const std::vector<ExpectedRun>& expected,
                                       const std::string& model);

}  // namespace lab06_tests
