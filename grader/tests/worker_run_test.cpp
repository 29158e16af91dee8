#include "../src/worker_run.h"

#include <gtest/gtest.h>

#include <csignal>

#include "grader/process.h"

// Whose fault it is when a test of the run of record ends in a strange way. Real checkers and workers are in
// record_test.cpp and hostile/.

namespace {

using grader::CheckedRun;
using grader::ProcessResult;
using grader::SandboxResult;
using grader::TestResult;
using grader::Verdict;

constexpr const char* kLost =
    "C++ exception: WorkerEnded: the program with the student's code ended before it answered";

grader::Limits limits() {
  grader::Limits limits;
  limits.cpu_seconds = 10;
  limits.wall_seconds = 60;
  limits.address_space_bytes = std::int64_t{4} << 30;
  return limits;
}

TestResult result(Verdict verdict, const std::string& message = "") {
  TestResult test;
  test.name = "Suite.Name";
  test.verdict = verdict;
  test.message = message;
  return test;
}

TestResult blame(const CheckedRun& run, TestResult test) {
  grader::blame_worker(run, limits(), test);
  return test;
}

TEST(BlameWorker, LeavesAnHonestTestAlone) {
  EXPECT_EQ(blame({}, result(Verdict::kPassed)).verdict, Verdict::kPassed);
  const TestResult failed = blame({}, result(Verdict::kFailed, "got 1, expected 2"));
  EXPECT_EQ(failed.verdict, Verdict::kFailed);
  EXPECT_EQ(failed.message, "got 1, expected 2");
}

TEST(BlameWorker, NamesTheSignal) {
  CheckedRun run;
  run.worker.end = SandboxResult::End::kSignaled;
  run.worker.signal = SIGSEGV;
  const TestResult test = blame(run, result(Verdict::kFailed, kLost));
  EXPECT_EQ(test.verdict, Verdict::kCrashed);
  EXPECT_NE(test.message.find("SIGSEGV"), std::string::npos) << test.message;
}

TEST(BlameWorker, AWrongAnswerBeforeTheCrashStays) {
  CheckedRun run;
  run.worker.end = SandboxResult::End::kSignaled;
  run.worker.signal = SIGSEGV;
  EXPECT_EQ(blame(run, result(Verdict::kFailed, "got 1, expected 2")).verdict, Verdict::kFailed);
}

TEST(BlameWorker, APassedTestWhoseWorkerEndsBadlyIsNotPassed) {
  CheckedRun run;
  run.worker.exit_code = 3;
  const TestResult test = blame(run, result(Verdict::kPassed));
  EXPECT_EQ(test.verdict, Verdict::kCrashed);
  EXPECT_NE(test.message.find("exit status 3"), std::string::npos) << test.message;
}

TEST(BlameWorker, ExitingWithZeroInTheMiddleIsNoSuccess) {
  const TestResult test = blame({}, result(Verdict::kFailed, kLost));
  EXPECT_EQ(test.verdict, Verdict::kCrashed);
  EXPECT_NE(test.message.find("ended itself"), std::string::npos) << test.message;
}

TEST(BlameWorker, LimitsHaveTheirNames) {
  CheckedRun run;
  run.worker.end = SandboxResult::End::kCpuLimit;
  EXPECT_EQ(blame(run, result(Verdict::kFailed, kLost)).verdict, Verdict::kTimedOut);
  run.worker.end = SandboxResult::End::kMemoryLimit;
  const TestResult memory = blame(run, result(Verdict::kFailed, kLost));
  EXPECT_EQ(memory.verdict, Verdict::kCrashed);
  EXPECT_NE(memory.message.find("4096 MiB"), std::string::npos) << memory.message;
}

TEST(BlameWorker, AStubThatEndsItsProcessIsAStub) {
  CheckedRun run;
  run.worker.end = SandboxResult::End::kSignaled;
  run.worker.signal = SIGABRT;
  run.worker.output = "terminate called after throwing\n  what():  NotImplemented: lab02 task 2: append\n";
  EXPECT_EQ(blame(run, result(Verdict::kFailed, kLost)).verdict, Verdict::kNotImplemented);
}

TEST(BlameWorker, AWorkerThatStaysLosesItsTest) {
  CheckedRun run;
  run.worker.end = SandboxResult::End::kKilled;
  run.worker_stayed = true;
  EXPECT_EQ(blame(run, result(Verdict::kPassed)).verdict, Verdict::kTimedOut);
  EXPECT_EQ(blame(run, result(Verdict::kFailed, "got 1")).message, "got 1");
}

TEST(BlameWorker, ACheckerThatCrashesIsNobodysZero) {
  CheckedRun run;
  run.checker.end = ProcessResult::End::kSignaled;
  run.checker.signal = SIGSEGV;
  EXPECT_EQ(blame(run, result(Verdict::kCrashed)).verdict, Verdict::kInfrastructureError);
}

TEST(BlameWorker, ACheckerAtItsLimitKeepsItsVerdict) {
  CheckedRun run;
  run.checker.end = ProcessResult::End::kWallLimit;
  run.worker.end = SandboxResult::End::kKilled;
  run.worker_stayed = true;
  EXPECT_EQ(blame(run, result(Verdict::kTimedOut, "did not end")).message, "did not end");
}

TEST(BlameWorker, RecordsWhatTheWorkerUsed) {
  CheckedRun run;
  run.worker.cpu_seconds = 1.25;
  run.worker.peak_memory_bytes = 4096;
  const TestResult test = blame(run, result(Verdict::kPassed));
  ASSERT_TRUE(test.worker.has_value());
  EXPECT_EQ(test.worker->cpu_seconds, 1.25);
  EXPECT_EQ(test.worker->peak_memory_bytes, 4096);
}

}  // namespace
