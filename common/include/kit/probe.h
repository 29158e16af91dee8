#pragma once

#include <cstdint>

/// What this machine can do: the denominators of every benchmark.
namespace kit {

struct MachineCeilings {
  double read_gb_per_s = 0.0;  ///< best of several passes summing a buffer, all cores, 1 GB = 1e9 bytes
  double copy_gb_per_s =
      0.0;  ///< bytes read + bytes written per second of a copy; write-allocate not counted
  double peak_gflop_per_s = 0.0;  ///< FP32 FMA (2 FLOPs each), all cores, operands in registers
  int n_threads = 0;
  std::int64_t last_level_cache_bytes = 0;  ///< 0 when unknown
  std::int64_t buffer_bytes =
      0;  ///< what was streamed: at least four times the last-level cache, memory allowing
};

/// Measures in about two seconds. Throws kit::Error when the buffers cannot be had.
MachineCeilings measure_ceilings();

/// Read bandwidth alone, one pass of `n_passes` kept (the fastest); for benchmarks that interleave it with
/// their own work, so that both see the same machine.
double measure_read_gb_per_s(std::int64_t buffer_bytes, int n_passes);

/// Size of the last-level cache in bytes, 0 when unknown.
std::int64_t last_level_cache_bytes();

}  // namespace kit
