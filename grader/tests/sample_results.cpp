#include "sample_results.h"

namespace grader_tests {

using grader::Verdict;

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

}  // namespace grader_tests
