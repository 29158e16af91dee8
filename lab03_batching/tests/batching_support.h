#pragma once

#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <string>
#include <vector>

#include "kit/simulated_server.h"

/// What the tests of static and continuous batching share: a server that writes down what it is asked to do,
/// and the timetable that the rules demand, computed from the lengths alone.
namespace lab03_tests {

/// All of a workload's requests. The stream tells the tests' workloads apart.
std::vector<kit::SimulatedRequest> make_requests(const kit::WorkloadConfig& config, std::uint64_t stream);

/// Passes everything on, and writes down what each step did: "0:7*3 2:8" is three tokens of request 7's
/// prompt in slot 0, and one token of request 8's answer in slot 2. Ordered by slot.
class RecordingServer final : public kit::BatchServer {
 public:
  RecordingServer(int n_slots, const std::vector<kit::SimulatedRequest>& requests,
                  kit::StepTime step_time = kit::constant_step_time(1.0));

  int n_slots() const override { return server_.n_slots(); }
  double now_ms() const override { return server_.now_ms(); }
  std::vector<kit::ArrivedRequest> take_arrivals(int max) override { return server_.take_arrivals(max); }
  std::optional<double> next_arrival_ms() override { return server_.next_arrival_ms(); }
  void wait_until(double ms) override { server_.wait_until(ms); }
  std::vector<int> run(std::span<const kit::SlotWork> work) override;

  const kit::SimulatedServer& server() const { return server_; }
  const std::vector<std::string>& steps() const { return steps_; }
  const std::vector<double>& begin_ms() const { return begin_ms_; }  // of each step

 private:
  kit::SimulatedServer server_;
  std::map<int, int> prompt_left_;  // by request
  std::vector<std::string> steps_;
  std::vector<double> begin_ms_;
};

struct KnownSteps {
  std::string cause;  ///< completes "the steps match ..."
  std::vector<std::string> steps;
};
/// The steps were these. A failure shows both, and names the known mistake.
::testing::AssertionResult ran(const RecordingServer& server, const std::vector<std::string>& expected,
                               const std::vector<KnownSteps>& mistakes = {});

/// The rules of a batcher, and the mistakes that break one of them.
struct Rules {
  bool joins_running = true;  ///< false: static batching
  int max_num_seqs = std::numeric_limits<int>::max();
  int max_prefill_tokens = std::numeric_limits<int>::max();
  // Mistakes.
  bool waits_for_full_batch = false;
  int joins_per_step = std::numeric_limits<int>::max();
  int slot_rests_steps = 0;                            ///< after a request's end
  bool prompt_stalls_decode = false;                   ///< while a prompt is left, nobody writes
  int prompt_piece = std::numeric_limits<int>::max();  ///< of one request in a step
};

/// When a request ran, by the rules.
struct Served {
  int slot = -1;
  double scheduled_ms = 0.0;
  double first_token_ms = 0.0;
  double finished_ms = 0.0;
  std::int64_t begin_step = 0;
  std::int64_t end_step = 0;
  bool operator==(const Served&) const = default;
};
struct Timetable {
  std::vector<Served> served;  ///< in the order of the requests
  std::int64_t n_steps = 0;
  double end_ms = 0.0;
};
/// The timetable of these requests, which have identities 0, 1, ... in order of arrival.
Timetable timetable(const std::vector<kit::SimulatedRequest>& requests, int n_slots,
                    const kit::StepTime& step_time, const Rules& rules);

struct KnownRules {
  std::string cause;  ///< completes "the times match ..."
  Rules rules;
};
/// Every request had the times that `rules` demand. A failure names the first requests that had not, and the
/// known mistake whose times they are.
::testing::AssertionResult served_by(const kit::SimulatedServer& server,
                                     const std::vector<kit::SimulatedRequest>& requests,
                                     const kit::StepTime& step_time, const Rules& rules,
                                     const std::vector<KnownRules>& mistakes);

/// The largest of batch_size independent lengths: mean and variance, summed over the distribution. Uniform or
/// geometric.
struct Moments {
  double mean = 0.0;
  double variance = 0.0;
};
Moments longest_of(kit::Lengths lengths, int mean_len, int batch_size);

}  // namespace lab03_tests
