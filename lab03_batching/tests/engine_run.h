#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kit/engine.h"
#include "kit/llama.h"
#include "kit/step_executor.h"
#include "random_scheduler.h"

/// Driving an engine step by step, and saying what is wrong with it.
namespace lab03_tests {

struct TestModel {
  kit::ModelConfig config;
  std::shared_ptr<const kit::LlamaWeights> weights;
};

/// A small random model with grouped queries, other weights for every stream; `eos` end the text.
TestModel tiny_model(std::uint64_t stream, std::vector<int> eos = {});
/// The shipped target.
TestModel shipped_model();

/// What a request gets alone: kit::Model with a cache of its own, kit::sample, kit::Rng(request.seed). The
/// model's attention is the executor's, so that equal means every bit, and no tie can fall either way.
std::vector<int> tokens_alone(const TestModel& model, const kit::GenerationRequest& request);

/// Where two lists of tokens part, and how.
::testing::AssertionResult same_tokens(const std::vector<int>& got, const std::vector<int>& expected);

/// Passes everything on to an executor, and keeps the last step.
class WatchedExecutor final : public kit::StepExecutor {
 public:
  explicit WatchedExecutor(std::unique_ptr<kit::StepExecutor> inner) : inner_(std::move(inner)) {}
  const kit::ModelConfig& config() const override { return inner_->config(); }
  const kit::PagedKvConfig& kv_config() const override { return inner_->kv_config(); }

  std::vector<kit::StepSequence> batch;
  kit::Tensor<float> logits;  // [batch.size(), vocab_size]

 protected:
  kit::Tensor<float> run_checked(const std::vector<kit::StepSequence>& step, kit::Logits which) override {
    batch = step;
    logits = {};
    logits = inner_->run(step, which);
    return clone(logits.view());
  }

 private:
  std::unique_ptr<kit::StepExecutor> inner_;
};

/// One step as it was seen from outside.
struct SeenStep {
  kit::Schedule schedule;
  std::vector<kit::StepSequence> batch;  ///< empty when the executor was not called exactly once
  kit::Tensor<float> logits;
  std::vector<kit::TokenEvent> events;
};

/// An engine between a random scheduler and a watched executor, and the requests it was given. Every step is
/// checked against the schedule; tokens are compared at the end, when the cause of a difference can be told.
class EngineRun {
 public:
  /// The engine under test on `model`.
  EngineRun(const TestModel& model, const RandomScheduler::Options& options, std::uint64_t stream);

  kit::Engine& engine() { return *engine_; }
  WatchedExecutor& executor() { return *executor_; }
  RandomScheduler& scheduler() { return *scheduler_; }

  void submit(const kit::GenerationRequest& request);
  void cancel(int request);
  /// One step of the engine. False, with a failure reported, when the run cannot go on.
  bool step();
  /// Steps until nothing is left to do; then everything is checked.
  void run_to_end();

  /// Tokens that the request got so far.
  const std::vector<int>& tokens(int request) const { return states_.at(request).written; }
  bool ended(int request) const { return states_.at(request).finish != kit::FinishReason::kNone; }

 private:
  struct State {
    kit::GenerationRequest request;
    std::vector<int> written{};
    kit::FinishReason finish = kit::FinishReason::kNone;
    bool cancelled = false;
  };

  bool call_engine(SeenStep& seen);
  bool check_step(const SeenStep& seen, std::size_t n_calls, std::int64_t n_tokens);
  bool take(const kit::TokenEvent& event);
  void check_tokens() const;
  void check_all_is_over();
  std::string likely_cause() const;

  const TestModel* model_;
  std::shared_ptr<WatchedExecutor> executor_;
  std::shared_ptr<RandomScheduler> scheduler_;
  std::unique_ptr<kit::Engine> engine_;
  std::map<int, State> states_;                    // by id; of several with the same, the last
  std::vector<kit::GenerationRequest> submitted_;  // in order
  std::vector<SeenStep> seen_;
};

/// What a request's tokens were: prompt, then what was written.
struct KnownTokens {
  std::vector<int> tokens;
  int prompt_len = 0;
};

/// The first mistake in the batches that an engine made of the schedules; empty without one.
std::string batch_mistake(const std::vector<SeenStep>& seen, const std::map<int, KnownTokens>& known);

/// The wrong way to sample that explains every token of a run; empty when there is none.
std::string sampling_mistake(const std::vector<SeenStep>& seen,
                             const std::vector<kit::GenerationRequest>& submitted);

}  // namespace lab03_tests
