#include "grader/results.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "sample_results.h"

namespace {

using grader::Verdict;

TEST(Results, WorstVerdictDecides) {
  using V = Verdict;
  const auto worst = [](std::vector<V> verdicts) { return grader::worst(verdicts); };
  EXPECT_EQ(worst({V::kPassed, V::kPassed}), V::kPassed);
  EXPECT_EQ(worst({V::kPassed, V::kNotImplemented}), V::kNotImplemented);
  EXPECT_EQ(worst({V::kNotImplemented, V::kFailed}), V::kFailed);
  EXPECT_EQ(worst({V::kFailed, V::kTimedOut}), V::kTimedOut);
  EXPECT_EQ(worst({V::kTimedOut, V::kCrashed}), V::kCrashed);
  EXPECT_EQ(worst({V::kCrashed, V::kInfrastructureError}), V::kInfrastructureError);
  // A task that failed for certain is not undecided.
  EXPECT_EQ(worst({V::kInconclusive, V::kFailed}), V::kFailed);
  EXPECT_EQ(worst({V::kInconclusive, V::kPassed}), V::kInconclusive);
  EXPECT_EQ(worst({}), V::kInfrastructureError);
}

TEST(Results, PointsAreAllOrNothing) {
  const grader::Results results = grader_tests::sample_results();
  EXPECT_EQ(results.tasks[0].points, 15);
  EXPECT_EQ(results.tasks[1].points, 0);
  EXPECT_EQ(results.score(), 25);
  EXPECT_EQ(results.max_score(), 45);
  EXPECT_EQ(results.undecided_points(), 0);
  EXPECT_FALSE(results.has_infrastructure_error());
  ASSERT_NE(results.tasks[1].reason(), nullptr);
  EXPECT_EQ(results.tasks[1].reason()->name, "KvCache.Fails");
  EXPECT_EQ(results.tasks[0].reason(), nullptr);
}

TEST(Results, UndecidedPointsAreCountedApart) {
  grader::Results results = grader_tests::sample_results();
  results.tasks[0].tests[0].verdict = Verdict::kInconclusive;
  settle(results.tasks[0]);
  EXPECT_EQ(results.score(), 10);
  EXPECT_EQ(results.undecided_points(), 15);
  EXPECT_FALSE(results.has_infrastructure_error());
  results.tasks[0].tests[0].verdict = Verdict::kInfrastructureError;
  settle(results.tasks[0]);
  EXPECT_TRUE(results.has_infrastructure_error());
}

TEST(Results, MilestoneWithoutItsNumberIsNoEvidence) {
  grader::MilestoneResult milestone = grader_tests::sample_results().milestones[0];
  milestone.value.reset();
  settle(milestone);
  EXPECT_EQ(milestone.verdict, Verdict::kInfrastructureError);
  EXPECT_EQ(milestone.points, 0);
}

TEST(Results, JsonIsTheSchema) {
  const auto golden = nlohmann::ordered_json::parse(R"json({
    "schema": "memory-wall-labs/results/1", "impl": "student", "mode": "practice", "seed": 7,
    "date": "2025-01-31T12:34:56Z",
    "machine": {"cpu": "A <fast> CPU & more", "cores": 8, "memory_bytes": 17179869184, "system": "Debian",
                "compiler": "GNU 12.2.0", "build_type": "RelWithDebInfo"},
    "score": 25, "max_score": 45, "undecided_points": 0,
    "tasks": [
      {"lab": "lab02", "task": "attention", "number": 1, "title": "Attention", "points": 15, "max_points": 15,
       "verdict": "passed",
       "tests": [{"name": "Attention.Works", "verdict": "passed", "seconds": 0.25, "message": ""}]},
      {"lab": "lab02", "task": "kv_cache", "number": 2, "title": "The <cache> & more", "points": 0, "max_points": 20,
       "verdict": "failed",
       "tests": [{"name": "KvCache.Works", "verdict": "passed", "seconds": 0.5, "message": ""},
                 {"name": "KvCache.Fails", "verdict": "failed", "seconds": 0.125,
                  "message": "got <b>\"1\" & 2</b>\n]]> second line"},
                 {"name": "KvCache.Stub", "verdict": "not_implemented", "seconds": 0.0,
                  "message": "lab02 task 2: append"}]}],
    "milestones": [
      {"lab": "lab02", "id": "decode", "title": "O(N)", "verdict": "passed", "value": 31, "threshold": 31,
       "unit": "tokens", "points": 10, "max_points": 10,
       "test": {"name": "Decode.Linear", "verdict": "passed", "seconds": 1.5, "message": ""},
       "series": [{"label": "with", "x": [1.0, 2.0, 3.0], "y": [16.0, 17.0, 18.0]},
                  {"label": "without", "x": [1.0, 2.0, 3.0], "y": [16.0, 33.0, 51.0]}]}]
})json");
  EXPECT_EQ(grader::to_json(grader_tests::sample_results()).dump(2), golden.dump(2));
}

}  // namespace
