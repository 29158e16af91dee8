#include "grader/results.h"

#include <fmt/format.h>

#include <algorithm>

namespace grader {

const TestResult* TaskResult::reason() const {
  if (verdict == Verdict::kPassed) return nullptr;
  const auto found = std::find_if(tests.begin(), tests.end(),
                                  [&](const TestResult& test) { return test.verdict == verdict; });
  return found == tests.end() ? nullptr : &*found;
}

int Results::score() const {
  int total = 0;
  for (const TaskResult& task : tasks) total += task.points;
  for (const MilestoneResult& milestone : milestones) total += milestone.points;
  return total;
}

int Results::max_score() const {
  int total = 0;
  for (const TaskResult& task : tasks) total += task.stretch ? 0 : task.max_points;
  for (const MilestoneResult& milestone : milestones) total += milestone.max_points;
  return total;
}

int Results::undecided_points() const {
  int total = 0;
  for (const TaskResult& task : tasks) total += undecided(task.verdict) ? task.max_points : 0;
  for (const MilestoneResult& milestone : milestones)
    total += undecided(milestone.verdict) ? milestone.max_points : 0;
  return total;
}

bool Results::has_infrastructure_error() const {
  const auto broken = [](const auto& part) { return part.verdict == Verdict::kInfrastructureError; };
  return std::any_of(tasks.begin(), tasks.end(), broken) ||
         std::any_of(milestones.begin(), milestones.end(), broken);
}

void settle(TaskResult& task) {
  std::vector<Verdict> verdicts;
  for (const TestResult& test : task.tests) verdicts.push_back(test.verdict);
  task.verdict = worst(verdicts);
  task.points = task.verdict == Verdict::kPassed ? task.max_points : 0;
}

void settle(MilestoneResult& milestone) {
  milestone.verdict = milestone.test.verdict;
  // A milestone without its number is no evidence. The kit records the number, so its absence is the kit's
  // fault.
  if (milestone.verdict == Verdict::kPassed && (!milestone.value || !milestone.threshold)) {
    milestone.verdict = Verdict::kInfrastructureError;
    milestone.test.message = fmt::format("{} passed but did not record {}", milestone.test.name,
                                         milestone.value ? "its threshold" : "its value");
  }
  milestone.points = milestone.verdict == Verdict::kPassed ? milestone.max_points : 0;
}

}  // namespace grader
