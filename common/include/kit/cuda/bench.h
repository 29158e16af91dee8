#pragma once

#include <benchmark/benchmark.h>

#include <functional>

/// Benchmarks of kernels with Google Benchmark. In library kit_gpu_bench_main.
namespace kit::cuda {

/// Times what `launch` puts on the GPU (median_seconds: L2 flushed, launch overhead excluded), once.
/// Counters: gb_per_s, `n_bytes` that it must read and write, over that time, and share_of_ceiling, the same
/// over measured_copy_gb_per_s() of this process. Without a GPU, or when `launch` throws, the benchmark is
/// skipped with the reason. Use it with UseManualTime() and Iterations(1).
/// A `bar` above 0 becomes a counter too: the share that a milestone asks for; `./kit gpu` says whether it is
/// reached.
void bench_against_copy(benchmark::State& state, double n_bytes, const std::function<void()>& launch,
                        double bar = 0.0);

}  // namespace kit::cuda
