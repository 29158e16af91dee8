#include "kit/simulated_server.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "kit/check.h"

namespace kit {

RequestSource source_of(std::vector<SimulatedRequest> requests) {
  for (std::size_t i = 1; i < requests.size(); ++i) {
    KIT_CHECK(requests[i].arrival_ms >= requests[i - 1].arrival_ms,
              "request {} arrives at {} ms, after request {} at {} ms in the list: they must be in order of "
              "arrival",
              requests[i].id, requests[i].arrival_ms, requests[i - 1].id, requests[i - 1].arrival_ms);
  }
  // A std::function must be copyable; its copies share the place in the list, as copies of a queue's reader.
  struct State {
    std::vector<SimulatedRequest> requests;
    std::size_t next = 0;
  };
  auto state = std::make_shared<State>(State{std::move(requests)});
  return [state]() -> std::optional<SimulatedRequest> {
    if (state->next == state->requests.size()) return std::nullopt;
    return state->requests[state->next++];
  };
}

StepTime constant_step_time(double ms) {
  KIT_CHECK(std::isfinite(ms) && ms > 0.0, "a step of {} ms: must be positive", ms);
  return [ms](std::span<const SequenceStep>) { return ms; };
}

SimulatedServer::SimulatedServer(Options options, RequestSource source)
    : options_(std::move(options)), source_(std::move(source)) {
  KIT_CHECK(options_.n_slots > 0, "n_slots is {}, must be positive", options_.n_slots);
  KIT_CHECK(options_.step_time != nullptr, "there is no step_time: the clock could not advance");
  KIT_CHECK(source_ != nullptr, "there is no source of requests");
  slots_.resize(static_cast<std::size_t>(options_.n_slots));
  batch_.reserve(slots_.size());
}

// Makes the next request known, if there is one.
void SimulatedServer::pull() {
  if (next_.has_value() || source_ended_) return;
  std::optional<SimulatedRequest> request = source_();
  source_ended_ = !request.has_value();
  if (source_ended_) return;
  KIT_CHECK(std::isfinite(request->arrival_ms) && request->arrival_ms >= last_arrival_ms_,
            "request {} arrives at {} ms, the one before it at {} ms: they must be in order of arrival",
            request->id, request->arrival_ms, last_arrival_ms_);
  KIT_CHECK(request->prompt_len > 0 && request->output_len > 0,
            "request {} has a prompt of {} and an answer of {} tokens: both must be positive", request->id,
            request->prompt_len, request->output_len);
  last_arrival_ms_ = request->arrival_ms;
  next_ = request;
}

void SimulatedServer::count_idle_call() {
  KIT_CHECK(++idle_calls_ <= kMaxIdleCalls,
            "asked {} times for arrivals at {} ms, without a step and without waiting: nothing can change",
            kMaxIdleCalls, now_ms_);
}

std::vector<ArrivedRequest> SimulatedServer::take_arrivals(int max) {
  KIT_CHECK(max >= 0, "take_arrivals({}): must not be negative", max);
  count_idle_call();
  std::vector<ArrivedRequest> arrived;
  for (pull(); std::cmp_less(arrived.size(), max) && next_.has_value() && next_->arrival_ms <= now_ms_;
       pull()) {
    const SimulatedRequest& request = *next_;
    RequestTimes times;
    times.id = request.id;
    times.arrival_ms = request.arrival_ms;
    times.prompt_len = request.prompt_len;
    times.output_len = request.output_len;
    const bool is_new = unfinished_.try_emplace(request.id, Unfinished{times}).second;
    KIT_CHECK(is_new, "request {} arrives, but a request of that identity has not ended yet", request.id);
    arrived.push_back({request.id, request.arrival_ms, request.prompt_len});
    max_unfinished_ = std::max(max_unfinished_, n_unfinished());
    next_.reset();
  }
  return arrived;
}

std::optional<double> SimulatedServer::next_arrival_ms() {
  count_idle_call();
  pull();
  if (!next_.has_value()) return std::nullopt;
  return next_->arrival_ms;
}

void SimulatedServer::wait_until(double ms) {
  KIT_CHECK(std::isfinite(ms) && ms >= now_ms_, "wait_until({} ms): it is {} ms already", ms, now_ms_);
  if (ms > now_ms_) idle_calls_ = 0;
  now_ms_ = ms;
}

// A request that is not the one in the slot it wants: in order if it was taken, has no slot, and this one is
// empty. Returns the length of its prompt.
int SimulatedServer::check_newcomer(const SlotWork& work) {
  const auto found = unfinished_.find(work.request);
  if (found == unfinished_.end()) {
    const bool ended_lately = std::ranges::any_of(
        slots_, [&](const Slot& slot) { return slot.times.output_len > 0 && slot.times.id == work.request; });
    KIT_CHECK(!ended_lately, "slot {} is given to request {}, which has ended", work.slot, work.request);
    KIT_CHECK(false, "slot {} is given to request {}, which was not taken, or has ended", work.slot,
              work.request);
  }
  Unfinished& newcomer = found->second;
  KIT_CHECK(newcomer.slot == -1, "slot {} is given to request {}, which is in slot {}", work.slot,
            work.request, newcomer.slot);
  const Slot& slot = slots_[static_cast<std::size_t>(work.slot)];
  KIT_CHECK(!slot.busy, "slot {} is given to request {}, but request {} has it and has not ended", work.slot,
            work.request, slot.times.id);
  KIT_CHECK(std::exchange(newcomer.named_in_call, n_calls_) != n_calls_,
            "request {} is twice in a step, the second time in slot {}", work.request, work.slot);
  return newcomer.times.prompt_len;
}

// What the work means for the cost. Changes nothing but the marks of this call.
SequenceStep SimulatedServer::check(const SlotWork& work) {
  KIT_CHECK(work.slot >= 0 && work.slot < n_slots(), "slot {} (request {}): slots are 0 to {}", work.slot,
            work.request, n_slots() - 1);
  Slot& slot = slots_[static_cast<std::size_t>(work.slot)];
  KIT_CHECK(std::exchange(slot.named_in_call, n_calls_) != n_calls_,
            "slot {} is twice in a step, the second time for request {}", work.slot, work.request);
  const bool is_new = !slot.busy || slot.times.id != work.request;
  const int prompt_len = is_new ? check_newcomer(work) : slot.times.prompt_len;
  const int computed = is_new ? 0 : slot.computed;
  const int rest = prompt_len - computed;
  KIT_CHECK(rest <= 0 || (work.n_tokens > 0 && work.n_tokens <= rest),
            "slot {}, request {}: {} tokens to run, but {} of its prompt's {} are left", work.slot,
            work.request, work.n_tokens, rest, prompt_len);
  KIT_CHECK(rest > 0 || work.n_tokens == 1,
            "slot {}, request {}: {} tokens to run, but its prompt is done: it writes 1 a step", work.slot,
            work.request, work.n_tokens);
  return {work.n_tokens, computed + work.n_tokens};
}

double SimulatedServer::step_ms() const {
  const double ms = options_.step_time(batch_);
  KIT_CHECK(std::isfinite(ms) && ms > 0.0,
            "step_time says {} ms for a step of {} sequences: must be positive", ms, batch_.size());
  return ms;
}

// One slot's part of a step that has just ended. True when its request has written its last token.
bool SimulatedServer::advance(const SlotWork& work, double begin_ms) {
  Slot& slot = slots_[static_cast<std::size_t>(work.slot)];
  if (!slot.busy) {
    Unfinished& newcomer = unfinished_.at(work.request);
    newcomer.slot = work.slot;
    slot = {.busy = true, .times = newcomer.times, .begin_step = n_steps_, .named_in_call = n_calls_};
    slot.times.scheduled_ms = begin_ms;
  }
  const int of_prompt = slot.computed < slot.times.prompt_len ? work.n_tokens : 0;
  slot.computed += work.n_tokens;
  prompt_tokens_ += of_prompt;
  if (slot.computed < slot.times.prompt_len) return false;
  if (slot.written++ == 0) slot.times.first_token_ms = now_ms_;
  ++output_tokens_;
  return slot.written == slot.times.output_len;
}

void SimulatedServer::end(int index) {
  Slot& slot = slots_[static_cast<std::size_t>(index)];
  slot.busy = false;
  slot.times.finished_ms = now_ms_;
  if (options_.keep_timeline) timeline_.push_back({index, slot.times.id, slot.begin_step, n_steps_});
  ++n_finished_;
  unfinished_.erase(slot.times.id);
  if (options_.on_finished) {
    options_.on_finished(slot.times);
  } else {
    finished_.push_back(slot.times);
  }
}

std::vector<int> SimulatedServer::run(std::span<const SlotWork> work) {
  KIT_CHECK(!work.empty(), "a step without work");
  ++n_calls_;
  batch_.clear();
  for (const SlotWork& one : work) batch_.push_back(check(one));

  const double begin_ms = now_ms_;
  const double ms = step_ms();
  now_ms_ += ms;
  busy_ms_ += ms;
  idle_calls_ = 0;
  busy_slot_steps_ += static_cast<std::int64_t>(work.size());
  std::vector<int> ended;
  std::vector<int> ended_slots;
  for (const SlotWork& one : work) {
    if (!advance(one, begin_ms)) continue;
    ended.push_back(one.request);
    ended_slots.push_back(one.slot);
  }
  ++n_steps_;
  for (const int slot : ended_slots) end(slot);
  return ended;
}

}  // namespace kit
