#pragma once

#include <filesystem>

#include "grader/process.h"
#include "grader/results.h"
#include "grader/sandbox.h"

/// One test of the run of record: a checker, which holds the test, and a worker in a sandbox, which holds the
/// student's code and can only answer.
namespace grader {

struct CheckedRun {
  ProcessResult checker;
  SandboxResult worker;
  bool worker_stayed = false;  ///< it was still there a while after the checker had ended
};

/// Runs `checker` and beside it `worker`, connected by a socket that both have as descriptor 3. The limits of
/// `checker` are those of the test: the worker gets them, the checker, which has the references and the model
/// to compute, twice the CPU time. Throws as run_process() and Sandbox::start().
CheckedRun run_with_worker(Command checker, const std::filesystem::path& worker, const Sandbox& sandbox);

/// Corrects a test's result by how its worker ended: what killed the worker is the verdict, and a checker
/// that crashed is nobody's fault but the kit's. Sets TestResult::worker.
void blame_worker(const CheckedRun& run, const Limits& limits, TestResult& test);

}  // namespace grader
