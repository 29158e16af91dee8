#include "grader/gradescope.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>

#include "grader/error.h"
#include "grader/text.h"
#include "submitted_text.h"

namespace grader {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kMaxLines = 200;
constexpr std::size_t kMaxBytes = 16384;
constexpr std::size_t kMaxRefusals = 20;

/// "2" from "lab02".
std::string lab_number(const std::string& lab) {
  const std::size_t digit = lab.find_first_of("123456789");
  return digit == std::string::npos ? lab : lab.substr(digit);
}

bool did_build(const Results& results, const std::string& id) {
  return std::none_of(results.labs.begin(), results.labs.end(),
                      [&](const LabInfo& lab) { return lab.id == id && !lab.build_error.empty(); });
}

/// What a test or the compiler said, each line marked, or it could pass for the grader's own.
std::string quote(const std::string& message) {
  std::string text;
  for (const std::string& line : split_lines(message)) text += "| " + line + "\n";
  return text;
}

/// What the student reads about one task: its tests that did not pass, and where to look.
std::string explanation(const Results& results, const std::string& lab, std::span<const TestResult> tests,
                        const std::string& open, const std::string& chapter) {
  if (!did_build(results, lab)) return lab + " does not build: see the compiler's words at the top";
  std::string text;
  for (const TestResult& test : tests) {
    if (test.verdict == Verdict::kPassed) continue;
    text += fmt::format("{}: {}\n{}\n", test.name, verdict_name(test.verdict), quote(test.message));
  }
  if (text.empty()) return "";
  return fmt::format("{}\n\nopen first: {}   (read {})", shorten(text, kMaxLines, kMaxBytes), open, chapter);
}

/// What tasks and milestones have in common.
template <typename Part>
Json test_json(const Results& results, const Part& part, std::span<const TestResult> tests,
               const std::string& number, const std::string& name, const char* kind) {
  return {{"name", name},
          {"number", number},
          {"score", part.points},
          {"max_score", part.max_points},
          {"status", part.verdict == Verdict::kPassed ? "passed" : "failed"},
          {"output", explanation(results, part.lab, tests, part.open, part.chapter)},
          {"tags", {part.lab, kind, verdict_name(part.verdict)}},
          {"visibility", "visible"}};
}

Json milestone_json(const Results& results, const MilestoneResult& milestone, const std::string& number) {
  Json json = test_json(results, milestone, {&milestone.test, 1}, number,
                        fmt::format("{} milestone: {}", milestone.lab, milestone.title), "milestone");
  if (milestone.value && milestone.threshold) {
    json["extra_data"] = {
        {"value", *milestone.value}, {"threshold", *milestone.threshold}, {"unit", milestone.unit}};
  }
  return json;
}

std::string refusals(const std::vector<Refusal>& refusals) {
  if (refusals.empty()) return "";
  std::string text = "not taken from the submission:\n";
  for (std::size_t i = 0; i < std::min(refusals.size(), kMaxRefusals); ++i) {
    text += fmt::format("  {}: {}\n", refusals[i].path, refusals[i].reason);
  }
  if (refusals.size() > kMaxRefusals) text += fmt::format("  and {} more\n", refusals.size() - kMaxRefusals);
  return text;
}

/// What concerns the submission as a whole.
std::string overview(const Results& results) {
  std::string text = fmt::format("Memory Wall Labs, {} mode, seed {}\n", results.mode, results.seed);
  if (results.record) {
    if (results.record->unsafe) {
      text += "UNSAFE: graded without a sandbox. The submission could have forged this score.\n";
    }
    text += refusals(results.record->refusals);
    for (const SubmittedLab& lab : results.record->labs) {
      if (!lab.missing.empty()) {
        text += fmt::format("{}: not handed in, so the stub was graded: {}\n", lab.lab,
                            fmt::join(lab.missing, ", "));
      }
    }
  }
  for (const LabInfo& lab : results.labs) {
    if (!lab.build_error.empty())
      text += fmt::format("\n{} does not build:\n{}", lab.id, quote(lab.build_error));
  }
  return shorten(text, kMaxLines, kMaxBytes);
}

/// The time of all tests, added up.
double execution_time(const Results& results) {
  double seconds = 0.0;
  for (const TaskResult& task : results.tasks) {
    for (const TestResult& test : task.tests) seconds += test.seconds;
  }
  for (const MilestoneResult& milestone : results.milestones) seconds += milestone.test.seconds;
  return seconds;
}

Json run_json(const Results& results) {
  Json json = {{"schema", "memory-wall-labs/results/1"},
               {"mode", results.mode},
               {"seed", results.seed},
               {"date", results.date}};
  if (results.record) {
    json["submission"] = results.record->submission;
    json["sandbox"] = results.record->sandbox;
    json["unsafe"] = results.record->unsafe;
  }
  return json;
}

}  // namespace

Json to_gradescope(const Results& raw) {
  const Results results = with_submitted_text_cleaned(raw);
  if (const int n = results.undecided_points(); n > 0) {
    throw InfrastructureError(fmt::format(
        "no file for Gradescope: {} of {} points are undecided (the kit or the machine failed, or a "
        "measurement was too noisy), and any number would be wrong; grade again",
        n, results.max_score()));
  }
  Json tests = Json::array();
  for (const LabInfo& lab : results.labs) {
    for (const TaskResult& task : results.tasks) {
      if (task.lab != lab.id) continue;
      tests.push_back(test_json(results, task, task.tests,
                                fmt::format("{}.{}", lab_number(lab.id), task.number),
                                fmt::format("{} task {}: {}", lab.id, task.number, task.title), "task"));
    }
    int n_milestones = 0;
    for (const MilestoneResult& milestone : results.milestones) {
      if (milestone.lab != lab.id) continue;
      tests.push_back(
          milestone_json(results, milestone, fmt::format("{}.M{}", lab_number(lab.id), ++n_milestones)));
    }
  }
  // The standard output is the instructor's: it names files of the machine.
  return {{"score", results.score()},        {"execution_time", execution_time(results)},
          {"output", overview(results)},     {"output_format", "text"},
          {"test_output_format", "text"},    {"test_name_format", "text"},
          {"visibility", "visible"},         {"stdout_visibility", "hidden"},
          {"extra_data", run_json(results)}, {"tests", tests}};
}

}  // namespace grader
