#include "grader/results.h"

#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "grader/table.h"
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

TEST(Results, StretchPointsComeOnTop) {
  grader::Results results = grader_tests::sample_results();
  EXPECT_FALSE(grader::to_json(results)["tasks"][0].contains("stretch"));
  results.tasks[0].stretch = true;
  EXPECT_EQ(results.score(), 25);
  EXPECT_EQ(results.max_score(), 30);
  EXPECT_EQ(grader::to_json(results)["tasks"][0]["stretch"], true);
  EXPECT_NE(grader::results_table(results, false).find("15 / +15"), std::string::npos);
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

TEST(Results, JsonHasNoNumberForWhatIsNone) {
  grader::Results results = grader_tests::sample_results();
  results.milestones[0].value = std::numeric_limits<double>::quiet_NaN();
  results.milestones[0].threshold = 1e300;
  const nlohmann::ordered_json json = grader::to_json(results);
  EXPECT_TRUE(json["milestones"][0]["value"].is_null());
  EXPECT_EQ(json["milestones"][0]["threshold"], 1e300);
}

TEST(Results, OnlyARecordHasRecordInJson) {
  EXPECT_FALSE(grader::to_json(grader_tests::sample_results()).contains("record"));
  const nlohmann::ordered_json json = grader::to_json(grader_tests::sample_record());
  EXPECT_EQ(json["schema"], "memory-wall-labs/results/1");
  EXPECT_EQ(json["record"]["unsafe"], true);
  EXPECT_EQ(json["record"]["labs"][1]["stubs"], (std::vector<std::string>{"b.cpp", "c.cpp"}));
  EXPECT_NE(json["record"]["labs"][0]["build_error"].get<std::string>().find("copy.cu:3:5"),
            std::string::npos);
  EXPECT_EQ(json["record"]["refusals"].size(), 2U);
}

}  // namespace
