#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace grader {

/// Where a run took place; shown in the reports, because numbers without a machine mean little.
struct Machine {
  std::string cpu;  ///< "AMD EPYC 9654", "unknown" when the system does not say
  int n_cores = 0;  ///< cores this process may use
  std::int64_t memory_bytes = 0;
  std::string system;      ///< "Debian GNU/Linux 12 (bookworm)"
  std::string compiler;    ///< "GNU 12.2.0", from the build folder
  std::string build_type;  ///< "RelWithDebInfo", "... with sanitizers"
};

/// What the system says about itself; `build_dir` tells the compiler and build type.
Machine describe_machine(const std::filesystem::path& build_dir);

/// Cores that this process may run on, at least 1.
int usable_cores();
std::int64_t total_memory_bytes();
std::int64_t available_memory_bytes();
/// Feature flags of the first core in /proc/cpuinfo; empty when there are none.
std::vector<std::string> cpu_flags();

/// Now, as "2025-01-31T12:34:56Z".
std::string utc_now();

}  // namespace grader
