#include "grader/grade.h"

#include <fmt/format.h>

#include <map>

#include "grader/build.h"
#include "grader/error.h"
#include "grader/files.h"
#include "grader/machine.h"
#include "grader/rubric.h"
#include "grader/runner.h"
#include "lab_bench.h"
#include "milestone.h"

namespace grader {

namespace {

/// Why a lab's tests cannot run, if so.
struct BuildFailure {
  Verdict verdict = Verdict::kFailed;
  std::string message;
};

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
std::map<std::string, BuildFailure> build_tests(const BuildTree& tree, const std::vector<Rubric>& labs,
                                                const std::string& variant, Progress& progress) {
  std::vector<std::string> targets;
  targets.reserve(labs.size());
  for (const Rubric& lab : labs) targets.push_back(tests_target(lab, variant));
  progress.stage(fmt::format("building {}", fmt::join(targets, ", ")));
  std::map<std::string, BuildFailure> failures;
  if (tree.build(targets, progress).ok) return failures;
  for (const Rubric& lab : labs) {
    const BuildTree::Outcome outcome = tree.build({tests_target(lab, variant)}, progress);
    if (!outcome.ok) failures[lab.id] = blame(tree, lab, outcome.output, progress);
  }
  return failures;
}

/// Every test of the labs that built: tasks in order, then milestones.
std::vector<TestJob> list_jobs(const std::vector<Rubric>& labs,
                               const std::map<std::string, BuildFailure>& failures,
                               const GradeOptions& options) {
  std::vector<TestJob> jobs;
  for (const Rubric& lab : labs) {
    if (failures.contains(lab.id)) continue;
    const std::filesystem::path binary = binary_path(lab, options);
    for (const RubricTask& task : lab.tasks) {
      for (const std::string& test : task.tests)
        jobs.push_back({binary, test, lab.id + "." + task.id, task.alone});
    }
    for (const RubricMilestone& milestone : lab.milestones) {
      jobs.push_back({binary, milestone.test, lab.id + "." + milestone.id, milestone.alone});
    }
  }
  return jobs;
}

/// Hands out the results of the tests in the order of list_jobs, or the build failure in their place.
class TestSource {
 public:
  TestSource(std::vector<TestResult> results, const std::map<std::string, BuildFailure>& failures)
      : results_(std::move(results)), failures_(failures) {}

  std::string build_error(const Rubric& lab) const {
    const auto failure = failures_.find(lab.id);
    return failure == failures_.end() ? "" : failure->second.message;
  }

  TestResult take(const Rubric& lab, const std::string& test) {
    const auto failure = failures_.find(lab.id);
    if (failure == failures_.end()) return std::move(results_.at(next_++));
    TestResult result;
    result.name = test;
    result.verdict = failure->second.verdict;
    result.message = failure->second.message;
    return result;
  }

 private:
  std::vector<TestResult> results_;
  const std::map<std::string, BuildFailure>& failures_;
  std::size_t next_ = 0;
};

void collect(const std::vector<Rubric>& labs, TestSource& source, Results& results) {
  for (const Rubric& lab : labs) {
    results.labs.push_back({lab.id, lab.title, source.build_error(lab)});
    for (const RubricTask& task : lab.tasks) {
      TaskResult result;
      result.lab = lab.id;
      result.task = task.id;
      result.number = task.number;
      result.title = task.title;
      result.open = task.open;
      result.chapter = lab.chapter;
      result.max_points = task.points;
      for (const std::string& test : task.tests) result.tests.push_back(source.take(lab, test));
      settle(result);
      if (task.figure) {
        for (const TestResult& test : result.tests) {
          if (test.name == task.figure->test) result.figure = draw(*task.figure, test);
        }
      }
      results.tasks.push_back(std::move(result));
    }
    for (const RubricMilestone& milestone : lab.milestones) {
      results.milestones.push_back(milestone_result(lab, milestone, source.take(lab, milestone.test)));
    }
  }
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

  std::map<std::string, BuildFailure> failures;
  if (options.build) failures = build_tests(tree, labs, options.variant, progress);
  const std::vector<TestJob> jobs = list_jobs(labs, failures, options);
  progress.stage(fmt::format("running {} tests", jobs.size()));
  RunOptions run{options.seed, options.n_jobs, options.limits.value_or(test_limits(tree.has_sanitizers())),
                 scratch.path()};
  TestSource source(run_tests(jobs, run, progress), failures);
  collect(labs, source, results);
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
