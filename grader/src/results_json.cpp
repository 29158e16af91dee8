#include <cmath>
#include <nlohmann/json.hpp>

#include "grader/results.h"
#include "submitted_text.h"

namespace grader {

namespace {

using Json = nlohmann::ordered_json;

/// Numbers that are whole are written as integers: a count of 31 tokens reads "31", not "31.0".
Json number(const std::optional<double>& value) {
  constexpr double kExactIntegers = 9007199254740992.0;  // 2^53
  if (!value || !std::isfinite(*value)) return nullptr;
  if (std::abs(*value) > kExactIntegers) return *value;
  const auto whole = static_cast<std::int64_t>(*value);
  if (static_cast<double>(whole) == *value) return whole;
  return *value;
}

Json test_json(const TestResult& test) {
  Json json = {{"name", test.name},
               {"verdict", verdict_name(test.verdict)},
               {"seconds", test.seconds},
               {"message", test.message}};
  if (test.worker) {
    json["worker"] = {{"cpu_seconds", test.worker->cpu_seconds},
                      {"peak_memory_bytes", test.worker->peak_memory_bytes}};
  }
  return json;
}

Json series_json(const LineChart& figure) {
  Json series = Json::array();
  for (const Line& line : figure.lines) {
    series.push_back({{"label", line.label}, {"x", line.xs}, {"y", line.ys}});
  }
  return series;
}

Json series_json(const Timeline& figure) {
  Json series = Json::array();
  for (const TimelinePanel& panel : figure.panels) {
    Json json = {{"label", panel.label},
                 {"row", Json::array()},
                 {"name", Json::array()},
                 {"begin", Json::array()},
                 {"end", Json::array()}};
    for (const Bar& bar : panel.bars) {
      json["row"].push_back(bar.row);
      json["name"].push_back(bar.name);
      json["begin"].push_back(bar.begin);
      json["end"].push_back(bar.end);
    }
    series.push_back(std::move(json));
  }
  return series;
}

Json series_json(const Figure& figure) {
  return std::visit([](const auto& kind) { return series_json(kind); }, figure);
}

Json task_json(const TaskResult& task) {
  Json tests = Json::array();
  for (const TestResult& test : task.tests) tests.push_back(test_json(test));
  Json json = {{"lab", task.lab},
               {"task", task.task},
               {"number", task.number},
               {"title", task.title},
               {"points", task.points},
               {"max_points", task.max_points},
               {"verdict", verdict_name(task.verdict)},
               {"tests", tests}};
  if (task.stretch) json["stretch"] = true;
  if (task.figure) json["series"] = series_json(*task.figure);
  return json;
}

Json milestone_json(const MilestoneResult& milestone) {
  Json json = {{"lab", milestone.lab},
               {"id", milestone.id},
               {"title", milestone.title},
               {"verdict", verdict_name(milestone.verdict)},
               {"value", number(milestone.value)},
               {"threshold", number(milestone.threshold)},
               {"unit", milestone.unit},
               {"points", milestone.points},
               {"max_points", milestone.max_points},
               {"test", test_json(milestone.test)}};
  if (milestone.figure) json["series"] = series_json(*milestone.figure);
  return json;
}

Json bench_side_json(const BenchSide& side) {
  Json json = {{"rounds", side.n_rounds}, {"share_of_ceiling", number(side.share_of_ceiling)}};
  for (const auto& [name, value] : side.counters) json[name] = value;
  if (!side.error.empty()) json["error"] = side.error;
  return json;
}

Json bench_json(const BenchResult& bench) {
  return {{"lab", bench.lab},
          {"name", bench.name},
          {"student", bench_side_json(bench.student)},
          {"solution", bench_side_json(bench.solution)}};
}

Json machine_json(const Machine& machine) {
  return {{"cpu", machine.cpu},       {"cores", machine.n_cores},     {"memory_bytes", machine.memory_bytes},
          {"system", machine.system}, {"compiler", machine.compiler}, {"build_type", machine.build_type}};
}

std::string build_error(const Results& results, const std::string& id) {
  for (const LabInfo& lab : results.labs) {
    if (lab.id == id) return lab.build_error;
  }
  return "";
}

Json record_json(const Results& results, const RecordInfo& record) {
  Json labs = Json::array();
  for (const SubmittedLab& lab : record.labs) {
    labs.push_back({{"lab", lab.lab},
                    {"files", lab.files},
                    {"stubs", lab.missing},
                    {"build_error", build_error(results, lab.lab)}});
  }
  Json refusals = Json::array();
  for (const Refusal& refusal : record.refusals) {
    refusals.push_back({{"path", refusal.path}, {"reason", refusal.reason}});
  }
  return {{"submission", record.submission},
          {"sandbox", record.sandbox},
          {"unsafe", record.unsafe},
          {"labs", labs},
          {"refusals", refusals}};
}

}  // namespace

Json to_json(const Results& raw) {
  const Results results = with_submitted_text_cleaned(raw);
  Json json = {{"schema", "memory-wall-labs/results/1"},
               {"impl", results.impl},
               {"mode", results.mode},
               {"seed", results.seed},
               {"date", results.date},
               {"machine", machine_json(results.machine)},
               {"score", results.score()},
               {"max_score", results.max_score()},
               {"undecided_points", results.undecided_points()},
               {"tasks", Json::array()},
               {"milestones", Json::array()}};
  for (const TaskResult& task : results.tasks) json["tasks"].push_back(task_json(task));
  for (const MilestoneResult& milestone : results.milestones)
    json["milestones"].push_back(milestone_json(milestone));
  for (const BenchResult& bench : results.bench) json["bench"].push_back(bench_json(bench));
  if (results.record) json["record"] = record_json(results, *results.record);
  return json;
}

}  // namespace grader
