#include "grader/gradescope.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "grader/error.h"
#include "sample_results.h"

namespace {

using Json = nlohmann::ordered_json;
using grader::Verdict;

double sum(const Json& tests, const char* key) {
  double total = 0.0;
  for (const Json& test : tests) total += test.at(key).get<double>();
  return total;
}

const Json& test_named(const Json& json, const std::string& number) {
  for (const Json& test : json.at("tests")) {
    if (test.at("number") == number) return test;
  }
  throw std::out_of_range("no test " + number);
}

TEST(Gradescope, ScoresOfTheTestsAddUp) {
  for (const grader::Results& results : {grader_tests::sample_results(), grader_tests::sample_record()}) {
    const Json json = grader::to_gradescope(results);
    EXPECT_EQ(json.at("score").get<double>(), sum(json.at("tests"), "score"));
    EXPECT_EQ(json.at("score"), results.score());
    EXPECT_EQ(sum(json.at("tests"), "max_score"), results.max_score());
    EXPECT_EQ(json.at("tests").size(), results.tasks.size() + results.milestones.size());
  }
}

TEST(Gradescope, NumbersAreUnique) {
  const Json json = grader::to_gradescope(grader_tests::sample_record());
  std::set<std::string> numbers;
  for (const Json& test : json.at("tests")) numbers.insert(test.at("number"));
  EXPECT_EQ(numbers.size(), json.at("tests").size());
}

TEST(Gradescope, UsesOnlyWordsItKnows) {
  const std::set<std::string> top = {"score",         "execution_time",     "output",
                                     "output_format", "test_output_format", "test_name_format",
                                     "visibility",    "stdout_visibility",  "extra_data",
                                     "tests",         "leaderboard"};
  const std::set<std::string> each = {"score",       "max_score",  "status",    "name",
                                      "name_format", "number",     "output",    "output_format",
                                      "tags",        "visibility", "extra_data"};
  const Json json = grader::to_gradescope(grader_tests::sample_record());
  for (const auto& [key, value] : json.items()) EXPECT_TRUE(top.contains(key)) << key;
  for (const Json& test : json.at("tests")) {
    for (const auto& [key, value] : test.items()) EXPECT_TRUE(each.contains(key)) << key;
    const bool full = test.at("score") == test.at("max_score");
    EXPECT_EQ(test.at("status"), full ? "passed" : "failed");
  }
}

TEST(Gradescope, FailedTaskSaysWhy) {
  const Json json = grader::to_gradescope(grader_tests::sample_record());
  const std::string crash = test_named(json, "2.4").at("output");
  EXPECT_NE(crash.find("Task.Second: crashed\n| the worker was stopped by SIGSEGV"), std::string::npos)
      << crash;
  EXPECT_EQ(crash.find("Task.First"), std::string::npos) << crash;
  EXPECT_EQ(test_named(json, "2.1").at("output"), "");
}

TEST(Gradescope, CompilerIsQuotedOnce) {
  const Json json = grader::to_gradescope(grader_tests::sample_record());
  EXPECT_NE(json.at("output").get<std::string>().find("was not declared"), std::string::npos);
  EXPECT_EQ(json.at("tests").dump().find("was not declared"), std::string::npos);
  EXPECT_EQ(test_named(json, "1.2").at("output"),
            "lab01 does not build: see the compiler's words at the top");
}

TEST(Gradescope, OverviewTellsOfStubsRefusalsAndMissingSandbox) {
  const std::string output = grader::to_gradescope(grader_tests::sample_record()).at("output");
  for (const char* words : {"UNSAFE", "../../etc/passwd: a path with '..'",
                            "lab02: not handed in, so the stub was graded: b.cpp, c.cpp", "seed 7"}) {
    EXPECT_NE(output.find(words), std::string::npos) << words << " in " << output;
  }
}

/// What to_gradescope() says when it refuses.
std::string refusal(const grader::Results& results) {
  try {
    const Json json = grader::to_gradescope(results);
    ADD_FAILURE() << "a score in spite of undecided points: " << json.dump();
  } catch (const grader::InfrastructureError& error) {
    return error.what();
  }
  return "";
}

TEST(Gradescope, UndecidedPointsGiveNoFile) {
  EXPECT_NE(refusal(grader_tests::sample_undecided_record()).find("20 of 125 points are undecided"),
            std::string::npos);
  for (const Verdict verdict : {Verdict::kInconclusive, Verdict::kInfrastructureError}) {
    grader::Results results = grader_tests::sample_results();
    results.tasks[0].tests[0].verdict = verdict;
    settle(results.tasks[0]);
    EXPECT_NE(refusal(results).find("15 of 45 points"), std::string::npos);
    results = grader_tests::sample_results();
    results.milestones[0].test.verdict = verdict;
    settle(results.milestones[0]);
    EXPECT_NE(refusal(results).find("10 of 45 points"), std::string::npos);
  }
}

}  // namespace
