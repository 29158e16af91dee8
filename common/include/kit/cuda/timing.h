#pragma once

#include <cstdint>
#include <functional>

/// Timing on a GPU. In library kit_gpu.
namespace kit::cuda {

struct TimingOptions {
  int n_warmup = 3;      ///< runs before the first that counts
  int n_repeats = 21;    ///< runs that count, >= 1; odd, so that the median is one of them
  bool flush_l2 = true;  ///< write twice the L2 cache between runs, so that each run starts with a cold one
};

/// Median time in seconds of what `launch` puts on the default stream, between two CUDA events around it. The
/// flush in front keeps the GPU busy while the host enqueues, so that launch overhead is not in the time.
/// Throws kit::Error when there is no GPU, when a launch fails, and on n_repeats < 1.
double median_seconds(const std::function<void()>& launch, const TimingOptions& options = {});

/// Bandwidth of cudaMemcpy from device to device in GB/s (1e9 bytes a second), median of 21 runs; a byte that
/// is read and written counts twice. This is the ceiling that results are shares of. Throws kit::Error when
/// there is no GPU or when it has no two buffers of n_bytes.
double measured_copy_gb_per_s(std::int64_t n_bytes = std::int64_t{1} << 28);

}  // namespace kit::cuda
