#include "sample_results.h"

namespace grader_tests {

using grader::Verdict;

namespace {

/// A task of 10 points whose first test passed, and whose second did not but with `verdict` passed.
grader::TaskResult task(const std::string& lab, int number, const std::string& id, Verdict verdict,
                        const std::string& message) {
  grader::TaskResult task;
  task.lab = lab;
  task.task = id;
  task.number = number;
  task.title = "The " + id + " task";
  task.open = lab + "/src/" + id + ".cpp";
  task.chapter = "docs/" + lab + ".md";
  task.max_points = 10;
  task.tests = {{"Task.First", Verdict::kPassed, 0.125, "", {}}, {"Task.Second", verdict, 0.25, message, {}}};
  settle(task);
  return task;
}

/// A task of a lab without a program: both tests have the compiler's words.
grader::TaskResult unbuilt_task(int number, const std::string& id, const std::string& message) {
  grader::TaskResult unbuilt = task("lab01", number, id, Verdict::kFailed, message);
  for (grader::TestResult& test : unbuilt.tests) test = {test.name, Verdict::kFailed, 0.0, message, {}};
  settle(unbuilt);
  return unbuilt;
}

}  // namespace

grader::Results sample_results() {
  grader::Results results;
  results.seed = 7;
  results.date = "2025-01-31T12:34:56Z";
  results.machine = {"A <fast> CPU & more", 8, std::int64_t{16} << 30, "Debian", "GNU 12.2.0",
                     "RelWithDebInfo"};
  results.labs = {{"lab02", "KV cache", ""}};

  grader::TaskResult passed{"lab02", "attention", 1, "Attention", "src/a.cpp", "docs/02.md", 0, 15, {}, {}};
  passed.tests = {{"Attention.Works", Verdict::kPassed, 0.25, "", {}}};
  grader::TaskResult failed{"lab02", "kv_cache", 2, "The <cache> & more", "src/b.cpp", "docs/02.md", 0,
                            20,      {},         {}};
  failed.tests = {{"KvCache.Works", Verdict::kPassed, 0.5, "", {}},
                  {"KvCache.Fails", Verdict::kFailed, 0.125, "got <b>\"1\" & 2</b>\n]]> second line", {}},
                  {"KvCache.Stub", Verdict::kNotImplemented, 0.0, "lab02 task 2: append", {}}};
  settle(passed);
  settle(failed);
  results.tasks = {passed, failed};

  grader::MilestoneResult milestone;
  milestone.lab = "lab02";
  milestone.id = "decode";
  milestone.title = "O(N)";
  milestone.open = "src/c.cpp";
  milestone.chapter = "docs/02.md";
  milestone.unit = "tokens";
  milestone.max_points = 10;
  milestone.value = 31;
  milestone.threshold = 31;
  milestone.test = {"Decode.Linear", Verdict::kPassed, 1.5, "", {}};
  milestone.figure = grader::LineChart{
      "Tokens & time",
      "tokens",
      "count",
      {{"with", "P + N - 1", {1, 2, 3}, {16, 17, 18}}, {"without", "", {1, 2, 3}, {16, 33, 51}}}};
  settle(milestone);
  results.milestones = {milestone};
  return results;
}

grader::Results sample_record() {
  grader::Results results = sample_results();
  results.impl = "submission";
  results.mode = "record";
  const std::string error =
      "does not compile:\nlab01_memory_bandwidth/src/copy.cu:3:5: error: 'x' was not declared\n    3 |   "
      "x<int>();";
  results.labs = {{"lab01", "Memory bandwidth", error}, {"lab02", "KV cache", ""}};
  const std::vector<grader::TaskResult> decided = {
      unbuilt_task(1, "copy", error),
      unbuilt_task(2, "transpose", error),
      results.tasks[0],
      results.tasks[1],
      task("lab02", 3, "stub", Verdict::kNotImplemented, "lab02 task 3: append"),
      task("lab02", 4, "crash", Verdict::kCrashed, "the worker was stopped by SIGSEGV"),
      task("lab02", 5, "loop", Verdict::kTimedOut, "used up its limit of 10 s of CPU time")};
  results.tasks = decided;
  results.tasks[5].tests[0].worker = grader::WorkerUse{.cpu_seconds = 0.25, .peak_memory_bytes = 1048576};
  grader::MilestoneResult missed = results.milestones[0];
  missed.id = "waste";
  missed.title = "Waste under 4 %";
  missed.unit = "%";
  missed.value = 12.5;
  missed.threshold = 4;
  missed.figure.reset();
  missed.test = {"Waste.IsLow", Verdict::kFailed, 0.75, "12.5 % of the slots are empty", {}};
  settle(missed);
  results.milestones.push_back(missed);
  results.record = grader::RecordInfo{
      "alice & bob <2>.zip",
      "none (unsafe)",
      true,
      {{"lab01", {"copy.cu", "transpose.cu"}, {}}, {"lab02", {"a.cpp"}, {"b.cpp", "c.cpp"}}},
      {{"lab02/CMakeLists.txt", "not one of the lab's src/ files"},
       {"../../etc/passwd", "a path with '..'"}}};
  return results;
}

grader::Results sample_undecided_record() {
  grader::Results results = sample_record();
  results.record->unsafe = false;
  results.record->sandbox = "bubblewrap 0.8.0, uid 60001";
  results.tasks.push_back(task("lab02", 6, "noisy", Verdict::kInconclusive, "the two runs differ by 40 %"));
  results.tasks.push_back(
      task("lab02", 7, "broken", Verdict::kInfrastructureError, "the checker has no memory left"));
  return results;
}

}  // namespace grader_tests
