#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "grader/process.h"
#include "grader/progress.h"
#include "grader/results.h"

namespace grader {

struct GradeOptions {
  std::filesystem::path root;       ///< top of the source tree
  std::filesystem::path build_dir;  ///< configured with CMake and Ninja
  std::vector<std::string> labs;    ///< as the user names them; empty: all
  /// Whose code is graded, as the build names it: targets are <lab>_tests_<variant>, "student", "solution",
  /// ...
  std::string variant = "student";
  std::string impl = "student";  ///< the same as results.json names it: "student", "solutions", ...
  std::uint64_t seed = 1;
  int n_jobs = 0;                ///< test processes at a time; 0: one per core
  bool build = true;             ///< false: the test binaries are there already
  bool bench = false;            ///< run the labs' benchmarks too
  std::optional<Limits> limits;  ///< of one test; default test_limits()
};

/// Builds the labs' tests for one implementation, runs every test of their rubrics, and counts.
///
/// What a student can get wrong is in the results: code that does not compile fails its lab's tasks with the
/// compiler's words. When a lab's own part of the kit does not build, its tasks are infrastructure_error and
/// the others go on. Throws UsageError for an unknown lab, kit::Error for a bad rubric, InfrastructureError
/// when nothing can be graded, Interrupted after a signal (with an InterruptGuard in place).
Results grade(const GradeOptions& options, Progress& progress);

}  // namespace grader
