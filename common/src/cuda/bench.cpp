#include "kit/cuda/bench.h"

#include <exception>

#include "kit/cuda/device.h"
#include "kit/cuda/timing.h"

namespace kit::cuda {

void bench_against_copy(benchmark::State& state, double n_bytes, const std::function<void()>& launch,
                        double bar) {
  if (!device_present()) {
    state.SkipWithError("no GPU");
    return;
  }
  try {
    static const double ceiling = measured_copy_gb_per_s();
    double seconds = 0.0;
    for (auto _ : state) {
      seconds = median_seconds(launch);
      state.SetIterationTime(seconds);
    }
    const double rate = n_bytes / seconds / 1e9;
    state.counters["gb_per_s"] = rate;
    state.counters["share_of_ceiling"] = rate / ceiling;
    if (bar > 0.0) state.counters["bar"] = bar;
  } catch (const std::exception& error) {
    state.SkipWithError(error.what());
  }
}

}  // namespace kit::cuda
