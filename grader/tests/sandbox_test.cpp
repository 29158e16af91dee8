#include "grader/sandbox.h"

// Longer than other tests: every wall has one, and all share the same probe program.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <map>
#include <thread>

#include "../src/cgroup.h"
#include "../src/sandbox_bwrap.h"
#include "../src/sandbox_process.h"
#include "../src/sandbox_user.h"
#include "grader/doctor.h"
#include "grader/error.h"
#include "grader/files.h"
#include "grader/process.h"

namespace {

using grader::Protection;
using grader::Sandbox;
using grader::SandboxCommand;
using grader::SandboxResult;
using End = SandboxResult::End;

constexpr std::int64_t kMiB = std::int64_t{1} << 20;

/// The probe program, doing what it is told; see src/sandbox_probe.cpp.
SandboxCommand probe(std::vector<std::string> arguments) {
  SandboxCommand command;
  command.argv = std::move(arguments);
  command.argv.insert(command.argv.begin(), "/probe");
  command.mounts = {{grader::find_helper("grader_sandbox_probe"), "/probe"}};
  command.limits.wall_seconds = 30;  // no test of this file may hang
  return command;
}

SandboxCommand shell(const std::string& script) {
  SandboxCommand command;
  command.argv = {"/bin/sh", "-c", script};
  command.limits.wall_seconds = 30;
  return command;
}

/// A pipe whose writers are all gone when the sandbox is.
class Witness {
 public:
  Witness() {
    if (::pipe2(ends_.data(), O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
  }
  ~Witness() {
    ::close(ends_[0]);
    close_ours();
  }
  Witness(const Witness&) = delete;
  Witness& operator=(const Witness&) = delete;

  int descriptor() const { return ends_[1]; }
  void close_ours() {
    if (ends_[1] >= 0) ::close(ends_[1]);
    ends_[1] = -1;
  }
  /// Waits at most so long.
  bool all_gone(int patience_ms) const {
    struct pollfd end = {ends_[0], POLLIN, 0};
    return ::poll(&end, 1, patience_ms) == 1 && (end.revents & POLLHUP) != 0;
  }

 private:
  std::array<int, 2> ends_ = {-1, -1};
};

/// What both ways of locking in promise.
class SandboxBoth : public testing::TestWithParam<Protection> {
 protected:
  void SetUp() override {
    try {
      sandbox_ = Sandbox::open(GetParam());
    } catch (const grader::InfrastructureError& error) {
      GTEST_SKIP() << error.what();
    }
  }
  SandboxResult run(const SandboxCommand& command) const { return sandbox_->run(command); }

  std::shared_ptr<const Sandbox> sandbox_;
};

/// What only bubblewrap does.
class SandboxWalls : public SandboxBoth {};

INSTANTIATE_TEST_SUITE_P(Protection, SandboxBoth, testing::Values(Protection::kBubblewrap, Protection::kNone),
                         [](const auto& info) {
                           return info.param == Protection::kNone ? "None" : "Bubblewrap";
                         });
INSTANTIATE_TEST_SUITE_P(Protection, SandboxWalls, testing::Values(Protection::kBubblewrap),
                         [](const auto& /*info*/) { return "Bubblewrap"; });

TEST_P(SandboxBoth, ReportsExitStatusAndOutput) {
  const SandboxResult result = run(shell("echo out; echo err >&2; exit 7"));
  EXPECT_EQ(result.end, End::kExited);
  EXPECT_EQ(result.exit_code, 7);
  EXPECT_EQ(result.output, "out\nerr\n");
  EXPECT_FALSE(result.succeeded());
}

TEST_P(SandboxBoth, NamesTheSignal) {
  const SandboxResult result = run(probe({"signal", "11"}));
  EXPECT_EQ(result.end, End::kSignaled);
  EXPECT_EQ(result.signal, SIGSEGV);
}

TEST_P(SandboxBoth, SaysWhatCannotBeRun) {
  SandboxCommand command;
  command.argv = {"/no/such/program"};
  try {
    run(command);
    FAIL() << "nothing was thrown";
  } catch (const grader::InfrastructureError& error) {
    EXPECT_STREQ(error.what(), "the sandbox did not start: program: No such file or directory");
  }
  command = probe({"folder"});
  command.folder = "/no/such/folder";
  EXPECT_THROW(run(command), grader::InfrastructureError);
}

TEST_P(SandboxBoth, HasNoInput) {
  SandboxCommand command;
  command.argv = {"/bin/cat"};
  EXPECT_TRUE(run(command).succeeded());
}

TEST_P(SandboxBoth, EnvironmentIsWhatIsGiven) {
  ::setenv("GRADER_TEST_SECRET", "secret", 1);
  SandboxCommand command = probe({"environment"});
  command.environment = {{"SEED", "17"}};
  EXPECT_EQ(run(command).output, "SEED\n");
  ::unsetenv("GRADER_TEST_SECRET");
}

TEST_P(SandboxBoth, RunsInItsFolder) {
  SandboxCommand command = probe({"folder"});
  EXPECT_EQ(run(command).output, "/tmp\n");
  command.folder = "/usr";
  EXPECT_EQ(run(command).output, "/usr\n");
}

TEST_P(SandboxBoth, GivesDescriptorThreeAndNoOther) {
  std::array<int, 2> ends = {-1, -1};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()), 0);  // inheritable, both
  SandboxCommand command = probe({"answer"});
  command.descriptor = ends[1];
  ASSERT_EQ(::write(ends[0], "a", 1), 1);
  EXPECT_TRUE(run(command).succeeded());
  char answer = 0;
  EXPECT_EQ(::read(ends[0], &answer, 1), 1);
  EXPECT_EQ(answer, 'b');  // the probe adds one for each descriptor above 3
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_P(SandboxBoth, EndlessLoopMeetsTheCpuLimit) {
  SandboxCommand command = probe({"spin"});
  command.limits.cpu_seconds = 1;
  const SandboxResult result = run(command);
  EXPECT_EQ(result.end, End::kCpuLimit);
  EXPECT_GT(result.cpu_seconds, 0.9);
  command = probe({"spin-stubborn"});
  command.limits.cpu_seconds = 1;
  EXPECT_EQ(run(command).end, End::kCpuLimit);
}

TEST_P(SandboxBoth, SleepMeetsTheWallClockLimit) {
  SandboxCommand command = probe({"sleep"});
  command.limits.wall_seconds = 0.3;
  const SandboxResult result = run(command);
  EXPECT_EQ(result.end, End::kWallLimit);
  EXPECT_GE(result.wall_seconds, 0.3);
}

TEST_P(SandboxBoth, ProcessorTimeCountsWhateverTheEnd) {
  SandboxCommand command = probe({"spin"});
  command.limits.wall_seconds = 1.5;
  const SandboxResult result = run(command);
  EXPECT_EQ(result.end, End::kWallLimit);
  EXPECT_GT(result.cpu_seconds, 0.1);  // of 1.5, on a machine that has others to serve
}

TEST_P(SandboxBoth, OneProcessMeetsTheMemoryLimit) {
  SandboxCommand command = probe({"memory", "256"});
  command.limits.memory_bytes = 64 * kMiB;
  EXPECT_EQ(run(command).end, End::kMemoryLimit);
}

TEST_P(SandboxBoth, SeveralTogetherMeetTheMemoryLimit) {
  SandboxCommand command = probe({"memory-together", "40", "4"});
  command.limits.memory_bytes = 100 * kMiB;
  EXPECT_EQ(run(command).end, End::kMemoryLimit);
  command.limits.memory_bytes = 400 * kMiB;
  const SandboxResult result = run(command);
  EXPECT_TRUE(result.succeeded()) << result.output;
  EXPECT_GE(result.peak_memory_bytes, 40 * kMiB);
}

TEST_P(SandboxBoth, AddressSpaceIsLimited) {
  SandboxCommand command = probe({"memory", "256"});
  command.limits.address_space_bytes = 64 * kMiB;
  EXPECT_EQ(run(command).exit_code, 3);  // mmap said no
}

TEST_P(SandboxBoth, BigFileIsStopped) {
  SandboxCommand command = probe({"big-file", "8"});
  command.limits.file_size_bytes = kMiB;
  const SandboxResult result = run(command);
  EXPECT_EQ(result.signal, SIGXFSZ);
  EXPECT_EQ(result.output, "");
}

TEST_P(SandboxBoth, EndlessOutputIsCut) {
  SandboxCommand command = probe({"flood"});
  command.limits.wall_seconds = 0.5;
  command.limits.output_bytes = 1000;
  const SandboxResult result = run(command);
  EXPECT_EQ(result.end, End::kWallLimit);
  EXPECT_EQ(result.output.size(), 1000U);
  EXPECT_TRUE(result.output_cut);
}

TEST_P(SandboxBoth, NobodySurvives) {
  Witness witness;
  SandboxCommand command = probe({"survive"});
  command.descriptor = witness.descriptor();
  EXPECT_TRUE(run(command).succeeded());
  witness.close_ours();
  EXPECT_TRUE(witness.all_gone(0));
}

TEST_P(SandboxBoth, IsKilledFromAnotherThread) {
  const auto process = sandbox_->start(probe({"sleep"}));
  auto result = std::async(std::launch::async, [&] { return process->wait(); });
  process->kill();
  EXPECT_EQ(result.get().end, End::kKilled);
}

TEST_P(SandboxBoth, ForgottenOneIsKilled) {
  Witness witness;
  SandboxCommand command = probe({"sleep"});
  command.descriptor = witness.descriptor();
  auto process = sandbox_->start(command);
  witness.close_ours();
  EXPECT_FALSE(witness.all_gone(0));
  process.reset();
  EXPECT_TRUE(witness.all_gone(0));
}

TEST_P(SandboxBoth, OutlivesTheThreadThatStartedIt) {
  std::unique_ptr<grader::SandboxProcess> process;
  std::thread([&] { process = sandbox_->start(shell("sleep 0.3; exit 5")); }).join();
  EXPECT_EQ(process->wait().exit_code, 5);
}

TEST_P(SandboxBoth, LimitsHoldWhileNobodyWaits) {
  Witness witness;
  SandboxCommand command = probe({"flood"});
  command.descriptor = witness.descriptor();
  command.limits.wall_seconds = 0.3;
  const auto process = sandbox_->start(command);
  witness.close_ours();
  EXPECT_TRUE(witness.all_gone(10'000));
  EXPECT_EQ(process->wait().end, End::kWallLimit);
  EXPECT_EQ(process->wait().end, End::kWallLimit);  // as often as one likes
}

TEST_P(SandboxBoth, SignalStopsWhatRuns) {
  const grader::InterruptGuard guard;
  auto run_one = std::async(std::launch::async, [&] { return run(probe({"sleep"})); });
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  ::raise(SIGTERM);
  EXPECT_THROW(run_one.get(), grader::Interrupted);
}

TEST_P(SandboxBoth, RunsSideBySide) {
  std::vector<std::future<int>> runs;
  for (int i = 0; i < 8; ++i) {
    runs.push_back(std::async(std::launch::async, [&, i] {
      return run(probe({"exit", std::to_string(i)})).exit_code;
    }));
  }
  for (int i = 0; i < 8; ++i) EXPECT_EQ(runs[static_cast<std::size_t>(i)].get(), i);
}

TEST_P(SandboxBoth, DiesWithItsGrader) {
  Witness witness;
  const std::string self = std::filesystem::read_symlink("/proc/self/exe");
  const pid_t other = ::fork();
  if (other == 0) {
    ::dup2(::open("/dev/null", O_WRONLY), STDOUT_FILENO);
    ::dup2(witness.descriptor(), 9);  // inheritable
    const char* name = GetParam() == Protection::kNone ? "1" : "0";
    ::setenv("GRADER_TEST_PROTECTION", name, 1);
    ::execl(self.c_str(), self.c_str(), "--gtest_filter=SandboxGrader.*", "--gtest_also_run_disabled_tests",
            nullptr);
    ::_exit(127);
  }
  witness.close_ours();
  std::this_thread::sleep_for(std::chrono::milliseconds(700));
  EXPECT_FALSE(witness.all_gone(0));
  ::kill(other, SIGKILL);
  ::waitpid(other, nullptr, 0);
  EXPECT_TRUE(witness.all_gone(5'000));
}

/// The other process of DiesWithItsGrader.
TEST(SandboxGrader, DISABLED_WaitsToBeKilled) {
  const char* protection = std::getenv("GRADER_TEST_PROTECTION");
  ASSERT_NE(protection, nullptr);
  const auto sandbox = Sandbox::open(*protection == '1' ? Protection::kNone : Protection::kBubblewrap);
  SandboxCommand command = probe({"sleep"});
  command.descriptor = 9;
  const auto process = sandbox->start(command);
  ::close(9);
  process->wait();
}

TEST_P(SandboxWalls, ProcessesAreCounted) {
  SandboxCommand command = probe({"fork", "100"});
  command.limits.processes = 10;
  EXPECT_EQ(run(command).output, "9\n");  // the tenth, or first, is the probe itself
}

TEST_P(SandboxWalls, ForkBombDisturbsNoNeighbour) {
  SandboxCommand bomb = probe({"forkbomb"});
  bomb.limits.wall_seconds = 20;
  const auto running = sandbox_->start(bomb);
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  SandboxCommand neighbour = probe({"fork", "30"});
  neighbour.limits.processes = 31;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(run(neighbour).output, "30\n");
  running->kill();
  EXPECT_EQ(running->wait().end, End::kKilled);
}

TEST_P(SandboxWalls, MemoryOfOneIsNotAnothers) {
  SandboxCommand command = probe({"memory", "100"});
  command.limits.memory_bytes = 128 * kMiB;
  std::vector<std::future<bool>> runs;
  for (int i = 0; i < 3; ++i)
    runs.push_back(std::async(std::launch::async, [&] { return run(command).succeeded(); }));
  for (auto& one : runs) EXPECT_TRUE(one.get());
}

TEST_P(SandboxWalls, TmpIsSmall) {
  SandboxCommand command = probe({"fill-tmp", "16"});
  command.limits.tmp_bytes = 4 * kMiB;
  EXPECT_EQ(run(command).output, std::to_string(4 * kMiB) + "\n");
}

TEST_P(SandboxWalls, TmpIsNewEachTime) {
  EXPECT_EQ(run(shell("touch /tmp/a && ls /tmp")).output, "a\n");
  EXPECT_EQ(run(shell("ls /tmp")).output, "");
}

TEST_P(SandboxWalls, EmptyFilesAreCountedToo) {
  SandboxCommand command = probe({"files", "3000000"});
  command.limits.memory_bytes = 64 * kMiB;
  EXPECT_EQ(run(command).end, End::kMemoryLimit);
}

TEST_P(SandboxWalls, InitCannotBeKilledFromInside) {
  const SandboxResult result = run(probe({"kill-init"}));
  EXPECT_TRUE(result.succeeded());
  EXPECT_EQ(result.output, "still here\n");
}

TEST_P(SandboxWalls, MountsAreAsGranted) {
  const grader::ScratchFolder scratch(std::filesystem::temp_directory_path());
  const std::filesystem::path in = scratch.path() / "in";
  const std::filesystem::path out = scratch.path() / "out";
  std::filesystem::create_directory(out);
  grader::write_file(in / "deep" / "file", "text");
  ::chmod((in / "deep" / "file").c_str(), 0600);
  sandbox_->grant(in, false);
  sandbox_->grant(out, true);
  SandboxCommand command = shell("cp /in/deep/file /out/copy; echo x > /in/new; echo x > /in/deep/file");
  command.mounts = {{in, "/in"}, {out, "/out", true}};
  run(command);
  EXPECT_EQ(grader::read_file(out / "copy"), "text");
  EXPECT_EQ(grader::read_file(in / "deep" / "file"), "text");
  EXPECT_FALSE(std::filesystem::exists(in / "new"));
  // Another sandbox, with another user perhaps, goes on with it.
  sandbox_->grant(out, true);
  command.argv.back() = "echo more >> /out/copy";
  EXPECT_TRUE(run(command).succeeded());
  EXPECT_EQ(grader::read_file(out / "copy"), "textmore\n");
}

TEST_P(SandboxWalls, GrantFollowsNoLinks) {
  const grader::ScratchFolder scratch(std::filesystem::temp_directory_path());
  const std::filesystem::path outside = scratch.path() / "outside";
  grader::write_file(outside, "text");
  ::chmod(outside.c_str(), 0600);
  const std::filesystem::path granted = scratch.path() / "granted";
  std::filesystem::create_directory(granted);
  std::filesystem::create_symlink(outside, granted / "link");
  ASSERT_EQ(::mkfifo((granted / "pipe").c_str(), 0600), 0);
  sandbox_->grant(granted, true);
  EXPECT_EQ(std::filesystem::status(outside).permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
}

TEST_P(SandboxWalls, MountsHaveSensiblePlaces) {
  for (const char* inside : {"relative", "/", "/a/../b"}) {
    SandboxCommand command = shell("true");
    command.mounts = {{"/usr", inside}};
    EXPECT_THROW(run(command), grader::InfrastructureError) << inside;
  }
  SandboxCommand command = shell("true");
  command.mounts = {{"/no/such/file", "/file"}};
  EXPECT_THROW(run(command), grader::InfrastructureError);
}

TEST_P(SandboxWalls, DoctorFindsThatEverythingHolds) {
  const std::vector<grader::Check> checks = grader::check_sandbox(*sandbox_, "/no/such/tree");
  EXPECT_GE(checks.size(), 18U);
  for (const grader::Check& check : checks)
    EXPECT_EQ(check.health, grader::Health::kOk) << check.name << check.found;
}

TEST_P(SandboxWalls, LeavesNoGroupsBehind) {
  const std::string prefix = "grader-" + std::to_string(::getpid()) + "-";
  run(shell("true"));
  const grader::CgroupParents parents = grader::find_cgroups();
  if (!parents.has_memory()) GTEST_SKIP() << "control groups are not writable here";
  for (const auto& parent : {parents.memory, parents.pids}) {
    for (const auto& entry : std::filesystem::directory_iterator(parent))
      EXPECT_FALSE(entry.path().filename().string().starts_with(prefix)) << entry.path();
  }
}

TEST(SandboxDoctor, NoticesThatNothingHolds) {
  const auto sandbox = Sandbox::open(Protection::kNone);
  std::map<std::string, grader::Health> health;
  for (const grader::Check& check : grader::check_sandbox(*sandbox, GRADER_SOURCE_ROOT)) {
    if (check.name.size() > 2) health[check.name.substr(2)] = check.health;
  }
  for (const char* name : {"processes", "size of /tmp", "processes seen", "files seen"})
    EXPECT_EQ(health.at(name), grader::Health::kWarning) << name;
  EXPECT_EQ(health.at("CPU time"), grader::Health::kOk);
}

/// All of the above once more as somebody who is not root.
TEST(SandboxUser, HasTheSameWalls) {
  if (::geteuid() != 0) GTEST_SKIP() << "not root: the other tests have run as a normal user";
  const std::string self = std::filesystem::read_symlink("/proc/self/exe");
  const std::vector<std::string> as_nobody = {"setpriv", "--reuid", "12345",
                                              "--regid", "12345",   "--clear-groups"};
  grader::Command command;
  command.argv = as_nobody;
  command.argv.insert(command.argv.end(), {"test", "-x", self});
  if (!grader::run_process(command).succeeded()) GTEST_SKIP() << "others than root cannot reach " << self;
  command.argv = as_nobody;
  command.argv.insert(command.argv.end(), {self, "--gtest_filter=*SandboxBoth*:*SandboxWalls*"});
  command.limits.wall_seconds = 100;
  const grader::ProcessResult result = grader::run_process(command);
  EXPECT_TRUE(result.succeeded()) << result.output;
  if (result.output.find("SandboxWalls.ProcessesAreCounted/Bubblewrap (") == std::string::npos)
    GTEST_SKIP() << result.output.substr(0, 2000);
}

TEST(SandboxUser, CountsItsThreads) {
  EXPECT_GE(grader::threads_of_user(::geteuid()), 1);
  EXPECT_EQ(grader::threads_of_user(4'000'000'000U), 0);
}

TEST(SandboxUser, IsNobodyElses) {
  const grader::SandboxUser one;
  const grader::SandboxUser other;
  EXPECT_NE(one.uid(), other.uid());
}

TEST(SandboxStatus, IsReadAsItIsMeant) {
  const grader::SandboxStatus status = grader::parse_status("started\nended exited 3 1500000 2048\n");
  EXPECT_TRUE(status.started);
  EXPECT_TRUE(status.ended);
  EXPECT_TRUE(status.exited);
  EXPECT_EQ(status.number, 3);
  EXPECT_EQ(status.cpu_seconds, 1.5);
  EXPECT_EQ(status.max_rss_bytes, 2 * kMiB);
  EXPECT_EQ(grader::parse_status("failed program 2\n").failure, "program: No such file or directory");
}

TEST(SandboxStatus, NonsenseSaysNothing) {
  for (const char* text :
       {"", "ended", "ended exited", "ended exited 0 0", "ended exited 0 0 0 0", "ended exited -1 0 0",
        "ended exited 256 0 0", "ended exited 0x1 0 0", "ended escaped 0 0 0", "ended exited 0 -5 0",
        "ended exited 99999999999999999999 0 0", "ended exited 0 0 9223372036854775807", "STARTED",
        "started now"}) {
    const grader::SandboxStatus status = grader::parse_status(text);
    EXPECT_FALSE(status.ended) << text;
    EXPECT_FALSE(status.started) << text;
  }
  // The first end counts: what comes later may be somebody else's.
  EXPECT_EQ(grader::parse_status("ended exited 1 0 0\nended exited 0 0 0\n").number, 1);
}

TEST(SandboxPaths, BecomeTheHosts) {
  SandboxCommand command;
  command.argv = {"/in/program", "-I/in/include", "--path=/in", "/in2", "/else/in", "in", "a:/in:/in/b"};
  command.mounts = {{"/host/x", "/in"}, {"/host/include", "/in/include"}};
  command.folder = "/in/sub";
  const SandboxCommand on_host = grader::on_host(command);
  EXPECT_EQ(on_host.argv, (std::vector<std::string>{"/host/x/program", "-I/host/include", "--path=/host/x",
                                                    "/in2", "/else/in", "in", "a:/host/x:/host/x/b"}));
  EXPECT_EQ(on_host.folder, "/host/x/sub");
}

TEST(SandboxCgroup, FindsOurOwnGroups) {
  // As in a container with version 1.
  const auto version1 = grader::cgroup_candidates(
      "35 30 0:31 /docker/abc /sys/fs/cgroup/memory rw shared:1 - cgroup cgroup rw,memory\n"
      "36 30 0:32 /docker/abc /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n",
      "9:memory:/docker/abc/job\n8:pids:/docker/abc\n1:name=systemd:/docker/abc\n");
  ASSERT_EQ(version1.size(), 1U);
  EXPECT_EQ(version1[0].memory, "/sys/fs/cgroup/memory/job");
  EXPECT_EQ(version1[0].pids, "/sys/fs/cgroup/pids");
  // As on a desktop with version 2.
  const auto version2 =
      grader::cgroup_candidates("30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
                                "0::/user.slice/user-1000.slice/user@1000.service/app.slice/term.scope\n");
  ASSERT_EQ(version2.size(), 2U);
  EXPECT_EQ(version2[1].memory, "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice");
  EXPECT_TRUE(version2[1].unified);
  // Groups that are not below what is mounted, and nonsense.
  EXPECT_TRUE(
      grader::cgroup_candidates("35 30 0:31 /a /m rw - cgroup cgroup rw,memory\n", "9:memory:/b\n").empty());
  EXPECT_TRUE(grader::cgroup_candidates("x\n- - -\n", "::\n:\n\n9\n").empty());
}

}  // namespace
