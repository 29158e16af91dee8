#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include "kit/cuda/device.h"

/// Google Benchmark's main, with the GPU in the report's context.
int main(int argc, char** argv) {
  const kit::cuda::DeviceInfo device = kit::cuda::query_device();
  benchmark::AddCustomContext("gpu", device.present ? device.name : "none: " + device.reason);
  if (device.present) {
    benchmark::AddCustomContext("gpu_compute_capability",
                                fmt::format("{}.{}", device.compute_major, device.compute_minor));
    benchmark::AddCustomContext("gpu_multiprocessors", fmt::format("{}", device.n_multiprocessors));
    benchmark::AddCustomContext("gpu_memory_bytes", fmt::format("{}", device.memory_bytes));
    benchmark::AddCustomContext("gpu_peak_gb_per_s", fmt::format("{:.0f}", device.peak_gb_per_s));
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
