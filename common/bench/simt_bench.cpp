#include <benchmark/benchmark.h>

#include <cstdint>
#include <vector>

#include "../tests/simt/calibration.h"
#include "kit/cuda/device_buffer.h"
#include "kit/simt/profile.h"

/// Accesses a second that the SIMT executor runs, all cores together, with and without tracing. An access is
/// one load or store of one thread; a tiled transpose has four an element, a naive one two.
namespace {

void run_transpose(benchmark::State& state, calibration::Transpose variant, bool trace) {
  constexpr std::int64_t kN = 2048;
  kit::simt::Options options = kit::simt::options();
  options.trace = trace;
  const kit::simt::ScopedOptions scope(options);
  const kit::DeviceBuffer<float> in{std::span<const float>(std::vector<float>(kN * kN, 1.0F))};
  kit::DeviceBuffer<float> out(kN * kN);
  for (auto _ : state) calibration::transpose(in.view({kN, kN}), out.view({kN, kN}), variant);
  const std::int64_t per_element = variant == calibration::Transpose::kNaive ? 2 : 4;
  state.counters["accesses"] = benchmark::Counter(
      static_cast<double>(state.iterations() * kN * kN * per_element), benchmark::Counter::kIsRate);
}

BENCHMARK_CAPTURE(run_transpose, naive_traced, calibration::Transpose::kNaive, true)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(run_transpose, padded_traced, calibration::Transpose::kPadded, true)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(run_transpose, naive_untraced, calibration::Transpose::kNaive, false)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(run_transpose, padded_untraced, calibration::Transpose::kPadded, false)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
