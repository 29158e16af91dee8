#include "grader/grade.h"

#include <fmt/format.h>

#include "grader/build.h"
#include "grader/error.h"
#include "grader/files.h"
#include "grader/machine.h"
#include "grader/rubric.h"
#include "grader/runner.h"
#include "lab_bench.h"
#include "suite.h"

namespace grader {

namespace {

std::string tests_target(const Rubric& lab, const std::string& variant) {
  return lab.id + "_tests_" + variant;
}

std::filesystem::path binary_path(const Rubric& lab, const GradeOptions& options) {
  return options.build_dir / lab.folder / tests_target(lab, options.variant);
}

bool knows_target(const std::string& output) {
  return output.find("ninja: error: unknown target") == std::string::npos;
}

/// Finds out whose fault a failed build is: everything of the lab but the graded implementation is the kit's.
BuildFailure blame(const BuildTree& tree, const Rubric& lab, const std::string& output, Progress& progress) {
  progress.stage(fmt::format("looking at why {} does not build", lab.id));
  const std::string kit_targets = lab.id + "_test_objects";
  const BuildTree::Outcome kit = tree.build({"kit_testing", kit_targets}, progress);
  if (!kit.ok) {
    return {Verdict::kInfrastructureError,
            "the kit's own part of this lab does not build:\n" + first_errors(kit.output, tree.root())};
  }
  if (!knows_target(output)) {
    return {Verdict::kInfrastructureError,
            fmt::format("the build in {} has no such target; configure it again\n{}", tree.folder().string(),
                        first_errors(output, tree.root()))};
  }
  return {Verdict::kFailed, "does not compile:\n" + first_errors(output, tree.root())};
}

/// Builds every lab's tests at once; when that fails, one after the other, to know which and why.
BuildFailures build_tests(const BuildTree& tree, const std::vector<Rubric>& labs, const std::string& variant,
                          Progress& progress) {
  std::vector<std::string> targets;
  targets.reserve(labs.size());
  for (const Rubric& lab : labs) targets.push_back(tests_target(lab, variant));
  progress.stage(fmt::format("building {}", fmt::join(targets, ", ")));
  BuildFailures failures;
  if (tree.build(targets, progress).ok) return failures;
  for (const Rubric& lab : labs) {
    const BuildTree::Outcome outcome = tree.build({tests_target(lab, variant)}, progress);
    if (!outcome.ok) failures[lab.id] = blame(tree, lab, outcome.output, progress);
  }
  return failures;
}

void check_solutions_exist(const std::vector<Rubric>& labs, const GradeOptions& options) {
  if (options.variant != "solution") return;
  for (const Rubric& lab : labs) {
    if (std::filesystem::is_directory(options.root / "solutions" / lab.folder)) continue;
    throw UsageError(fmt::format(
        "there is no solutions/{} here: this copy of the labs has the student's part only, grade that",
        lab.folder));
  }
}

}  // namespace

Results grade(const GradeOptions& options, Progress& progress) {
  const std::vector<Rubric> labs = select_labs(load_labs(options.root), options.labs);
  check_solutions_exist(labs, options);
  const BuildTree tree(options.root, options.build_dir);
  const ScratchFolder scratch(options.build_dir / "grading");

  Results results;
  results.impl = options.impl;
  results.seed = options.seed;
  results.date = utc_now();
  results.machine = describe_machine(options.build_dir);

  BuildFailures failures;
  if (options.build) failures = build_tests(tree, labs, options.variant, progress);
  const std::vector<TestJob> jobs = list_jobs(labs, failures, [&](const Rubric& lab) {
    TestJob job;
    job.binary = binary_path(lab, options);
    return job;
  });
  progress.stage(fmt::format("running {} tests", jobs.size()));
  RunOptions run{options.seed, options.n_jobs, options.limits.value_or(test_limits(tree.has_sanitizers())),
                 scratch.path()};
  collect(labs, run_tests(jobs, run, progress), failures, results);
  if (options.bench) {
    for (const Rubric& lab : labs) {
      for (BenchResult& bench : bench_lab(tree, lab, scratch.path(), progress)) {
        results.bench.push_back(std::move(bench));
      }
    }
  }
  return results;
}

}  // namespace grader
