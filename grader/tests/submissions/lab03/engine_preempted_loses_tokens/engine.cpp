#include "lab03/engine.h"

#include <unordered_map>
#include <utility>

#include "kit/check.h"
#include "kit/rng.h"
#include "kit/sampling.h"

namespace lab03 {

namespace {

class ContinuousEngine final : public kit::Engine {
 public:
  ContinuousEngine(std::shared_ptr<kit::StepExecutor> executor, std::shared_ptr<kit::Scheduler> scheduler)
      : executor_(std::move(executor)), scheduler_(std::move(scheduler)) {}

  void submit(const kit::GenerationRequest& request) override {
    check(request);
    const auto prompt_len = static_cast<int>(request.prompt.size());
    scheduler_->add(request.id, prompt_len, request.max_new_tokens);  // may refuse; nothing has happened yet
    requests_.emplace(request.id, Request{.prompt = request.prompt,
                                          .tokens_to_go = request.max_new_tokens,
                                          .temperature = request.temperature,
                                          .rng = kit::Rng(request.seed)});
  }

  void cancel(int request) override {
    KIT_CHECK(requests_.contains(request), "request {} cannot be cancelled: it is not under way", request);
    end(request);
  }

  std::vector<kit::TokenEvent> step() override {
    // A preempted request needs nothing here: its tokens and its generator stay, and when it is scheduled
    // again its chunks begin at position 0.
    const kit::Schedule schedule = scheduler_->schedule();
    if (schedule.chunks.empty()) return {};
    const kit::Tensor<float> logits = executor_->run(batch_of(schedule));
    std::vector<kit::TokenEvent> events;
    for (std::size_t i = 0; i < schedule.chunks.size(); ++i) {
      const kit::ScheduledChunk& chunk = schedule.chunks[i];
      if (chunk.samples) events.push_back(take_token(chunk.request, logits.row(i)));
    }
    return events;
  }

  bool has_work() const override { return !requests_.empty(); }

 private:
  struct Request {
    std::vector<int> prompt;
    int last_token = 0;
    int tokens_to_go = 0;
    float temperature = 0.0F;
    kit::Rng rng;
  };

  void check(const kit::GenerationRequest& request) const {
    const kit::ModelConfig& model = executor_->config();
    KIT_CHECK(!requests_.contains(request.id), "request {} is under way already", request.id);
    KIT_CHECK(!request.prompt.empty(), "request {} has no prompt", request.id);
    KIT_CHECK(request.max_new_tokens > 0, "request {} wants {} new tokens", request.id,
              request.max_new_tokens);
    KIT_CHECK(request.temperature >= 0.0F, "request {}: temperature {} must not be negative", request.id,
              request.temperature);
    for (const int token : request.prompt)
      KIT_CHECK(token >= 0 && token < model.vocab_size, "request {}: token {} is not in [0, {})", request.id,
                token, model.vocab_size);
    // The last new token is never fed back.
    const std::int64_t n_positions =
        static_cast<std::int64_t>(request.prompt.size()) + request.max_new_tokens - 1;
    KIT_CHECK(n_positions <= model.max_seq_len, "request {} may need {} positions, the model has {}",
              request.id, n_positions, model.max_seq_len);
  }

  std::vector<kit::StepSequence> batch_of(const kit::Schedule& schedule) const {
    std::vector<kit::StepSequence> batch;
    for (const kit::ScheduledChunk& chunk : schedule.chunks) {
      const Request& request = requests_.at(chunk.request);
      std::vector<int> tokens;
      for (int pos = chunk.first_pos; pos < chunk.first_pos + chunk.n_tokens; ++pos) {
        const bool in_prompt = pos < static_cast<int>(request.prompt.size());
        tokens.push_back(in_prompt ? request.prompt[pos] : request.last_token);
      }
      batch.push_back({.tokens = tokens, .first_pos = chunk.first_pos, .block_table = chunk.block_table});
    }
    return batch;
  }

  /// Chooses the next token of a request and tells the scheduler what that means.
  kit::TokenEvent take_token(int id, std::span<const float> logits) {
    Request& request = requests_.at(id);
    const int token = kit::sample(logits, request.temperature, request.rng);
    request.last_token = token;
    request.tokens_to_go -= 1;
    kit::FinishReason finish = kit::FinishReason::kNone;
    if (executor_->config().is_eos(token)) {
      finish = kit::FinishReason::kEndOfText;
    } else if (request.tokens_to_go == 0) {
      finish = kit::FinishReason::kLength;
    }
    if (finish == kit::FinishReason::kNone) {
      scheduler_->append_token(id);
    } else {
      end(id);
    }
    return {.request = id, .token = token, .finish = finish};
  }

  void end(int id) {
    scheduler_->finish(id);
    requests_.erase(id);
  }

  std::shared_ptr<kit::StepExecutor> executor_;
  std::shared_ptr<kit::Scheduler> scheduler_;
  std::unordered_map<int, Request> requests_;  // the unfinished ones, by id
};

}  // namespace

std::unique_ptr<kit::Engine> make_engine(std::shared_ptr<kit::StepExecutor> executor,
                                         std::shared_ptr<kit::Scheduler> scheduler) {
  KIT_CHECK(executor != nullptr && scheduler != nullptr, "an engine without {}",
            executor == nullptr ? "an executor" : "a scheduler");
  return std::make_unique<ContinuousEngine>(std::move(executor), std::move(scheduler));
}

}  // namespace lab03
