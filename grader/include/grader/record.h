#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "grader/progress.h"
#include "grader/results.h"
#include "grader/sandbox.h"

namespace grader {

struct RecordOptions {
  std::filesystem::path root;         ///< top of the source tree
  std::filesystem::path build_dir;    ///< configured with CMake and Ninja
  std::filesystem::path submission;   ///< folder, .zip or .tar.gz
  std::vector<std::string> labs;      ///< as the user names them; empty: all
  std::optional<std::uint64_t> seed;  ///< of the tests' inputs; none: drawn now
  int n_jobs = 0;                     ///< tests at a time; 0: one per core
  Protection protection = Protection::kBubblewrap;
  /// Ids of tasks and milestones to grade, as if there were no others; empty: all. For the kit's own tests.
  std::vector<std::string> parts;
  /// Compiled objects of this and earlier runs; empty: everything is compiled.
  std::filesystem::path object_cache;
  /// Shorter than the usual ones, for the kit's own tests of submissions that run into them.
  struct Patience {
    std::optional<int> test_cpu_seconds;
    std::optional<double> test_wall_seconds;
    std::optional<int> compile_cpu_seconds;
    std::optional<double> compile_wall_seconds;
  } patience = {};
};

/// Grades a submission of somebody who wants to cheat: compiles it in a sandbox, runs the labs' tests in
/// checkers that it cannot reach, and lets it only answer (docs/grading.md). Results::record is set.
///
/// Throws UsageError for an unknown lab or a path that is no submission, InfrastructureError when nothing can
/// be graded (no sandbox works, the kit does not build), Interrupted.
Results record(const RecordOptions& options, Progress& progress);

}  // namespace grader
