#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "grader/results.h"
#include "grader/rubric.h"
#include "grader/runner.h"

/// From rubrics to tests to run, and from their results to points: the same in practice and in the run of
/// record.
namespace grader {

/// Why a lab's tests cannot run, if so.
struct BuildFailure {
  Verdict verdict = Verdict::kFailed;
  std::string message;
};
using BuildFailures = std::map<std::string, BuildFailure>;  // by lab

/// Every test of the labs that built: tasks in order, then milestones. `program` says what runs a lab's
/// tests.
std::vector<TestJob> list_jobs(const std::vector<Rubric>& labs, const BuildFailures& failures,
                               const std::function<TestJob(const Rubric&)>& program);

/// Adds every lab's tasks and milestones. `tests` are those of list_jobs, in its order; a lab that did not
/// build has its failure in their place.
void collect(const std::vector<Rubric>& labs, std::vector<TestResult> tests, const BuildFailures& failures,
             Results& results);

}  // namespace grader
