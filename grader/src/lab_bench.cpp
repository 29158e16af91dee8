#include "lab_bench.h"

#include <fmt/format.h>

namespace grader {

namespace {

/// Builds one implementation's benchmark. Returns its path, or an empty one and the reason in `error`.
std::filesystem::path build_bench(const BuildTree& tree, const Rubric& lab, const std::string& variant,
                                  Progress& progress, std::string& error) {
  const std::string target = lab.id + "_bench_" + variant;
  progress.stage("building " + target);
  const BuildTree::Outcome outcome = tree.build({target}, progress);
  if (outcome.ok) return tree.folder() / lab.folder / target;
  error = "does not build: " + first_errors(outcome.output, tree.root(), 1);
  return {};
}

}  // namespace

std::vector<BenchResult> bench_lab(const BuildTree& tree, const Rubric& lab,
                                   const std::filesystem::path& scratch, Progress& progress) {
  BenchPlan plan;
  plan.lab = lab.id;
  plan.scratch = scratch;
  plan.student = build_bench(tree, lab, "student", progress, plan.student_error);
  const std::filesystem::path solutions = tree.root() / "solutions";
  if (std::filesystem::is_directory(solutions / lab.folder)) {
    const bool has_fast = std::filesystem::is_directory(solutions / (lab.folder + "_fast"));
    plan.solution = build_bench(tree, lab, has_fast ? "fast" : "solution", progress, plan.solution_error);
  } else {
    plan.solution_error = "no solutions here";
  }
  return run_bench(plan, progress);
}

}  // namespace grader
