#pragma once

#include <cstdint>
#include <functional>

namespace kit {

/// Calls body(begin, end) on disjoint ranges that cover [0, n), each a multiple of `grain` long but the last,
/// on all cores; on the calling thread alone when n <= grain. Which thread runs a range is not fixed, so a
/// body's result must not depend on it. Exceptions of a body come out of the call. Backed by oneTBB.
void parallel_for(std::int64_t n, std::int64_t grain,
                  const std::function<void(std::int64_t begin, std::int64_t end)>& body);

/// Number of threads parallel_for uses.
int n_threads();

}  // namespace kit
