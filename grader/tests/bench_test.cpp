#include "grader/bench.h"

#include <gtest/gtest.h>

#include "fake_tree.h"
#include "grader/error.h"
#include "grader/files.h"
#include "kit/check.h"

namespace {

constexpr const char* kReport = R"({"context": {}, "benchmarks": [
  {"name": "decode/128", "run_type": "iteration", "threads": 1, "iterations": 10, "real_time": 5.0, "cpu_time": 5.0,
   "time_unit": "ms", "share_of_ceiling": 0.5, "tokens_per_s": 80.0},
  {"name": "broken", "run_type": "iteration", "error_occurred": true,
   "error_message": "NotImplemented: lab02 task 1: softmax"},
  {"name": "decode/128_mean", "run_type": "aggregate", "share_of_ceiling": 0.9}]})";

TEST(Bench, MedianIsTheMiddle) {
  EXPECT_EQ(grader::median({3, 1, 2}), 2);
  EXPECT_EQ(grader::median({4, 1, 2, 3}), 2.5);
  EXPECT_THROW(grader::median({}), kit::Error);
}

TEST(Bench, ReadsCountersAndErrors) {
  const grader::BenchPass pass = grader::parse_benchmark_json(kReport, "x");
  EXPECT_EQ(pass.order, (std::vector<std::string>{"decode/128", "broken"}));
  EXPECT_EQ(pass.counters.at("decode/128"),
            (std::map<std::string, double>{{"share_of_ceiling", 0.5}, {"tokens_per_s", 80.0}}));
  EXPECT_EQ(pass.errors.at("broken"), "not implemented: lab02 task 1: softmax");
  EXPECT_THROW(grader::parse_benchmark_json("{", "x"), grader::InfrastructureError);
}

/// A benchmark binary: appends its name to a log, so that the order of runs shows, and writes `share` as its
/// counter.
std::string bench_script(const std::filesystem::path& log, const std::string& name,
                         const std::string& share) {
  return "#!/bin/sh\necho " + name + " >> " + log.string() +
         "\nfor a; do case $a in --benchmark_out=*) f=${a#*=};; esac; done\n"
         R"(echo '{"benchmarks":[{"name":"b","run_type":"iteration","share_of_ceiling":)" +
         share + "}]}' > $f\n";
}

TEST(Bench, RunsAbbaAndTakesMedians) {
  const grader::ScratchFolder folder(std::filesystem::temp_directory_path());
  const std::filesystem::path log = folder.path() / "log";
  grader_tests::write_script(folder.path() / "student", bench_script(log, "A", "0.25"));
  grader_tests::write_script(folder.path() / "solution", bench_script(log, "B", "0.5"));
  grader::BenchPlan plan{"lab02",      folder.path() / "student", folder.path() / "solution", "", "", 2,
                         folder.path()};
  grader::Progress silent;
  const std::vector<grader::BenchResult> results = grader::run_bench(plan, silent);
  ASSERT_EQ(results.size(), 1U);
  EXPECT_EQ(results[0].student.share_of_ceiling, 0.25);
  EXPECT_EQ(results[0].solution.share_of_ceiling, 0.5);
  EXPECT_EQ(results[0].student.n_rounds, 4);
  EXPECT_EQ(grader::read_file(log), "A\nB\nB\nA\nA\nB\nB\nA\n");
}

TEST(Bench, StudentThatThrowsIsShownBesideTheSolution) {
  const grader::ScratchFolder folder(std::filesystem::temp_directory_path());
  grader_tests::write_script(
      folder.path() / "student",
      "#!/bin/sh\necho \"what(): NotImplemented: lab02 task 1: softmax\"\nkill -ABRT $$\n");
  grader_tests::write_script(folder.path() / "solution", bench_script(folder.path() / "log", "B", "0.5"));
  grader::BenchPlan plan{"lab02",      folder.path() / "student", folder.path() / "solution", "", "", 1,
                         folder.path()};
  grader::Progress silent;
  const std::vector<grader::BenchResult> results = grader::run_bench(plan, silent);
  ASSERT_EQ(results.size(), 1U);
  EXPECT_EQ(results[0].student.error, "not implemented: lab02 task 1: softmax");
  EXPECT_EQ(results[0].solution.share_of_ceiling, 0.5);
}

}  // namespace
