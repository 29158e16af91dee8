#include "grader/process.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <future>
#include <thread>

#include "grader/error.h"
#include "grader/files.h"

namespace {

using grader::Command;
using grader::ProcessResult;
using End = ProcessResult::End;

Command misbehave(std::vector<std::string> arguments) {
  Command command;
  command.argv = std::move(arguments);
  command.argv.insert(command.argv.begin(), MISBEHAVE_BINARY);
  command.limits.wall_seconds = 30;  // no test of this file may hang
  return command;
}

bool is_alive(pid_t pid) {
  return ::kill(pid, 0) == 0;
}

TEST(Process, ReportsExitStatusAndOutput) {
  const ProcessResult result = grader::run_process({.argv = {"sh", "-c", "echo out; echo err >&2; exit 7"}});
  EXPECT_EQ(result.end, End::kExited);
  EXPECT_EQ(result.exit_code, 7);
  EXPECT_EQ(result.output, "out\nerr\n");
  EXPECT_FALSE(result.succeeded());
}

TEST(Process, SaysWhichProgramIsMissing) {
  try {
    grader::run_process({.argv = {"/no/such/program"}});
    FAIL() << "nothing was thrown";
  } catch (const grader::InfrastructureError& error) {
    EXPECT_STREQ(error.what(), "cannot run /no/such/program: No such file or directory");
  }
}

TEST(Process, AddsToTheEnvironment) {
  Command command = misbehave({"environment", "HOME"});
  command.environment = {{"HOME", "/elsewhere"}};
  EXPECT_EQ(grader::run_process(command).output, "/elsewhere\n");
}

TEST(Process, HasNoInput) {
  EXPECT_EQ(grader::run_process({.argv = {"cat"}}).output, "");
}

TEST(Process, EndlessLoopMeetsTheCpuLimit) {
  Command command = misbehave({"spin"});
  command.limits.cpu_seconds = 1;
  const ProcessResult result = grader::run_process(command);
  EXPECT_EQ(result.end, End::kCpuLimit);
  EXPECT_GT(result.cpu_seconds, 0.9);
}

TEST(Process, IgnoringTheCpuLimitGainsOneSecond) {
  Command command = misbehave({"spin_ignoring_sigxcpu"});
  command.limits.cpu_seconds = 1;
  EXPECT_EQ(grader::run_process(command).end, End::kCpuLimit);
}

TEST(Process, SleepMeetsTheWallClockLimit) {
  Command command = misbehave({"sleep"});
  command.limits.wall_seconds = 0.2;
  const ProcessResult result = grader::run_process(command);
  EXPECT_EQ(result.end, End::kWallLimit);
  EXPECT_GE(result.wall_seconds, 0.2);
}

TEST(Process, HundredGigabytesAreRefused) {
  Command command = misbehave({"allocate"});
  command.limits.address_space_bytes = std::int64_t{4} << 30;
  const ProcessResult result = grader::run_process(command);
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_EQ(result.output, "std::bad_alloc\n");
}

TEST(Process, NamesTheSignal) {
  const ProcessResult result = grader::run_process(misbehave({"segfault"}));
  EXPECT_EQ(result.end, End::kSignaled);
  EXPECT_EQ(result.signal, SIGSEGV);
  EXPECT_EQ(grader::describe_signal(SIGSEGV), "SIGSEGV (invalid memory access)");
  EXPECT_EQ(grader::describe_signal(SIGUSR1), "SIGUSR1");
}

TEST(Process, FloodOfOutputIsCutAndStopped) {
  Command command = misbehave({"flood"});
  command.limits.wall_seconds = 0.5;
  command.limits.output_bytes = 1000;
  const ProcessResult result = grader::run_process(command);
  EXPECT_EQ(result.end, End::kWallLimit);
  EXPECT_EQ(result.output.size(), 1000U);
  EXPECT_TRUE(result.output_cut);
}

TEST(Process, BigFilesAreStopped) {
  const grader::ScratchFolder folder(std::filesystem::temp_directory_path());
  Command command = misbehave({"write_big_file", (folder.path() / "big").string()});
  command.limits.file_size_bytes = std::int64_t{1} << 20;
  EXPECT_EQ(grader::run_process(command).signal, SIGXFSZ);
  EXPECT_LE(std::filesystem::file_size(folder.path() / "big"), std::uintmax_t{1} << 20);
}

TEST(Process, ChildrenOfTheChildDoNotSurvive) {
  const ProcessResult result = grader::run_process(misbehave({"linger"}));
  const pid_t pid = std::stoi(result.output);
  EXPECT_FALSE(is_alive(pid));
}

TEST(Process, DetachedChildrenDoNotSurviveEither) {
  const ProcessResult result = grader::run_process(misbehave({"detach"}));
  const pid_t pid = std::stoi(result.output);
  EXPECT_FALSE(is_alive(pid));
}

TEST(Process, ChildrenOfOthersAreLeftAlone) {
  const pid_t own = ::fork();
  if (own == 0) {
    ::pause();
    ::_exit(0);
  }
  grader::run_process(misbehave({"detach"}));
  EXPECT_TRUE(is_alive(own));
  ::kill(own, SIGKILL);
  ::waitpid(own, nullptr, 0);
}

TEST(Process, TellsLinesAsTheyCome) {
  std::vector<std::string> lines;
  Command command{.argv = {"printf", "one\\ntwo\\nrest"}};
  command.on_line = [&](std::string_view line) { lines.emplace_back(line); };
  grader::run_process(command);
  EXPECT_EQ(lines, (std::vector<std::string>{"one", "two"}));
}

TEST(Process, RunsSideBySide) {
  std::vector<std::future<ProcessResult>> runs;
  runs.reserve(8);
  for (int i = 0; i < 8; ++i) {
    runs.push_back(std::async(std::launch::async, [i] {
      return grader::run_process(misbehave({"exit", std::to_string(i)}));
    }));
  }
  for (int i = 0; i < 8; ++i) EXPECT_EQ(runs[static_cast<std::size_t>(i)].get().exit_code, i);
}

TEST(Process, SignalStopsWhatRuns) {
  const grader::InterruptGuard guard;
  auto run = std::async(std::launch::async, [] { return grader::run_process(misbehave({"sleep"})); });
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  ::raise(SIGTERM);
  EXPECT_THROW(run.get(), grader::Interrupted);
  EXPECT_EQ(grader::InterruptGuard::signal(), SIGTERM);
  EXPECT_THROW(grader::run_process(misbehave({"exit", "0"})), grader::Interrupted);
}

}  // namespace
