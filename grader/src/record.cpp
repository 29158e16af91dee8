#include "grader/record.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "grader/build.h"
#include "grader/error.h"
#include "grader/files.h"
#include "grader/machine.h"
#include "grader/record_build.h"
#include "grader/rubric.h"
#include "grader/submission.h"
#include "pristine.h"
#include "suite.h"

namespace grader {

namespace {

/// Inputs that nobody can have prepared for.
std::uint64_t draw_seed() {
  std::random_device device;
  // 48 bits, so that every JSON reader gets it right.
  return (std::uint64_t{device()} << 16) ^ (device() & 0xFFFFU);
}

void keep_parts(std::vector<Rubric>& labs, const std::vector<std::string>& parts) {
  if (parts.empty()) return;
  const auto is_other = [&](const auto& part) { return std::ranges::find(parts, part.id) == parts.end(); };
  for (Rubric& lab : labs) {
    std::erase_if(lab.tasks, is_other);
    std::erase_if(lab.milestones, is_other);
  }
}

/// Everything of the kit that grading needs, which is the same for every submission.
void build_kit(const BuildTree& tree, Progress& progress) {
  progress.stage("building the checkers");
  const BuildTree::Outcome outcome = tree.build({"record"}, progress);
  if (outcome.ok) return;
  throw InfrastructureError("the kit's own part does not build:\n" +
                            first_errors(outcome.output, tree.root()));
}

Limits record_limits(const RecordOptions& options) {
  Limits limits = test_limits(/*has_sanitizers=*/false);
  limits.cpu_seconds = options.patience.test_cpu_seconds.value_or(limits.cpu_seconds);
  limits.wall_seconds = options.patience.test_wall_seconds.value_or(limits.wall_seconds);
  return limits;
}

SandboxLimits compile_limits(const RecordOptions& options) {
  SandboxLimits limits = compiler_limits();
  limits.cpu_seconds = options.patience.compile_cpu_seconds.value_or(limits.cpu_seconds);
  limits.wall_seconds = options.patience.compile_wall_seconds.value_or(limits.wall_seconds);
  return limits;
}

/// The system's folder for temporary files: unlike the tree, which may be below somebody's home, a sandbox's
/// user can reach it.
std::filesystem::path scratch_parent() {
  std::error_code error;
  std::filesystem::path folder = std::filesystem::temp_directory_path(error);
  if (error) throw InfrastructureError(fmt::format("no folder for temporary files: {}", error.message()));
  return folder;
}

}  // namespace

Results record(const RecordOptions& options, Progress& progress) {
  std::vector<Rubric> labs = select_labs(load_labs(options.root), options.labs);
  keep_parts(labs, options.parts);
  const std::shared_ptr<const Sandbox> sandbox = Sandbox::open(options.protection);
  const BuildTree tree(options.root, options.build_dir);
  if (tree.has_sanitizers())
    throw InfrastructureError(
        "this build has sanitizers, whose memory no limit fits: record with another preset");
  build_kit(tree, progress);
  const ScratchFolder scratch(scratch_parent());

  Results results;
  results.impl = "submission";
  results.mode = "record";
  results.seed = options.seed ? *options.seed : draw_seed();
  results.date = utc_now();
  results.machine = describe_machine(options.build_dir);

  progress.stage("reading the submission");
  const std::filesystem::path staging = scratch.path() / "submission";
  Submission submission = stage_submission(options.submission, options.root, labs, staging);
  require_stubs(options.root, labs, submission.labs);

  const std::filesystem::path build = scratch.path() / "build";
  std::filesystem::create_directory(build);
  progress.stage("compiling the submission in a sandbox");
  BuildFailures failures;
  std::map<std::string, std::filesystem::path> workers;
  for (const WorkerBuild& worker : build_workers(tree, labs, staging, build, *sandbox, progress,
                                                 compile_limits(options), options.object_cache)) {
    if (worker.program.empty()) {
      failures[worker.lab] = {worker.verdict, worker.message};
    } else {
      workers[worker.lab] = worker.program;
    }
  }

  const std::vector<TestJob> jobs = list_jobs(labs, failures, [&](const Rubric& lab) {
    TestJob job;
    job.binary = options.build_dir / lab.folder / (lab.id + "_tests_remote");
    job.worker = workers.at(lab.id);
    return job;
  });
  progress.stage(fmt::format("running {} tests", jobs.size()));
  const std::filesystem::path reports = scratch.path() / "reports";
  std::filesystem::create_directory(reports);
  RunOptions run{results.seed, options.n_jobs, record_limits(options), reports, sandbox.get()};
  collect(labs, run_tests(jobs, run, progress), failures, results);

  results.record = RecordInfo{.submission = submission.name,
                              .sandbox = sandbox->describe(),
                              .unsafe = sandbox->protection() == Protection::kNone,
                              .labs = std::move(submission.labs),
                              .refusals = std::move(submission.refusals)};
  return results;
}

}  // namespace grader
