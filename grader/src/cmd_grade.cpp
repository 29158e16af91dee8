#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "commands.h"
#include "grader/error.h"
#include "grader/exit_status.h"
#include "grader/files.h"
#include "grader/grade.h"
#include "grader/html_report.h"
#include "grader/junit.h"
#include "grader/process.h"
#include "grader/table.h"

namespace grader {

namespace {

struct Options {
  std::vector<std::string> labs;
  std::string impl = "student";
  std::string variant;
  std::filesystem::path json;
  std::filesystem::path junit;
  std::filesystem::path html;
  std::uint64_t seed = 1;
  std::optional<double> fail_under;
  int n_jobs = 0;
  bool bench = false;
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
  grade.n_jobs = options.n_jobs;
  grade.bench = options.bench;
  return grade;
}

/// The report with its figures and results.json beside it, and what else was asked for.
void write_reports(const Results& results, const Options& options, const std::filesystem::path& html) {
  const std::string json = to_json(results).dump(2) + "\n";
  write_file(html, to_html(results));
  write_file(options.json.empty() ? html.parent_path() / "results.json" : options.json, json);
  if (!options.junit.empty()) write_file(options.junit, to_junit(results));
  const auto write_figure = [&](const std::string& id, const std::optional<LineChart>& figure) {
    if (figure) write_file(html.parent_path() / (id + ".svg"), chart_svg(*figure));
  };
  for (const TaskResult& task : results.tasks) write_figure(task.task, task.figure);
  for (const MilestoneResult& milestone : results.milestones) write_figure(milestone.id, milestone.figure);
}

bool all_passed(const Results& results) {
  const auto passed = [](const auto& part) { return part.verdict == Verdict::kPassed; };
  return std::all_of(results.tasks.begin(), results.tasks.end(), passed) &&
         std::all_of(results.milestones.begin(), results.milestones.end(), passed);
}

/// What to do with code that works: the last lab that was graded has the more interesting program.
void print_what_next(const Results& results) {
  const char* impl = results.impl == "solutions" ? " --impl solutions" : "";
  if (results.labs.back().title == "Memory bandwidth") {
    fmt::print(
        "\nEverything passed. Now ask your code what to do with a 70B model and 40 GB:\n"
        "    ./kit plan --model llama2-70b --device a100-40gb --batch 16 --seq 4096{}\n",
        impl);
    return;
  }
  fmt::print(
      "\nEverything passed. Now let your code tell a story, first without and then with its cache:\n"
      "    ./kit generate --prompt \"Once upon a time\" --no-cache{0}\n"
      "    ./kit generate --prompt \"Once upon a time\"{0}\n",
      impl);
}

/// Grading runs tests of kernels on the executor only; says so, and how many.
void print_gpu_line(const Results& results) {
  std::size_t n_tests = 0;
  for (const TaskResult& task : results.tasks) {
    n_tests += static_cast<std::size_t>(
        std::count_if(task.tests.begin(), task.tests.end(), [](const TestResult& test) {
          return test.name.substr(0, test.name.find('.')).find("Cuda") != std::string::npos;
        }));
  }
  if (n_tests == 0) return;
  const bool has_gpu = std::filesystem::exists("/dev/nvidia0");
  fmt::print("\non the GPU: {} ({} tests of kernels ran on the executor)\n",
             has_gpu ? "not here: ./kit gpu" : "skipped: no GPU", n_tests);
}

void print_summary(const Results& results, const Context& context, const std::filesystem::path& html) {
  const bool color = wants_color(stdout);
  fmt::print("{}{}", results_table(results, color), bench_table(results.bench, color));
  print_gpu_line(results);
  if (all_passed(results)) print_what_next(results);
  const std::filesystem::path shown = html.lexically_proximate(context.root);
  fmt::print("\nreport: {}\n", shown.string().starts_with("..") ? html.string() : shown.string());
}

int exit_status(const Results& results, const Options& options) {
  if (results.has_infrastructure_error()) return kExitInfrastructure;
  if (!options.fail_under || results.score() >= *options.fail_under) return kExitGraded;
  // Noise must not fail anybody: with the undecided points the score might be enough.
  if (results.score() + results.undecided_points() >= *options.fail_under) return kExitInfrastructure;
  return kExitUnderThreshold;
}

int run_grade(const Options& options, const Context& context) {
  const InterruptGuard guard;
  std::optional<Results> results;
  const std::filesystem::path html = std::filesystem::absolute(
      options.html.empty() ? context.build_dir / "reports" / "grade.html" : options.html);
  try {
    TerminalProgress progress(stderr);
    results = grade(grade_options(options, context), progress);
  } catch (const Interrupted&) {
    fmt::print(stderr, "grader: interrupted; nothing was written\n");
    return 128 + InterruptGuard::signal();
  }
  write_reports(*results, options, html);
  print_summary(*results, context, html);
  return exit_status(*results, options);
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
  command->add_option("--json", options->json,
                      "Write the results there (default: results.json beside the report)");
  command->add_option("--junit", options->junit, "Write JUnit XML there, for a CI system");
  command->add_option("--html", options->html,
                      "Write the report there (default: reports/grade.html in the build)");
  command->add_option("--seed", options->seed, "Seed of the tests' random inputs")->capture_default_str();
  command->add_option("--fail-under", options->fail_under, "Exit with status 1 when the score is lower");
  command->add_option("--jobs", options->n_jobs, "Tests at a time (default: one per core)")
      ->check(CLI::PositiveNumber);
  command->add_flag("--bench", options->bench,
                    "Run the labs' benchmarks too, beside the solution's (gives no points)");
  command->footer(
      "exit status: 0 graded, 1 score under --fail-under, 2 bad usage, 3 the kit or the machine failed, or "
      "too "
      "many points are undecided to tell whether the score is under --fail-under");
  command->callback(
      [options, &context] { context.run = [options, &context] { return run_grade(*options, context); }; });
}

}  // namespace grader
