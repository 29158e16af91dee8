#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "kit/device_table.h"

/// What the SIMT executor counted while tests ran, for `grader kernel`. Field names of the JSON are the
/// executor's (common/include/kit/simt/profile.h) and, where it has them, Nsight Compute's.
namespace grader {

/// Counts of one kind of access, or of one source line.
struct KernelCounts {
  std::string space;   ///< "global" or "shared"
  std::string access;  ///< "load", "store" or "atomic"
  std::int64_t requests = 0;
  std::int64_t thread_accesses = 0;
  std::int64_t units = 0;  ///< sectors in global memory, wavefronts in shared memory
  std::int64_t ideal_units = 0;
  std::int64_t useful_bytes = 0;

  void operator+=(const KernelCounts& other);
};

struct KernelLine {
  std::string file;
  int line = 0;
  int width = 0;  ///< bytes a thread
  KernelCounts counts;
};

/// The launches of one kernel with one shape in one test.
struct KernelLaunches {
  std::string test;  ///< "TransposeCuda.TiledMatches"
  std::string kernel;
  std::array<unsigned, 3> grid{};
  std::array<unsigned, 3> thread_block{};
  int n_launches = 0;
  std::int64_t shared_bytes = 0;
  std::int64_t barriers = 0;
  std::int64_t shuffles = 0;
  std::int64_t global_bytes = 0;
  std::vector<KernelCounts> totals;
  std::vector<KernelLine> lines;
};

/// Reads the report that a test program wrote: one JSON object a line. Launches of the same kernel, grid and
/// thread block in one test are added up. Throws InfrastructureError naming what is wrong with the text.
std::vector<KernelLaunches> parse_kernel_report(const std::string& text);

/// The counts as a table, and the floor that the bytes set on `device`.
std::string kernel_table(const std::vector<KernelLaunches>& kernels, const kit::Device& device);

/// The source files with each line's costs beside it, all launches together. Files that cannot be read are
/// named.
std::string annotate_source(const std::vector<KernelLaunches>& kernels);

/// {"schema": 1, "kernels": [...]}, everything parse_kernel_report has.
std::string kernel_json(const std::vector<KernelLaunches>& kernels);

}  // namespace grader
