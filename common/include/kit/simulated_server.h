#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "kit/batch_server.h"
#include "kit/request_times.h"
#include "kit/rng.h"

/// The kit's server for lab 03: a clock that is moved by a cost model, and a record of everything.
namespace kit {

struct SimulatedRequest {
  int id = 0;
  double arrival_ms = 0.0;
  int prompt_len = 0;
  int output_len = 0;
};

/// The next request, in order of arrival; nothing when there are no more. A million requests need not be in
/// memory at once.
using RequestSource = std::function<std::optional<SimulatedRequest>()>;
/// Requests that exist already. Throws kit::Error when they are not in order of arrival.
RequestSource source_of(std::vector<SimulatedRequest> requests);

/// One sequence in a step, as the cost model sees it: the last q_len of kv_len positions are run.
struct SequenceStep {
  int q_len = 0;
  int kv_len = 0;
};
/// Milliseconds of a step.
using StepTime = std::function<double(std::span<const SequenceStep> batch)>;

/// Which request had which slot: steps begin_step .. end_step - 1.
struct SlotInterval {
  int slot = 0;
  int request = 0;
  std::int64_t begin_step = 0;
  std::int64_t end_step = 0;
};

/// Keeps only requests that were taken and have not ended: a million can pass through. (finished() and the
/// timeline grow, if they are wanted.)
class SimulatedServer final : public BatchServer {
 public:
  struct Options {
    int n_slots = 1;
    StepTime step_time;
    bool keep_timeline = false;                              ///< record slot intervals
    std::function<void(const RequestTimes&)> on_finished{};  ///< instead of keeping finished()
  };
  /// Throws kit::Error when n_slots is not positive or there is no step_time or source. The requests are
  /// checked when their turn comes, in the calls below: in order of arrival, lengths positive, no identity
  /// twice at the same time.
  SimulatedServer(Options options, RequestSource source);

  int n_slots() const override { return options_.n_slots; }
  double now_ms() const override { return now_ms_; }
  /// This and next_arrival_ms() throw kit::Error, too, after kMaxIdleCalls calls in a row between which
  /// neither a step was run nor the clock advanced: the caller would wait for ever.
  std::vector<ArrivedRequest> take_arrivals(int max) override;
  std::optional<double> next_arrival_ms() override;
  void wait_until(double ms) override;
  std::vector<int> run(std::span<const SlotWork> work) override;

  static constexpr int kMaxIdleCalls = 100'000;

  /// In the order of ending; empty with Options::on_finished.
  const std::vector<RequestTimes>& finished() const { return finished_; }
  std::int64_t n_finished() const { return n_finished_; }
  /// Requests that were taken and have not ended, now and at most.
  std::int64_t n_unfinished() const { return static_cast<std::int64_t>(unfinished_.size()); }
  std::int64_t max_unfinished() const { return max_unfinished_; }
  std::int64_t n_steps() const { return n_steps_; }
  /// Slots that worked, all steps together; of n_slots * n_steps.
  std::int64_t busy_slot_steps() const { return busy_slot_steps_; }
  std::int64_t prompt_tokens() const { return prompt_tokens_; }
  std::int64_t output_tokens() const { return output_tokens_; }
  /// Time in run(), waiting not included.
  double busy_ms() const { return busy_ms_; }
  /// Of the requests that have ended, in the order of ending.
  const std::vector<SlotInterval>& timeline() const { return timeline_; }

 private:
  struct Unfinished {
    RequestTimes times;
    int slot = -1;  // none yet
    std::int64_t named_in_call = 0;
  };
  struct Slot {
    bool busy = false;
    RequestTimes times;  // of the request that has it, or had it last
    int computed = 0;    // its tokens with keys and values
    int written = 0;
    std::int64_t begin_step = 0;
    std::int64_t named_in_call = 0;
  };
  void pull();
  void count_idle_call();
  SequenceStep check(const SlotWork& work);
  int check_newcomer(const SlotWork& work);
  double step_ms() const;
  bool advance(const SlotWork& work, double begin_ms);
  void end(int slot);

  Options options_;
  RequestSource source_;
  std::optional<SimulatedRequest> next_;
  bool source_ended_ = false;
  double now_ms_ = 0.0;
  double last_arrival_ms_ = 0.0;
  int idle_calls_ = 0;
  std::unordered_map<int, Unfinished> unfinished_;
  std::vector<Slot> slots_;
  std::vector<RequestTimes> finished_;
  std::vector<SlotInterval> timeline_;
  std::vector<SequenceStep> batch_;  // of the current step, kept to save allocations
  std::int64_t n_finished_ = 0;
  std::int64_t max_unfinished_ = 0;
  std::int64_t n_steps_ = 0;
  std::int64_t n_calls_ = 0;  // of run(), refused ones included
  std::int64_t busy_slot_steps_ = 0;
  std::int64_t prompt_tokens_ = 0;
  std::int64_t output_tokens_ = 0;
  double busy_ms_ = 0.0;
};

/// Every step takes the same time: decode that is bound by the weights' bytes. Throws kit::Error when it is
/// not positive.
StepTime constant_step_time(double ms);

/// Lengths and arrivals of seeded workloads.
enum class Arrivals {
  kAtOnce,   ///< all at time 0
  kPoisson,  ///< independent: exponential gaps
  kBursty    ///< groups of 16 at once, exponential gaps between groups
};
enum class Lengths {
  kEqual,        ///< all the mean
  kUniform,      ///< 1 .. 2 mean - 1
  kExponential,  ///< geometric, its discrete form: 1, 2, ... with P(length > n) = (1 - 1 / mean)^n
  kLongTailed    ///< 1 + log-normal (sigma 1, natural log) with mean `mean` - 1, at most 50 times the mean
};
struct WorkloadConfig {
  int n_requests = 0;
  Arrivals arrivals = Arrivals::kAtOnce;
  double requests_per_s = 0.0;  ///< mean rate, for all but kAtOnce
  Lengths output = Lengths::kExponential;
  int mean_output_len = 0;
  int mean_prompt_len = 1;  ///< prompts are uniform in 1 .. 2 mean - 1
};
/// Requests 0 .. n_requests - 1, made one by one; the same for the same generator. Arrivals, prompts and
/// lengths come from generators of their own, so that requests that arrive otherwise are still the same
/// requests. Throws kit::Error naming the value when n_requests is negative, a mean is not in [1, 10
/// million], or the rate is needed and not positive.
RequestSource make_workload(const WorkloadConfig& config, const Rng& rng);

}  // namespace kit
