#include "grader/bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "grader/error.h"
#include "grader/files.h"
#include "grader/process.h"
#include "grader/text.h"
#include "kit/check.h"

namespace grader {

namespace {

using Json = nlohmann::json;

constexpr const char* kShare = "share_of_ceiling";

/// What Google Benchmark writes of its own for every run; all other numbers are the benchmark's counters.
const std::set<std::string>& own_keys() {
  static const std::set<std::string> keys = {"family_index", "per_family_instance_index",
                                             "repetitions",  "repetition_index",
                                             "threads",      "iterations",
                                             "real_time",    "cpu_time"};
  return keys;
}

/// One line about why a binary gave no numbers.
std::string failure_of(const ProcessResult& process) {
  const std::string output = clean_text(process.output);
  const std::size_t at = output.find(kit::NotImplemented::kPrefix);
  if (at != std::string::npos) {
    const std::string rest = output.substr(at + kit::NotImplemented::kPrefix.size());
    return "not implemented: " + trim(rest.substr(0, rest.find_first_of("\"\n")));
  }
  using End = ProcessResult::End;
  if (process.end == End::kWallLimit) return "did not end in time";
  if (process.end == End::kExited) return fmt::format("ended with exit status {}", process.exit_code);
  return "stopped by " + describe_signal(process.signal);
}

/// The passes of one implementation, until one of them failed.
struct Side {
  std::filesystem::path binary;
  std::string error;
  std::vector<BenchPass> passes;
};

void run_pass(Side& side, const std::filesystem::path& report) {
  if (!side.error.empty()) return;
  constexpr double kWallSeconds = 600;
  Command command;
  command.argv = {side.binary.string(), "--benchmark_out=" + report.string(), "--benchmark_out_format=json",
                  "--benchmark_color=false"};
  command.limits.wall_seconds = kWallSeconds;
  const ProcessResult process = run_process(command);
  if (!process.succeeded()) {
    side.error = failure_of(process);
    return;
  }
  side.passes.push_back(parse_benchmark_json(read_file(report), side.binary.string()));
}

BenchSide summarise(const Side& side, const std::string& name) {
  BenchSide summary;
  summary.error = side.error;
  std::map<std::string, std::vector<double>> values;
  for (const BenchPass& pass : side.passes) {
    if (const auto error = pass.errors.find(name); error != pass.errors.end()) summary.error = error->second;
    const auto counters = pass.counters.find(name);
    if (counters == pass.counters.end()) continue;
    for (const auto& [counter, value] : counters->second) values[counter].push_back(value);
    ++summary.n_rounds;
  }
  if (!summary.error.empty()) return summary;
  for (const auto& [counter, samples] : values) {
    if (counter == kShare) {
      summary.share_of_ceiling = median(samples);
    } else {
      summary.counters[counter] = median(samples);
    }
  }
  return summary;
}

/// Names in the order the binaries ran them; the student's first.
std::vector<std::string> all_names(const Side& student, const Side& solution) {
  std::vector<std::string> names;
  for (const Side* side : {&student, &solution}) {
    if (side->passes.empty()) continue;
    for (const std::string& name : side->passes.front().order) {
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
  }
  return names;
}

}  // namespace

double median(std::vector<double> values) {
  KIT_CHECK(!values.empty(), "a median needs at least one value");
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  if (values.size() % 2 == 1) return values[middle];
  return (values[middle - 1] + values[middle]) / 2.0;
}

BenchPass parse_benchmark_json(const std::string& text, const std::string& origin) {
  const Json json = Json::parse(clean_text(text), nullptr, false);
  if (!json.is_object() || !json.contains("benchmarks") || !json["benchmarks"].is_array()) {
    throw InfrastructureError(fmt::format("{} did not write a benchmark report", origin));
  }
  BenchPass pass;
  for (const Json& run : json["benchmarks"]) {
    const std::string name = run.value("name", "");
    if (run.value("run_type", "iteration") != "iteration") continue;
    pass.order.push_back(name);
    if (run.value("error_occurred", false)) {
      std::string error = run.value("error_message", "failed");
      if (error.starts_with(kit::NotImplemented::kPrefix)) {
        error = "not implemented: " + error.substr(kit::NotImplemented::kPrefix.size());
      }
      pass.errors[name] = error;
      continue;
    }
    std::map<std::string, double>& counters = pass.counters[name];
    for (const auto& [key, value] : run.items()) {
      if (value.is_number() && !own_keys().contains(key)) counters[key] = value.get<double>();
    }
  }
  return pass;
}

std::vector<BenchResult> run_bench(const BenchPlan& plan, Progress& progress) {
  Side student{plan.student, plan.student_error, {}};
  Side solution{plan.solution, plan.solution_error, {}};
  const std::filesystem::path report = plan.scratch / "bench.json";
  for (int round = 0; round < plan.n_rounds; ++round) {
    progress.stage(fmt::format("{}: benchmarks, round {} of {}", plan.lab, round + 1, plan.n_rounds));
    for (Side* side : {&student, &solution, &solution, &student}) run_pass(*side, report);
  }
  std::vector<BenchResult> results;
  for (const std::string& name : all_names(student, solution)) {
    results.push_back({plan.lab, name, summarise(student, name), summarise(solution, name)});
  }
  if (results.empty()) {
    BenchSide no_student;
    no_student.error = student.error.empty() ? "has no benchmarks" : student.error;
    BenchSide no_solution;
    no_solution.error = solution.error.empty() ? "has no benchmarks" : solution.error;
    results.push_back({plan.lab, "(all)", no_student, no_solution});
  }
  return results;
}

}  // namespace grader
