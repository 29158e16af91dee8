#pragma once

#include <cstdint>

/// What malloc, and so new, every standard container and every kit::Tensor, handed out to the process in
/// which the student's code runs: in practice this one, in a run of record the worker, which counts itself.
///
/// Only test programs and workers count; others do not link these functions. Stacks, static arrays and memory
/// mapped by hand are not seen. What the kit itself allocates is: a few KiB a call.
namespace kit {

struct HeapUsage {
  std::int64_t live_bytes = 0;
  std::int64_t peak_bytes = 0;     ///< most that were live since the last reset_heap_peak()
  std::int64_t largest_bytes = 0;  ///< largest single block since then
};

HeapUsage heap_usage();
/// Forgets peak and largest.
void reset_heap_peak();

}  // namespace kit
