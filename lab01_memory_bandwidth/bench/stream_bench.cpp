#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <functional>

#include "kit/aligned_vector.h"
#include "kit/probe.h"
#include "kit/reference_stream.h"
#include "lab01/stream.h"

// STREAM as a share of the read bandwidth, measured beside it in the same run. The share counts what the
// program reads and writes. Beside it stands the rate with the read that a write-allocating cache adds before
// every store: where that one exceeds the ceiling by much, the processor avoids the read. A share above 1 is
// no mistake either: reads and writes together can be faster than reads alone.

namespace {

using Array = kit::AlignedVector<double>;

constexpr std::int64_t kElements = std::int64_t{1} << 25;  // 256 MiB an array
constexpr double kScale = 3.0;
constexpr int kIterations =
    11;  // each one beside its own measurement of the ceiling; the best of both counts

struct Arrays {
  Array a = Array(kElements, 1.0);
  Array b = Array(kElements, 2.0);
  Array c = Array(kElements, 0.5);
};
using Kernel = std::function<void(Arrays&)>;

/// n_arrays: read and written by one call, without the write-allocate.
void stream(benchmark::State& state, const Kernel& kernel, int n_arrays) {
  using Clock = std::chrono::steady_clock;
  Arrays arrays;
  double best_seconds = 1e30;
  double ceiling_gb_per_s = 0.0;
  try {
    kernel(arrays);
    for (auto _ : state) {
      const Clock::time_point start = Clock::now();
      kernel(arrays);
      benchmark::ClobberMemory();
      best_seconds = std::min(best_seconds, std::chrono::duration<double>(Clock::now() - start).count());
      state.PauseTiming();
      ceiling_gb_per_s = std::max(ceiling_gb_per_s, kit::measure_read_gb_per_s(n_arrays * kElements * 8, 1));
      state.ResumeTiming();
    }
  } catch (const std::exception& error) {
    state.SkipWithError(error.what());
    return;
  }
  const auto counted = static_cast<double>(n_arrays * kElements * 8);
  const double allocated = counted + static_cast<double>(kElements * 8);
  state.counters["gb_per_s"] = counted / best_seconds / 1e9;
  state.counters["gb_per_s_with_write_allocate"] = allocated / best_seconds / 1e9;
  state.counters["read_ceiling_gb_per_s"] = ceiling_gb_per_s;
  state.counters["share_of_ceiling"] = counted / best_seconds / 1e9 / ceiling_gb_per_s;
}

void copy(benchmark::State& state) {
  stream(
      state, [](Arrays& x) { lab01::stream_copy(x.a, x.c); }, 2);
}
void scale(benchmark::State& state) {
  stream(
      state, [](Arrays& x) { lab01::stream_scale(kScale, x.c, x.b); }, 2);
}
void add(benchmark::State& state) {
  stream(
      state, [](Arrays& x) { lab01::stream_add(x.a, x.b, x.c); }, 3);
}
void triad(benchmark::State& state) {
  stream(
      state, [](Arrays& x) { lab01::stream_triad(kScale, x.b, x.c, x.a); }, 3);
}
/// The kit's own, to compare with.
void reference_triad(benchmark::State& state) {
  stream(
      state, [](Arrays& x) { kit::reference_triad(kScale, x.b, x.c, x.a); }, 3);
}
void reference_triad_nontemporal(benchmark::State& state) {
  stream(
      state, [](Arrays& x) { kit::reference_triad_nontemporal(kScale, x.b, x.c, x.a); }, 3);
}

BENCHMARK(copy)->Unit(benchmark::kMillisecond)->UseRealTime()->Iterations(kIterations);
BENCHMARK(scale)->Unit(benchmark::kMillisecond)->UseRealTime()->Iterations(kIterations);
BENCHMARK(add)->Unit(benchmark::kMillisecond)->UseRealTime()->Iterations(kIterations);
BENCHMARK(triad)->Unit(benchmark::kMillisecond)->UseRealTime()->Iterations(kIterations);
BENCHMARK(reference_triad)->Unit(benchmark::kMillisecond)->UseRealTime()->Iterations(kIterations);
BENCHMARK(reference_triad_nontemporal)->Unit(benchmark::kMillisecond)->UseRealTime()->Iterations(kIterations);

}  // namespace
