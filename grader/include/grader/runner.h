#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "grader/process.h"
#include "grader/progress.h"
#include "grader/results.h"
#include "grader/sandbox.h"

namespace grader {

/// What one graded test may use: 10 s of CPU (three times that under sanitizers), 60 s, 4 GiB, files of 64
/// MiB. Sanitizers reserve terabytes of address space, so there is no memory limit with them.
Limits test_limits(bool has_sanitizers);

inline constexpr int kSlowFactor = 6;

/// One test to run. Jobs of one `group` (a task) share the patience for tests that run out of time.
struct TestJob {
  std::filesystem::path binary;
  std::string name;
  std::string group;
  /// It measures time: it runs when all others are done and nothing runs beside it, and may use its CPU time
  /// on every core.
  bool alone = false;
  /// It runs a model many times: kSlowFactor times the limits of time.
  bool slow = false;
  /// In the run of record: the program with the student's code. `binary` is then the checker.
  std::filesystem::path worker = {};
};

struct RunOptions {
  std::uint64_t seed = 1;
  int n_jobs = 0;  ///< processes at a time; 0: one per core
  Limits limits;
  std::filesystem::path scratch;     ///< folder for the tests' reports
  const Sandbox* sandbox = nullptr;  ///< where workers run
};

/// Runs every job in a process of its own and returns their results in the order of `jobs`. After two tests
/// of a group ran out of time, the group's remaining ones are not run, and timed_out as well. Throws
/// InfrastructureError when a binary cannot be started, and Interrupted.
std::vector<TestResult> run_tests(const std::vector<TestJob>& jobs, const RunOptions& options,
                                  Progress& progress);

}  // namespace grader
