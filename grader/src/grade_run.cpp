#include "grade_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "grader/error.h"
#include "grader/exit_status.h"
#include "grader/process.h"
#include "grader/table.h"

namespace grader {

namespace {

/// "nan" is a double, and no score is under it or not.
std::string check_points(const std::string& text) {
  char* end = nullptr;
  const double points = std::strtod(text.c_str(), &end);
  const bool is_number = end != text.c_str() && *end == '\0';
  return is_number && std::isfinite(points) ? "" : fmt::format("'{}' is not a number of points", text);
}

std::string check_seed(const std::string& text) {
  std::uint64_t seed = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seed);
  const bool is_seed = error == std::errc() && end == text.data() + text.size();
  return is_seed ? "" : fmt::format("'{}' is not a whole number from 0 to 2^64 - 1", text);
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

void print_place(const char* what, const std::filesystem::path& file, const Context& context) {
  if (file.empty() || !std::filesystem::exists(file)) return;
  const std::filesystem::path full = std::filesystem::absolute(file);
  const std::filesystem::path shown = full.lexically_proximate(context.root);
  fmt::print("{}: {}\n", what, shown.string().starts_with("..") ? full.string() : shown.string());
}

void print_summary(const Results& results, const ReportFiles& files, const Context& context) {
  const bool color = wants_color(stdout);
  fmt::print("{}{}", results_table(results, color), bench_table(results.bench, color));
  // The rest is advice for the author of the code, who reads a practice run only.
  if (!results.record) {
    print_gpu_line(results);
    if (all_passed(results)) print_what_next(results);
  }
  fmt::print("\n");
  print_place("report", files.html, context);
  if (!results.record) return;
  print_place("results", files.json, context);
  print_place("Gradescope", files.gradescope, context);
  print_place("JUnit", files.junit, context);
}

}  // namespace

CLI::Validator seed_validator() {
  return {check_seed, ""};
}

void add_grade_run_options(CLI::App& command, GradeRunOptions& options, const std::string& default_html,
                           const std::string& default_json) {
  command.add_option("--json", options.files.json,
                     fmt::format("Write the results there (default: {} beside the report)", default_json));
  command.add_option("--junit", options.files.junit, "Write JUnit XML there, for a CI system");
  command.add_option("--html", options.files.html,
                     fmt::format("Write the report there (default: {} in the build)", default_html));
  command.add_option("--fail-under", options.fail_under, "Exit with status 1 when the score is lower")
      ->check(CLI::Validator(check_points, "POINTS"));
  command.add_option("--jobs", options.n_jobs, "Tests at a time (default: one per core)")
      ->check(CLI::PositiveNumber);
  command.footer(
      "exit status: 0 graded, 1 score under --fail-under, 2 bad usage, 3 the kit or the machine failed, or "
      "too many points are undecided to tell whether the score is under --fail-under, or a report could not "
      "be written");
}

int run_and_report(const GradeRunOptions& options, const Context& context,
                   const std::function<Results(Progress&)>& run) {
  const InterruptGuard guard;
  prepare_reports(options.files);
  std::optional<Results> results;
  try {
    TerminalProgress progress(stderr);
    results = run(progress);
  } catch (const Interrupted&) {
    fmt::print(stderr, "grader: interrupted; nothing was written\n");
    return 128 + InterruptGuard::signal();
  }
  const std::vector<std::string> failures = write_reports(*results, options.files);
  print_summary(*results, options.files, context);
  for (const std::string& failure : failures) fmt::print(stderr, "grader: {}\n", failure);
  return failures.empty() ? exit_status(*results, options.fail_under) : kExitInfrastructure;
}

}  // namespace grader
