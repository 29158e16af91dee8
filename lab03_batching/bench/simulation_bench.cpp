#include <benchmark/benchmark.h>
#include <sys/resource.h>

#include <chrono>
#include <functional>
#include <vector>

#include "kit/simulated_server.h"
#include "lab03/continuous_batching.h"
#include "lab03/static_batching.h"

// A million requests through the two simulators. What they cost is the student's decisions and the kit's
// server; the ceiling is that server alone: the slot-steps a second that it does for a driver that decides
// nothing.

namespace {

constexpr int kRequests = 1'000'000;
constexpr int kMeanLen = 32;
constexpr double kStepMs = 1.0;

using Clock = std::chrono::steady_clock;
using Batcher = std::function<void(kit::BatchServer&)>;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Slot-steps a second of the server when all slots write all the time.
double measure_server(int n_slots) {
  constexpr std::int64_t kSlotSteps = 4'000'000;
  const auto n_steps = static_cast<int>(kSlotSteps / n_slots);
  kit::SimulatedServer server(
      {.n_slots = n_slots, .step_time = kit::constant_step_time(kStepMs)},
      kit::make_workload({.n_requests = n_slots, .output = kit::Lengths::kEqual, .mean_output_len = n_steps},
                         kit::Rng(1)));
  std::vector<kit::SlotWork> work;
  for (const kit::ArrivedRequest& request : server.take_arrivals(n_slots))
    work.push_back({static_cast<int>(work.size()), request.id, 1});
  const Clock::time_point start = Clock::now();
  for (int step = 0; step < n_steps; ++step) server.run(work);
  return static_cast<double>(server.busy_slot_steps()) / seconds_since(start);
}

/// Arrivals a little faster than all slots together can serve them: the queue never runs dry.
kit::RequestSource saturating_workload(int n_slots) {
  return kit::make_workload({.n_requests = kRequests,
                             .arrivals = kit::Arrivals::kPoisson,
                             .requests_per_s = 1.1 * n_slots / (kMeanLen * kStepMs) * 1000.0,
                             .output = kit::Lengths::kExponential,
                             .mean_output_len = kMeanLen},
                            kit::Rng(1));
}

/// Of this process, so far, in MiB.
double peak_memory_mib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024.0;
}

void simulate(benchmark::State& state, const Batcher& batcher) {
  const int n_slots = static_cast<int>(state.range(0));
  std::int64_t n_steps = 0;
  std::int64_t slot_steps = 0;
  std::int64_t max_unfinished = 0;
  const Clock::time_point start = Clock::now();
  try {
    for (auto _ : state) {
      std::int64_t n_finished = 0;
      kit::SimulatedServer server({.n_slots = n_slots,
                                   .step_time = kit::constant_step_time(kStepMs),
                                   .on_finished = [&](const kit::RequestTimes&) { ++n_finished; }},
                                  saturating_workload(n_slots));
      batcher(server);
      if (n_finished != kRequests) return state.SkipWithError("not every request has ended");
      n_steps = server.n_steps();
      slot_steps = server.busy_slot_steps();
      max_unfinished = server.max_unfinished();
    }
  } catch (const std::exception& error) {
    return state.SkipWithError(error.what());
  }
  const double seconds = seconds_since(start) / static_cast<double>(state.iterations());
  state.counters["requests_per_s"] = kRequests / seconds;
  state.counters["steps_per_s"] = static_cast<double>(n_steps) / seconds;
  state.counters["busy_slots_percent"] =
      100.0 * static_cast<double>(slot_steps) / (static_cast<double>(n_steps) * n_slots);
  state.counters["max_unfinished"] = static_cast<double>(max_unfinished);
  state.counters["peak_memory_mib"] = peak_memory_mib();
  state.counters["share_of_ceiling"] = static_cast<double>(slot_steps) / seconds / measure_server(n_slots);
}

void static_batching(benchmark::State& state) {
  simulate(state, [](kit::BatchServer& server) { lab03::run_static_batching(server); });
}
void continuous_batching(benchmark::State& state) {
  simulate(state, [](kit::BatchServer& server) { lab03::run_continuous_batching(server); });
}

BENCHMARK(static_batching)->Arg(32)->Arg(256)->Iterations(1)->Unit(benchmark::kSecond)->UseRealTime();
BENCHMARK(continuous_batching)->Arg(32)->Arg(256)->Iterations(1)->Unit(benchmark::kSecond)->UseRealTime();

}  // namespace
