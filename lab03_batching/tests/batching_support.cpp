#include "batching_support.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "kit/testing.h"

namespace lab03_tests {

std::vector<kit::SimulatedRequest> make_requests(const kit::WorkloadConfig& config, std::uint64_t stream) {
  const kit::RequestSource source = kit::make_workload(config, kit::testing::make_rng(stream));
  std::vector<kit::SimulatedRequest> requests;
  while (const std::optional<kit::SimulatedRequest> request = source()) requests.push_back(*request);
  return requests;
}

RecordingServer::RecordingServer(int n_slots, const std::vector<kit::SimulatedRequest>& requests,
                                 kit::StepTime step_time)
    : server_({.n_slots = n_slots, .step_time = std::move(step_time), .keep_timeline = true},
              kit::source_of(requests)) {
  for (const kit::SimulatedRequest& request : requests) prompt_left_[request.id] = request.prompt_len;
}

std::vector<int> RecordingServer::run(std::span<const kit::SlotWork> work) {
  const double begin_ms = server_.now_ms();
  std::vector<int> ended = server_.run(work);  // throws when the work cannot be
  std::vector<kit::SlotWork> by_slot(work.begin(), work.end());
  std::ranges::sort(by_slot, {}, &kit::SlotWork::slot);
  std::vector<std::string> row;
  for (const kit::SlotWork& one : by_slot) {
    int& prompt_left = prompt_left_[one.request];
    row.push_back(fmt::format("{}:{}", one.slot, one.request));
    if (prompt_left > 0) row.back() += fmt::format("*{}", one.n_tokens);
    prompt_left = std::max(prompt_left - one.n_tokens, 0);
  }
  steps_.push_back(fmt::format("{}", fmt::join(row, " ")));
  begin_ms_.push_back(begin_ms);
  return ended;
}

::testing::AssertionResult ran(const RecordingServer& server, const std::vector<std::string>& expected,
                               const std::vector<KnownSteps>& mistakes) {
  const std::vector<std::string>& steps = server.steps();
  if (steps == expected) return ::testing::AssertionSuccess();
  std::string text = "the steps are not the expected ones (slot:request, *n for n tokens of its prompt)\n";
  for (std::size_t i = 0; i < std::max(steps.size(), expected.size()); ++i) {
    const std::string got = i < steps.size() ? steps[i] : "none";
    const std::string wanted = i < expected.size() ? expected[i] : "none";
    text += fmt::format("{} step {}: expected {}\n{:>{}}got {}\n", got == wanted ? " " : ">", i, wanted, "",
                        i < 10 ? 15 : 16, got);
  }
  for (const KnownSteps& mistake : mistakes) {
    if (steps == mistake.steps) text += "Likely cause: the steps match " + mistake.cause;
  }
  return ::testing::AssertionFailure() << text;
}

namespace {

struct Running {
  std::size_t index = 0;  // of the request
  int prompt_left = 0;
  int to_write = 0;
  int computed = 0;
};

/// Plays the rules step by step.
class Player {
 public:
  Player(const std::vector<kit::SimulatedRequest>& requests, int n_slots, const kit::StepTime& step_time,
         const Rules& rules)
      : requests_(requests),
        step_time_(step_time),
        rules_(rules),
        slots_(static_cast<std::size_t>(n_slots)),
        table_{.served = std::vector<Served>(requests.size())} {}

  Timetable play() {
    while (next_ < requests_.size() || !running_.empty()) {
      admit();
      if (running_.empty()) {
        table_.end_ms = requests_[next_].arrival_ms;  // nothing to do: wait
      } else {
        step();
      }
    }
    return std::move(table_);
  }

 private:
  struct Slot {
    bool busy = false;
    std::int64_t rests_until = 0;
  };

  void admit() {
    const bool idle = running_.empty();
    if (!idle && !rules_.joins_running) return;
    if (idle && rules_.waits_for_full_batch) {
      const std::size_t last = std::min(next_ + slots_.size(), requests_.size()) - 1;
      table_.end_ms = std::max(table_.end_ms, requests_[last].arrival_ms);
    }
    for (int joined = 0; joined < rules_.joins_per_step; ++joined) {
      if (next_ == requests_.size() || requests_[next_].arrival_ms > table_.end_ms) return;
      if (static_cast<int>(running_.size()) >= rules_.max_num_seqs) return;
      const auto slot = std::ranges::find_if(
          slots_, [&](const Slot& one) { return !one.busy && (idle || one.rests_until <= table_.n_steps); });
      if (slot == slots_.end()) return;
      slot->busy = true;
      Served& served = table_.served[next_];
      served.slot = static_cast<int>(slot - slots_.begin());
      served.begin_step = -1;
      running_.push_back({next_, requests_[next_].prompt_len, requests_[next_].output_len});
      ++next_;
    }
  }

  // Tokens that each running request runs in this step.
  std::vector<int> share_out() const {
    const bool stalls = rules_.prompt_stalls_decode &&
                        std::ranges::any_of(running_, [](const Running& one) { return one.prompt_left > 0; });
    int prefill_left = rules_.max_prefill_tokens;
    std::vector<int> n_tokens;
    for (const Running& one : running_) {
      const int n = one.prompt_left > 0 ? std::min({one.prompt_left, prefill_left, rules_.prompt_piece}) : 1;
      if (one.prompt_left > 0) prefill_left -= n;
      n_tokens.push_back(one.prompt_left == 0 && stalls ? 0 : n);
    }
    return n_tokens;
  }

  void step() {
    const std::vector<int> n_tokens = share_out();
    std::vector<kit::SequenceStep> batch;
    for (std::size_t i = 0; i < running_.size(); ++i) {
      if (n_tokens[i] > 0) batch.push_back({n_tokens[i], running_[i].computed + n_tokens[i]});
    }
    const double begin_ms = table_.end_ms;
    table_.end_ms += step_time_(batch);
    ++table_.n_steps;
    for (std::size_t i = 0; i < running_.size(); ++i) advance(running_[i], n_tokens[i], begin_ms);
    std::erase_if(running_, [](const Running& one) { return one.to_write == 0; });
  }

  void advance(Running& one, int n_tokens, double begin_ms) {
    if (n_tokens == 0) return;
    Served& served = table_.served[one.index];
    if (served.begin_step < 0) {
      served.begin_step = table_.n_steps - 1;
      served.scheduled_ms = begin_ms;
    }
    one.computed += n_tokens;
    one.prompt_left = std::max(one.prompt_left - n_tokens, 0);
    if (one.prompt_left > 0) return;
    if (one.to_write == requests_[one.index].output_len) served.first_token_ms = table_.end_ms;
    if (--one.to_write > 0) return;
    served.finished_ms = table_.end_ms;
    served.end_step = table_.n_steps;
    slots_[static_cast<std::size_t>(served.slot)] = {false, table_.n_steps + rules_.slot_rests_steps};
  }

  const std::vector<kit::SimulatedRequest>& requests_;
  const kit::StepTime& step_time_;
  const Rules& rules_;
  std::vector<Slot> slots_;
  std::vector<Running> running_;
  std::size_t next_ = 0;
  Timetable table_;
};

using Times = std::array<double, 3>;  // scheduled, first token, finished

// NaN for what was never served.
std::vector<Times> times_of(const kit::SimulatedServer& server, std::size_t n_requests) {
  constexpr double kNever = std::numeric_limits<double>::quiet_NaN();
  std::vector<Times> times(n_requests, {kNever, kNever, kNever});
  for (const kit::RequestTimes& one : server.finished())
    times.at(static_cast<std::size_t>(one.id)) = {one.scheduled_ms, one.first_token_ms, one.finished_ms};
  return times;
}

std::vector<Times> times_of(const Timetable& table) {
  std::vector<Times> times;
  for (const Served& one : table.served)
    times.push_back({one.scheduled_ms, one.first_token_ms, one.finished_ms});
  return times;
}

}  // namespace

Timetable timetable(const std::vector<kit::SimulatedRequest>& requests, int n_slots,
                    const kit::StepTime& step_time, const Rules& rules) {
  return Player(requests, n_slots, step_time, rules).play();
}

::testing::AssertionResult served_by(const kit::SimulatedServer& server,
                                     const std::vector<kit::SimulatedRequest>& requests,
                                     const kit::StepTime& step_time, const Rules& rules,
                                     const std::vector<KnownRules>& mistakes) {
  const Timetable expected = timetable(requests, server.n_slots(), step_time, rules);
  const std::vector<Times> wanted = times_of(expected);
  const std::vector<Times> got = times_of(server, requests.size());
  if (got == wanted) return ::testing::AssertionSuccess();
  std::string text = fmt::format(
      "{} steps until {} ms, expected {} until {} ms; {} of {} requests have ended\n", server.n_steps(),
      server.now_ms(), expected.n_steps, expected.end_ms, server.n_finished(), requests.size());
  constexpr int kShown = 3;
  int n_wrong = 0;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (got[i] == wanted[i] || ++n_wrong > kShown) continue;
    text += fmt::format(
        "request {} (arrives at {:.2f} ms): begins, first token, ends at {:.2f} ms, expected {:.2f}\n", i,
        requests[i].arrival_ms, fmt::join(got[i], ", "), fmt::join(wanted[i], ", "));
  }
  text += fmt::format("{} requests have other times\n", n_wrong);
  for (const KnownRules& mistake : mistakes) {
    const Timetable wrong = timetable(requests, server.n_slots(), step_time, mistake.rules);
    if (got != times_of(wrong)) continue;
    text += "Likely cause: the times match " + mistake.cause;
    break;
  }
  return ::testing::AssertionFailure() << text;
}

Moments longest_of(kit::Lengths lengths, int mean_len, int batch_size) {
  // E[X] and E[X^2] of a count from its tail: the sums of P(X > n) and of (2 n + 1) P(X > n).
  double first = 0.0;
  double second = 0.0;
  double tail = 1.0;
  for (int n = 0; tail > 1e-15; ++n) {
    const double at_most_n = lengths == kit::Lengths::kUniform ? std::min(1.0, n / (2.0 * mean_len - 1.0))
                                                               : 1.0 - std::pow(1.0 - 1.0 / mean_len, n);
    tail = 1.0 - std::pow(at_most_n, batch_size);
    first += tail;
    second += (2.0 * n + 1.0) * tail;
  }
  return {first, second - first * first};
}

}  // namespace lab03_tests
