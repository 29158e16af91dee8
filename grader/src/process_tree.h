#pragma once

#include <sys/types.h>

#include <cstdint>

namespace grader {

/// Of a process and all its descendants together.
struct TreeUsage {
  std::int64_t resident_bytes = 0;  ///< what several share counts several times
  double cpu_seconds = 0.0;         ///< also of those that ended and were waited for
};

/// Nothing of what is gone by now.
TreeUsage usage_of_tree(pid_t pid);

}  // namespace grader
