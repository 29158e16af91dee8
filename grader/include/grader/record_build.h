#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "grader/build.h"
#include "grader/progress.h"
#include "grader/rubric.h"
#include "grader/sandbox.h"
#include "grader/verdict.h"

/// Compiling a submission where it can do no harm.
namespace grader {

/// A lab's worker: the program that holds the student's code.
struct WorkerBuild {
  std::string lab;
  std::filesystem::path program;  ///< empty when it does not build
  Verdict verdict =
      Verdict::kPassed;  ///< kFailed (does not compile), kTimedOut, kCrashed (compiler's limits)
  std::string message;   ///< the compiler's words, paths relative to the tree
};

/// What one compiler may use: 60 s of CPU time, 2 min, 2 GiB of memory, files of 64 MiB.
SandboxLimits compiler_limits();

/// Compiles and links target <lab>_worker_student for each lab from <staging>/<lab folder>/src, inside the
/// sandbox, with the commands that the build tree has for it (`ninja -t commands`), several at a time. What
/// is the kit's own in it must have been built in `tree` before. The sandbox holds the system, copies of the
/// headers that those commands name, of the libraries they link, and the submission's src/: nothing else of
/// the tree. Programs are written to <scratch>/<lab>_worker. Objects are kept in and taken from
/// `object_cache` where one is given; a file whose inputs are all the same, word for word, is not compiled
/// again.
///
/// Throws InfrastructureError when it is not the submission's fault.
std::vector<WorkerBuild> build_workers(const BuildTree& tree, const std::vector<Rubric>& labs,
                                       const std::filesystem::path& staging,
                                       const std::filesystem::path& scratch, const Sandbox& sandbox,
                                       Progress& progress, const SandboxLimits& limits = compiler_limits(),
                                       const std::filesystem::path& object_cache = {});

}  // namespace grader
