#include "lab03/engine.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "kit/check.h"
#include "kit/rng.h"
#include "kit/sampling.h"

namespace lab03 {

namespace {

struct Slot {
  kit::GenerationRequest request;
  std::vector<int> text;  // what was written
  kit::Rng rng;

  int token_at(int pos) const {
    const int prompt_len = static_cast<int>(request.prompt.size());
    return pos < prompt_len ? request.prompt[pos] : text[pos - prompt_len];
  }
  kit::FinishReason state(const kit::ModelConfig& model) const {
    if (model.is_eos(text.back())) return kit::FinishReason::kEndOfText;
    return static_cast<int>(text.size()) < request.max_new_tokens ? kit::FinishReason::kNone
                                                                  : kit::FinishReason::kLength;
  }
};

class SlotEngine final : public kit::Engine {
 public:
  SlotEngine(std::shared_ptr<kit::StepExecutor> executor, std::shared_ptr<kit::Scheduler> scheduler)
      : executor_(std::move(executor)), scheduler_(std::move(scheduler)) {}

  void submit(const kit::GenerationRequest& r) override {
    const kit::ModelConfig& model = executor_->config();
    for (const Slot& slot : slots_) KIT_CHECK(slot.request.id != r.id, "id {} is taken", r.id);
    KIT_CHECK(r.max_new_tokens >= 1, "{} new tokens", r.max_new_tokens);
    const auto room = static_cast<std::int64_t>(model.max_seq_len) - (r.max_new_tokens - 1);
    const auto prompt_len = static_cast<std::int64_t>(r.prompt.size());
    KIT_CHECK(prompt_len >= 1 && prompt_len <= room, "a prompt of {}, room for {}", prompt_len, room);
    const auto [low, high] = std::minmax_element(r.prompt.begin(), r.prompt.end());
    KIT_CHECK(*low >= 0 && *high < model.vocab_size, "tokens {} .. {} in the prompt", *low, *high);
    if (!(r.temperature >= 0.0F)) throw kit::Error("the temperature is negative or no number");
    scheduler_->add(r.id, static_cast<int>(prompt_len), r.max_new_tokens);
    slots_.push_back({r, {}, kit::Rng(r.seed)});
  }

  void cancel(int id) override { remove(find(id)); }

  std::vector<kit::TokenEvent> step() override {
    if (slots_.empty()) return {};
    const kit::Schedule plan = scheduler_->schedule();
    if (plan.chunks.empty()) return {};
    // Long chunks first.
    std::vector<std::size_t> order(plan.chunks.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return plan.chunks[a].n_tokens > plan.chunks[b].n_tokens;
    });
    std::vector<kit::StepSequence> batch(order.size());
    std::vector<std::size_t> row_of(order.size());
    for (std::size_t row = 0; row < order.size(); ++row) {
      const kit::ScheduledChunk& chunk = plan.chunks[order[row]];
      const Slot& slot = slots_[find(chunk.request)];
      row_of[order[row]] = row;
      batch[row].first_pos = chunk.first_pos;
      batch[row].block_table = chunk.block_table;
      for (int i = 0; i < chunk.n_tokens; ++i)
        batch[row].tokens.push_back(slot.token_at(chunk.first_pos + i));
    }
    const kit::Tensor<float> logits = executor_->run(batch);
    std::vector<kit::TokenEvent> events;
    for (std::size_t i = 0; i < plan.chunks.size(); ++i)
      if (plan.chunks[i].samples) events.push_back(advance(plan.chunks[i].request, logits.row(row_of[i])));
    return events;
  }

  bool has_work() const override { return !slots_.empty(); }

 private:
  std::size_t find(int id) const {
    for (std::size_t i = 0; i < slots_.size(); ++i)
      if (slots_[i].request.id == id) return i;
    throw kit::Error(fmt::format("no request {}", id));
  }

  void remove(std::size_t index) {
    scheduler_->finish(slots_[index].request.id);
    std::swap(slots_[index], slots_.back());
    slots_.pop_back();
  }

  kit::TokenEvent advance(int id, std::span<const float> logits) {
    const std::size_t index = find(id);
    Slot& slot = slots_[index];
    slot.text.push_back(kit::sample(logits, slot.request.temperature, slot.rng));
    const kit::TokenEvent event{id, slot.text.back(), slot.state(executor_->config())};
    if (event.finish == kit::FinishReason::kNone) {
      scheduler_->append_token(id);
    } else {
      remove(index);
    }
    return event;
  }

  std::shared_ptr<kit::StepExecutor> executor_;
  std::shared_ptr<kit::Scheduler> scheduler_;
  std::vector<Slot> slots_;
};

}  // namespace

std::unique_ptr<kit::Engine> make_engine(std::shared_ptr<kit::StepExecutor> executor,
                                         std::shared_ptr<kit::Scheduler> scheduler) {
  KIT_CHECK(executor != nullptr, "no executor");
  KIT_CHECK(scheduler != nullptr, "no scheduler");
  return std::make_unique<SlotEngine>(std::move(executor), std::move(scheduler));
}

}  // namespace lab03
