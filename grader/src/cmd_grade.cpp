#include <memory>

#include "commands.h"
#include "grade_run.h"
#include "grader/grade.h"

namespace grader {

namespace {

struct Options {
  std::vector<std::string> labs;
  std::string impl = "student";
  std::string variant;
  std::uint64_t seed = 1;
  bool bench = false;
  GradeRunOptions run;
};

GradeOptions grade_options(const Options& options, const Context& context) {
  GradeOptions grade;
  grade.root = context.root;
  grade.build_dir = context.build_dir;
  grade.labs = options.labs;
  grade.impl = options.variant.empty() ? options.impl : options.variant;
  // The build names an implementation in the singular: lab02_solution.
  grade.variant = options.impl == "solutions" ? "solution" : options.impl;
  if (!options.variant.empty()) grade.variant = options.variant;
  grade.seed = options.seed;
  grade.n_jobs = options.run.n_jobs;
  grade.bench = options.bench;
  return grade;
}

int run_grade(const Options& options, const Context& context) {
  GradeRunOptions run = options.run;
  if (run.files.html.empty()) run.files.html = context.build_dir / "reports" / "grade.html";
  run.files.html = std::filesystem::absolute(run.files.html);
  if (run.files.json.empty()) run.files.json = run.files.html.parent_path() / "results.json";
  return run_and_report(run, context,
                        [&](Progress& progress) { return grade(grade_options(options, context), progress); });
}

}  // namespace

void add_grade_command(CLI::App& app, Context& context) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("grade", "Build and test the labs, give points, write a report");
  command->add_option("LAB", options->labs, "Labs to grade: lab02, 02, 2 or lab02_kv_cache (default: all)");
  command->add_option("--impl", options->impl, "Whose code: student (src/) or solutions")
      ->check(CLI::IsMember({"student", "solutions"}))
      ->capture_default_str();
  command->add_option("--variant", options->variant, "Implementation as the build names it")->group("");
  command->add_option("--seed", options->seed, "Seed of the tests' random inputs")
      ->check(seed_validator())
      ->capture_default_str();
  add_grade_run_options(*command, options->run, "reports/grade.html", "results.json");
  command->add_flag("--bench", options->bench,
                    "Run the labs' benchmarks too, beside the solution's (gives no points)");
  command->callback(
      [options, &context] { context.run = [options, &context] { return run_grade(*options, context); }; });
}

}  // namespace grader
