#pragma once

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "grader/bench.h"
#include "grader/figure.h"
#include "grader/machine.h"
#include "grader/submission.h"
#include "grader/verdict.h"

/// What a grading run found: everything the terminal, the JSON, the JUnit and the HTML report show.
namespace grader {

/// What the student's process used in a run of record, measured from outside it.
struct WorkerUse {
  double cpu_seconds = 0.0;
  std::int64_t peak_memory_bytes = 0;
};

struct TestResult {
  std::string name;  ///< "Suite.Name"
  Verdict verdict = Verdict::kInfrastructureError;
  double seconds = 0.0;
  std::string message;                            ///< why it did not pass; empty when it did
  std::map<std::string, std::string> properties;  ///< what the test recorded about itself
  std::optional<WorkerUse> worker = {};           ///< in a run of record
};

struct TaskResult {
  std::string lab;   ///< "lab02"
  std::string task;  ///< "kv_cache"
  int number = 0;
  std::string title;
  std::string open;     ///< file to open first
  std::string chapter;  ///< page to read first
  int points = 0;
  int max_points = 0;
  Verdict verdict = Verdict::kInfrastructureError;
  std::vector<TestResult> tests;
  std::optional<Figure> figure = {};
  bool stretch = false;  ///< points on top: they are in score() and not in max_score()

  /// The test whose message explains the verdict: the first whose verdict is the task's own. Null when all
  /// passed.
  const TestResult* reason() const;
};

struct MilestoneResult {
  std::string lab;
  std::string id;
  std::string title;
  std::string open;
  std::string chapter;
  std::string unit;
  int points = 0;
  int max_points = 0;
  Verdict verdict = Verdict::kInfrastructureError;
  std::optional<double> value;      ///< as the kit counted it
  std::optional<double> threshold;  ///< what it is held against
  TestResult test;
  std::optional<Figure> figure;
};

struct LabInfo {
  std::string id;
  std::string title;
  std::string build_error;  ///< what the compiler said when the lab's tests do not build; else empty
};

/// What only a run of record has: `grader record`.
struct RecordInfo {
  std::string submission;  ///< name of the folder or archive
  std::string sandbox;     ///< Sandbox::describe()
  bool unsafe = false;     ///< --unsafe-no-sandbox: the score can have been forged
  std::vector<SubmittedLab> labs;
  std::vector<Refusal> refusals;  ///< files of the submission that were not taken
};

struct Results {
  std::string impl = "student";
  std::string mode = "practice";
  std::uint64_t seed = 1;
  std::string date;  ///< ISO 8601, UTC
  Machine machine;
  std::vector<LabInfo> labs;
  std::vector<TaskResult> tasks;
  std::vector<MilestoneResult> milestones;
  std::vector<BenchResult> bench;
  std::optional<RecordInfo> record = {};  ///< set when mode is "record"

  int score() const;
  int max_score() const;
  /// Points of tasks and milestones whose verdict is undecided(); they are not in score().
  int undecided_points() const;
  bool has_infrastructure_error() const;
};

/// Sets the task's verdict and points from its tests: all of its points when every test passed, else none.
void settle(TaskResult& task);
/// The same for a milestone, which also needs a value and a threshold.
void settle(MilestoneResult& milestone);

/// results.json, schema "memory-wall-labs/results/1".
nlohmann::ordered_json to_json(const Results& results);

}  // namespace grader
