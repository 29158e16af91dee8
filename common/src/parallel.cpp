#include "kit/parallel.h"

#include <tbb/blocked_range.h>
#include <tbb/parallel_for.h>
#include <tbb/partitioner.h>
#include <tbb/task_arena.h>

#include <algorithm>

#include "kit/check.h"

namespace kit {

void parallel_for(std::int64_t n, std::int64_t grain,
                  const std::function<void(std::int64_t begin, std::int64_t end)>& body) {
  KIT_CHECK(n >= 0, "parallel_for over {} items", n);
  KIT_CHECK(grain > 0, "parallel_for with a grain of {}", grain);
  if (n == 0) return;
  if (n <= grain) return body(0, n);
  const std::int64_t n_grains = (n - 1) / grain + 1;
  // Static: every thread gets one contiguous range, so that it streams through memory, and a nested call runs
  // in the same arena, so that there are never more threads than cores.
  tbb::parallel_for(
      tbb::blocked_range<std::int64_t>(0, n_grains),
      [&](const tbb::blocked_range<std::int64_t>& range) {
        body(range.begin() * grain, range.end() == n_grains ? n : range.end() * grain);
      },
      tbb::static_partitioner());
}

int n_threads() {
  return tbb::this_task_arena::max_concurrency();
}

}  // namespace kit
