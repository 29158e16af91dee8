#include "worker_run.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <future>

#include "grader/error.h"
#include "grader/gtest_report.h"
#include "kit/remote/errors.h"

namespace grader {

namespace {

// After its last answer a worker only has to end. Destructors and atexit handlers may take this long; where
// the test failed already, nobody waits for them.
constexpr std::chrono::seconds kTimeToEnd{5};
constexpr std::chrono::seconds kTimeToEndAfterFailure{1};
// The worker maps the two arenas, which are sparse, beside what it may use for itself
// (common/src/remote/connection.cpp).
constexpr std::int64_t kArenaBytes = std::int64_t{3} << 30;

/// Both ends close on destruction.
class SocketPair {
 public:
  SocketPair() {
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends_.data()) != 0)
      throw InfrastructureError(fmt::format("cannot make a socket pair: {}", std::strerror(errno)));
  }
  ~SocketPair() {
    close(0);
    close(1);
  }
  SocketPair(const SocketPair&) = delete;
  SocketPair& operator=(const SocketPair&) = delete;

  int operator[](std::size_t i) const { return ends_[i]; }
  void close(std::size_t i) {
    if (ends_[i] >= 0) ::close(ends_[i]);
    ends_[i] = -1;
  }

 private:
  std::array<int, 2> ends_ = {-1, -1};
};

SandboxCommand worker_command(const Limits& limits, const std::filesystem::path& worker, int socket) {
  SandboxCommand command;
  command.argv = {"/kit/worker"};
  command.environment = {{"MALLOC_ARENA_MAX", "2"}};
  command.mounts = {{worker, "/kit/worker", false}};
  command.limits.cpu_seconds = limits.cpu_seconds;
  command.limits.wall_seconds = limits.wall_seconds;
  command.limits.memory_bytes = limits.address_space_bytes;
  command.limits.address_space_bytes =
      limits.address_space_bytes > 0 ? limits.address_space_bytes + kArenaBytes : 0;
  command.limits.file_size_bytes = limits.file_size_bytes;
  command.descriptor = socket;
  return command;
}

/// The same end in the words of an ordinary process.
ProcessResult as_process(const SandboxResult& worker) {
  using End = SandboxResult::End;
  ProcessResult process;
  process.end = worker.end == End::kCpuLimit    ? ProcessResult::End::kCpuLimit
                : worker.end == End::kWallLimit ? ProcessResult::End::kWallLimit
                : worker.end == End::kSignaled  ? ProcessResult::End::kSignaled
                                                : ProcessResult::End::kExited;
  process.exit_code = worker.exit_code;
  process.signal = worker.signal;
  process.wall_seconds = worker.wall_seconds;
  process.cpu_seconds = worker.cpu_seconds;
  process.output = worker.output;
  process.output_cut = worker.output_cut;
  return process;
}

/// It answered everything that was asked and then ended well.
bool ended_well(const CheckedRun& run) {
  return run.worker.end == SandboxResult::End::kExited && run.worker.exit_code == 0;
}

/// The test failed because the connection did.
bool lost_its_worker(const TestResult& test) {
  return test.message.find(kit::remote::WorkerEnded::kPrefix) != std::string::npos;
}

}  // namespace

CheckedRun run_with_worker(Command checker, const std::filesystem::path& worker, const Sandbox& sandbox) {
  SocketPair sockets;
  const std::unique_ptr<SandboxProcess> process =
      sandbox.start(worker_command(checker.limits, worker, sockets[1]));
  sockets.close(1);
  checker.descriptor = sockets[0];
  checker.environment.emplace_back("KIT_WORKER_SOCKET", "3");
  checker.environment.emplace_back("KIT_QUICK", "1");
  checker.limits.cpu_seconds *= 2;
  // It maps the arenas, too, and may hold one array of each size that the worker sent.
  if (checker.limits.address_space_bytes > 0) checker.limits.address_space_bytes += 2 * kArenaBytes;
  checker.limits.file_size_bytes = 0;  // the arenas are files
  CheckedRun run;
  run.checker = run_process(checker);
  sockets.close(0);
  std::future<SandboxResult> ended = std::async(std::launch::async, [&] { return process->wait(); });
  const bool passed = run.checker.succeeded();
  if (ended.wait_for(passed ? kTimeToEnd : kTimeToEndAfterFailure) == std::future_status::timeout) {
    run.worker_stayed = true;
    process->kill();
  }
  run.worker = ended.get();
  return run;
}

void blame_worker(const CheckedRun& run, const Limits& limits, TestResult& test) {
  using End = SandboxResult::End;
  test.worker = {run.worker.cpu_seconds, run.worker.peak_memory_bytes};
  const bool checker_stopped =
      run.checker.end == ProcessResult::End::kWallLimit || run.checker.end == ProcessResult::End::kCpuLimit;
  if (run.checker.end == ProcessResult::End::kSignaled) {
    test.verdict = Verdict::kInfrastructureError;
    test.message = "the checker itself was stopped by " + describe_signal(run.checker.signal);
  } else if (run.worker.end == End::kMemoryLimit) {
    test.verdict = Verdict::kCrashed;
    test.message = fmt::format("ran out of its memory limit of {} MiB", limits.address_space_bytes >> 20);
  } else if (run.worker_stayed && !checker_stopped) {
    if (test.verdict != Verdict::kPassed) return;
    test.verdict = Verdict::kTimedOut;
    test.message = fmt::format("answered everything, then did not end within {} s", kTimeToEnd.count());
  } else if (!checker_stopped && !run.worker_stayed &&
             (lost_its_worker(test) || (test.verdict == Verdict::kPassed && !ended_well(run)))) {
    const double seconds = test.seconds;
    classify_end(as_process(run.worker), limits, test);
    test.seconds = seconds;
  }
}

}  // namespace grader
