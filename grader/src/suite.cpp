#include "suite.h"

#include <utility>

#include "milestone.h"

namespace grader {

namespace {

/// Hands out the results of the tests in the order of list_jobs, or the build failure in their place.
class TestSource {
 public:
  TestSource(std::vector<TestResult> results, const BuildFailures& failures)
      : results_(std::move(results)), failures_(failures) {}

  std::string build_error(const Rubric& lab) const {
    const auto failure = failures_.find(lab.id);
    return failure == failures_.end() ? "" : failure->second.message;
  }

  TestResult take(const Rubric& lab, const std::string& test) {
    const auto failure = failures_.find(lab.id);
    if (failure == failures_.end()) return std::move(results_.at(next_++));
    TestResult result;
    result.name = test;
    result.verdict = failure->second.verdict;
    result.message = failure->second.message;
    return result;
  }

 private:
  std::vector<TestResult> results_;
  const BuildFailures& failures_;
  std::size_t next_ = 0;
};

}  // namespace

std::vector<TestJob> list_jobs(const std::vector<Rubric>& labs, const BuildFailures& failures,
                               const std::function<TestJob(const Rubric&)>& program) {
  std::vector<TestJob> jobs;
  for (const Rubric& lab : labs) {
    if (failures.contains(lab.id)) continue;
    TestJob job = program(lab);
    const auto add = [&](const std::string& test, const std::string& part, bool alone, bool slow) {
      job.name = test;
      job.group = lab.id + "." + part;
      job.alone = alone;
      job.slow = slow;
      jobs.push_back(job);
    };
    for (const RubricTask& task : lab.tasks) {
      for (const std::string& test : task.tests) add(test, task.id, task.alone, task.slow);
    }
    for (const RubricMilestone& milestone : lab.milestones)
      add(milestone.test, milestone.id, milestone.alone, milestone.slow);
  }
  return jobs;
}

void collect(const std::vector<Rubric>& labs, std::vector<TestResult> tests, const BuildFailures& failures,
             Results& results) {
  TestSource source(std::move(tests), failures);
  for (const Rubric& lab : labs) {
    results.labs.push_back({lab.id, lab.title, source.build_error(lab)});
    for (const RubricTask& task : lab.tasks) {
      TaskResult result;
      result.lab = lab.id;
      result.task = task.id;
      result.number = task.number;
      result.title = task.title;
      result.open = task.open;
      result.chapter = lab.chapter;
      result.max_points = task.points;
      result.stretch = task.stretch;
      for (const std::string& test : task.tests) result.tests.push_back(source.take(lab, test));
      settle(result);
      if (task.figure) {
        for (const TestResult& test : result.tests) {
          if (test.name == task.figure->test) result.figure = draw(*task.figure, test);
        }
      }
      results.tasks.push_back(std::move(result));
    }
    for (const RubricMilestone& milestone : lab.milestones) {
      results.milestones.push_back(milestone_result(lab, milestone, source.take(lab, milestone.test)));
    }
  }
}

}  // namespace grader
