#include "grader/grade.h"

#include <gtest/gtest.h>

#include "fake_tree.h"
#include "grader/error.h"
#include "grader/runner.h"

namespace {

using grader::Verdict;

class GradeTest : public ::testing::Test {
 protected:
  grader::Results grade(bool build = false) {
    grader::GradeOptions options;
    options.root = tree_.root();
    options.build_dir = tree_.build_dir();
    options.build = build;
    options.n_jobs = 2;
    options.seed = 42;
    options.limits = grader::test_limits(false);
    options.limits->wall_seconds = 0.7;
    return grader::grade(options, progress_);
  }

  Verdict verdict_of(const std::string& test) {
    tree_.add_task("task", "[\"" + test + "\"]");
    return grade().tasks.at(0).verdict;
  }

  grader_tests::FakeTree tree_;
  grader::Progress progress_;
};

TEST_F(GradeTest, AllPassedEarnsAllPoints) {
  tree_.add_task("one", R"(["Good.A", "Good.B"])");
  tree_.add_milestone();
  const grader::Results results = grade();
  EXPECT_EQ(results.score(), 15);
  EXPECT_EQ(results.max_score(), 15);
  EXPECT_EQ(results.labs.at(0).title, "Fake");
  EXPECT_EQ(results.tasks.at(0).tests.at(1).name, "Good.B");
  EXPECT_EQ(results.machine.build_type, "Fast");
  const grader::MilestoneResult& milestone = results.milestones.at(0);
  EXPECT_EQ(milestone.value, 31);
  EXPECT_EQ(milestone.test.properties.at("seed"), "42");
  ASSERT_TRUE(milestone.figure.has_value());
  const auto& chart = std::get<grader::LineChart>(*milestone.figure);
  EXPECT_EQ(chart.lines.at(0).label, "with cache");
  EXPECT_EQ(chart.lines.at(0).ys, (std::vector<double>{4, 5, 6}));
  // The scratch folder is gone, nothing of it is left.
  EXPECT_TRUE(std::filesystem::is_empty(tree_.build_dir() / "grading"));
}

TEST_F(GradeTest, OneBadTestCostsItsTaskAlone) {
  tree_.add_task("one", R"(["Good.A"])");
  tree_.add_task("two", R"(["Good.B", "Bad.Fails", "Bad.Stub"])");
  const grader::Results results = grade();
  EXPECT_EQ(results.score(), 10);
  EXPECT_EQ(results.tasks.at(1).verdict, Verdict::kFailed);
  EXPECT_EQ(results.tasks.at(1).reason()->message, "file.cpp:1\nexpected 1, got 2");
}

TEST_F(GradeTest, TestsThatMeasureTimeRunWhenAllOthersAreDone) {
  tree_.add_task("first", R"(["Good.A", "Good.B"]
alone = true
figure = {test = "Good.A", title = "t", x = "x", x_label = "x", y_label = "y", line = [{series = "s", label = "l"}]})");
  tree_.add_task("second", R"(["Good.C", "Good.D"])");
  struct Order : grader::Progress {
    void tested(int, int, std::string_view name, Verdict) override { names.emplace_back(name); }
    std::vector<std::string> names;
  } order;
  grader::GradeOptions options;
  options.root = tree_.root();
  options.build_dir = tree_.build_dir();
  options.build = false;
  options.n_jobs = 2;
  const grader::Results results = grader::grade(options, order);
  EXPECT_EQ(results.score(), 20);
  EXPECT_FALSE(results.tasks.at(0).figure.has_value()) << "nothing was recorded";
  ASSERT_EQ(order.names.size(), 4U);
  EXPECT_EQ(order.names[2], "Good.A");
  EXPECT_EQ(order.names[3], "Good.B");
}

TEST_F(GradeTest, FigureOfATaskIsDrawnFromItsTest) {
  tree_.add_task("one", R"(["Good.A", "Fast.Enough"]
[task.figure]
test = "Fast.Enough"
title = "t"
x = "step"
x_label = "x"
y_label = "y"
x_scale = "log"
[[task.figure.line]]
series = "with_cache"
label = "points"
style = "points"
marks = "step"
)");
  const grader::Results results = grade();
  ASSERT_TRUE(results.tasks.at(0).figure.has_value());
  const auto& chart = std::get<grader::LineChart>(*results.tasks.at(0).figure);
  EXPECT_EQ(chart.x_scale, grader::AxisScale::kLog);
  EXPECT_EQ(chart.y_scale, grader::AxisScale::kLinear);
  EXPECT_EQ(chart.lines.at(0).style, grader::LineStyle::kPoints);
  EXPECT_EQ(chart.lines.at(0).ys, (std::vector<double>{4, 5, 6}));
  EXPECT_EQ(chart.lines.at(0).marks, (std::vector<double>{1, 2, 3}));
}

TEST_F(GradeTest, TimelineIsDrawnFromFourSeriesAPanel) {
  // The test recorded "step" 1, 2, 3 and "with_cache" 4, 5, 6.
  tree_.add_task("one", R"(["Good.A", "Fast.Enough"]
[task.figure]
kind = "timeline"
test = "Fast.Enough"
title = "t"
x_label = "step"
y_label = "slot"
bar = "request"
[[task.figure.panel]]
label = "a"
row = "step"
name = "with_cache"
begin = "step"
end = "with_cache"
[[task.figure.panel]]
label = "not recorded"
row = "step"
name = "with_cache"
begin = "step"
end = "nothing"
)");
  const grader::Results results = grade();
  ASSERT_TRUE(results.tasks.at(0).figure.has_value());
  const auto& timeline = std::get<grader::Timeline>(*results.tasks.at(0).figure);
  EXPECT_EQ(timeline.bar, "request");
  ASSERT_EQ(timeline.panels.size(), 1U);
  EXPECT_EQ(timeline.panels[0].label, "a");
  ASSERT_EQ(timeline.panels[0].bars.size(), 3U);
  EXPECT_EQ(timeline.panels[0].bars[2].row, 3);
  EXPECT_EQ(timeline.panels[0].bars[2].name, 6);
  EXPECT_EQ(timeline.panels[0].bars[2].begin, 3.0);
  EXPECT_EQ(timeline.panels[0].bars[2].end, 6.0);
}

TEST_F(GradeTest, StubIsNotImplemented) {
  EXPECT_EQ(verdict_of("Bad.Stub"), Verdict::kNotImplemented);
}
TEST_F(GradeTest, ExitIsACrash) {
  EXPECT_EQ(verdict_of("Bad.Exits"), Verdict::kCrashed);
}
TEST_F(GradeTest, SignalIsACrash) {
  EXPECT_EQ(verdict_of("Bad.Crashes"), Verdict::kCrashed);
}
TEST_F(GradeTest, SleepTimesOut) {
  EXPECT_EQ(verdict_of("Bad.Sleeps"), Verdict::kTimedOut);
}
TEST_F(GradeTest, SkipIsInconclusive) {
  EXPECT_EQ(verdict_of("Bad.Skips"), Verdict::kInconclusive);
}
TEST_F(GradeTest, VanishedTestFails) {
  EXPECT_EQ(verdict_of("Bad.Missing"), Verdict::kFailed);
}
TEST_F(GradeTest, HalfAReportIsNobodysFault) {
  EXPECT_EQ(verdict_of("Bad.HalfReport"), Verdict::kInfrastructureError);
}

TEST_F(GradeTest, AfterTwoTimeoutsTheRestOfTheTaskIsNotRun) {
  tree_.add_task("one",
                 R"(["Bad.Sleeps1", "Bad.Sleeps2", "Bad.Sleeps3", "Bad.Sleeps4", "Bad.Sleeps5", "Good.A"])");
  tree_.add_task("two", R"(["Good.B"])");
  const grader::Results results = grade();
  EXPECT_EQ(results.tasks.at(0).verdict, Verdict::kTimedOut);
  EXPECT_EQ(results.tasks.at(0).tests.back().message, "not run: two tests of this task ran out of time");
  EXPECT_EQ(results.tasks.at(1).verdict, Verdict::kPassed);
}

TEST_F(GradeTest, CodeThatDoesNotCompileFailsWithTheCompilersWords) {
  tree_.add_task("one", R"(["Good.A"])");
  tree_.set_build_command("lab01_tests_student", "printf 'a.cpp:3:5: %s: no such thing' error && false");
  const grader::Results results = grade(true);
  EXPECT_EQ(results.tasks.at(0).verdict, Verdict::kFailed);
  EXPECT_EQ(results.tasks.at(0).tests.at(0).message, "does not compile:\na.cpp:3:5: error: no such thing");
}

TEST_F(GradeTest, KitThatDoesNotCompileIsInfrastructure) {
  tree_.add_task("one", R"(["Good.A"])");
  grader::write_file(
      tree_.build_dir() / "build.ninja",
      "rule run\n  command = echo 'kit.cpp:1:1: error: ours' && false\nbuild kit_testing: run\n"
      "build lab01_test_objects: run\nbuild lab01_tests_student: run\n");
  const grader::Results results = grade(true);
  EXPECT_EQ(results.tasks.at(0).verdict, Verdict::kInfrastructureError);
  EXPECT_NE(results.tasks.at(0).tests.at(0).message.find("kit.cpp:1:1: error: ours"), std::string::npos);
}

TEST_F(GradeTest, FullDiskWhileBuildingIsInfrastructure) {
  tree_.add_task("one", R"(["Good.A"])");
  tree_.set_build_command("lab01_tests_student", "echo 'fatal error: No space left on device' && false");
  EXPECT_THROW(grade(true), grader::InfrastructureError);
}

TEST_F(GradeTest, MissingBinaryIsInfrastructure) {
  tree_.add_task("one", R"(["Good.A"])");
  std::filesystem::remove(tree_.build_dir() / "lab01_fake" / "lab01_tests_student");
  EXPECT_THROW(grade(), grader::InfrastructureError);
}

TEST(TestLimits, SanitizersGetTimeAndNoMemoryLimit) {
  EXPECT_EQ(grader::test_limits(false).cpu_seconds, 10);
  EXPECT_EQ(grader::test_limits(true).cpu_seconds, 30);
  EXPECT_EQ(grader::test_limits(false).address_space_bytes, std::int64_t{4} << 30);
  EXPECT_EQ(grader::test_limits(true).address_space_bytes, 0);
}

}  // namespace
