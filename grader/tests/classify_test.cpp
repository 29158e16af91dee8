#include <gtest/gtest.h>

#include <csignal>

#include "grader/gtest_report.h"

namespace {

using grader::ProcessResult;
using grader::TestResult;
using grader::Verdict;
using End = ProcessResult::End;

constexpr const char* kName = "Suite.Name";

grader::Limits limits() {
  grader::Limits limits;
  limits.cpu_seconds = 10;
  limits.wall_seconds = 60;
  limits.address_space_bytes = std::int64_t{4} << 30;
  return limits;
}

/// GoogleTest's report of one test; `rest` continues its record.
std::string report(const std::string& result, const std::string& rest = "") {
  return R"({"tests":1,"name":"AllTests","testsuites":[{"name":"Suite","testsuite":[{"name":"Name","status":"RUN",)"
         R"("result":")" +
         result + R"(","time":"0s","classname":"Suite")" + rest + "}]}]}";
}

std::string failure(const std::string& json_text) {
  return R"(,"failures":[{"failure":")" + json_text + R"(","type":""}])";
}

TestResult classify(const ProcessResult& process, const std::string& json) {
  return grader::classify_test(kName, process, json, limits());
}

ProcessResult exited(int status) {
  ProcessResult process;
  process.exit_code = status;
  return process;
}

TEST(Classify, Passed) {
  const TestResult test = classify(exited(0), report("COMPLETED", R"(,"value":"31","series.step":"1,2")"));
  EXPECT_EQ(test.verdict, Verdict::kPassed);
  EXPECT_EQ(test.message, "");
  EXPECT_EQ(test.properties, (std::map<std::string, std::string>{{"value", "31"}, {"series.step", "1,2"}}));
}

TEST(Classify, FailedKeepsItsMessages) {
  const TestResult test = classify(exited(1), report("COMPLETED", failure("a.cpp:3\\nfirst mismatch")));
  EXPECT_EQ(test.verdict, Verdict::kFailed);
  EXPECT_EQ(test.message, "a.cpp:3\nfirst mismatch");
}

TEST(Classify, AssertionsAreToldInPlainWords) {
  const std::string wrapped =
      "a.cpp:3\\nValue of: matches(got, f(x))\\n  Actual: false (the values differ (shape [2]))"
      "\\nExpected: true\\nthese are the keys";
  EXPECT_EQ(classify(exited(1), report("COMPLETED", failure(wrapped))).message,
            "a.cpp:3\nthe values differ (shape [2])\nthese are the keys");
  const std::string other = "a.cpp:3\\nValue of: done\\n  Actual: false\\nExpected: true";
  EXPECT_EQ(classify(exited(1), report("COMPLETED", failure(other))).message,
            "a.cpp:3\nValue of: done\n  Actual: false\nExpected: true");
  const std::string two = other + "\\n" + wrapped;
  EXPECT_EQ(
      classify(exited(1), report("COMPLETED", failure(two))).message,
      "a.cpp:3\nValue of: done\n  Actual: false\nExpected: true\na.cpp:3\nthe values differ (shape [2])\n"
      "these are the keys");
}

TEST(Classify, StubNamesItsTask) {
  const TestResult test = classify(
      exited(1),
      report("COMPLETED", failure("unknown file\\nC++ exception with description \\\"NotImplemented: lab02 "
                                  "task 1: softmax\\\" thrown in the test body.")));
  EXPECT_EQ(test.verdict, Verdict::kNotImplemented);
  EXPECT_EQ(test.message, "lab02 task 1: softmax");
}

TEST(Classify, StubInAThreadIsStillAStub) {
  ProcessResult process;
  process.end = End::kSignaled;
  process.signal = SIGABRT;
  process.output = "[ RUN      ] Suite.Name\n  what():  NotImplemented: lab02 task 2: append\n";
  const TestResult test = classify(process, "");
  EXPECT_EQ(test.verdict, Verdict::kNotImplemented);
  EXPECT_EQ(test.message, "lab02 task 2: append");
}

TEST(Classify, OutOfMemoryNamesTheLimit) {
  const TestResult test =
      classify(exited(1),
               report("COMPLETED", failure("C++ exception with description \\\"std::bad_alloc\\\" thrown")));
  EXPECT_EQ(test.verdict, Verdict::kCrashed);
  EXPECT_EQ(test.message, "ran out of its memory limit of 4 GiB (std::bad_alloc)");
}

TEST(Classify, SignalIsNamedWithLastWords) {
  ProcessResult process;
  process.end = End::kSignaled;
  process.signal = SIGSEGV;
  process.output = "Note: filter\n[ RUN      ] Suite.Name\nabout to read\n";
  const TestResult test = classify(process, "");
  EXPECT_EQ(test.verdict, Verdict::kCrashed);
  EXPECT_EQ(test.message, "stopped by SIGSEGV (invalid memory access)\nabout to read");
}

TEST(Classify, TimeLimitsAreNamed) {
  ProcessResult process;
  process.end = End::kCpuLimit;
  EXPECT_EQ(classify(process, "").verdict, Verdict::kTimedOut);
  EXPECT_EQ(classify(process, "").message, "used up its limit of 10 s of CPU time (an endless loop?)");
  process.end = End::kWallLimit;
  EXPECT_EQ(classify(process, "").message, "did not end within its limit of 60 s (waiting for something?)");
}

TEST(Classify, ProgramThatEndsItselfDidNotPass) {
  const TestResult test = classify(exited(0), "");
  EXPECT_EQ(test.verdict, Verdict::kCrashed);
  EXPECT_EQ(test.message, "the program ended itself, with exit status 0, before the test was over");
}

TEST(Classify, ReportOfAPassedTestDoesNotCoverACrash) {
  ProcessResult process;
  process.end = End::kSignaled;
  process.signal = SIGSEGV;
  EXPECT_EQ(classify(process, report("COMPLETED")).verdict, Verdict::kCrashed);
  EXPECT_EQ(classify(exited(1), report("COMPLETED")).verdict, Verdict::kCrashed);
  EXPECT_EQ(classify(exited(9), report("COMPLETED")).verdict, Verdict::kCrashed);
}

TEST(Classify, MissingTestFails) {
  const TestResult test = classify(exited(0), R"({"tests":0,"name":"AllTests","testsuites":[]})");
  EXPECT_EQ(test.verdict, Verdict::kFailed);
  EXPECT_EQ(test.message, "listed in the rubric, but the test binary does not have it");
}

TEST(Classify, OtherTestsReportDoesNotCount) {
  EXPECT_EQ(grader::classify_test("Suite.Other", exited(0), report("COMPLETED"), limits()).verdict,
            Verdict::kFailed);
}

TEST(Classify, SkippedIsInconclusiveWithItsReason) {
  ProcessResult process;
  process.output = "[ RUN      ] Suite.Name\na.cpp:5: Skipped\ntoo noisy\n[  SKIPPED ] Suite.Name (0 ms)\n";
  const TestResult test = classify(process, report("SKIPPED"));
  EXPECT_EQ(test.verdict, Verdict::kInconclusive);
  EXPECT_EQ(test.message, "a.cpp:5: Skipped\ntoo noisy");
}

TEST(Classify, DisabledTestFails) {
  EXPECT_EQ(classify(exited(0), report("SUPPRESSED")).verdict, Verdict::kFailed);
}

TEST(Classify, MessagesAreCleanText) {
  const TestResult test =
      classify(exited(1), report("COMPLETED", failure("red: \\u001b[31m!\\u0007 bad: \xFF")));
  EXPECT_EQ(test.message, "red: ! bad: \uFFFD");
}

TEST(Classify, HalfAReportIsNotComplete) {
  EXPECT_TRUE(grader::is_complete_report(report("COMPLETED")));
  EXPECT_FALSE(grader::is_complete_report(report("COMPLETED").substr(0, 40)));
  EXPECT_FALSE(grader::is_complete_report(""));
}

}  // namespace
