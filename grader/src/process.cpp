#include "grader/process.h"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>

#include "child.h"
#include "grader/error.h"
#include "interrupt.h"
#include "output.h"

namespace grader {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

enum class Wake { kEnded, kWallLimit, kInterrupted };

constexpr double kForever = 3600;  // poll() may wake for nothing once an hour

/// Milliseconds to sleep in poll(): until the time is over, or 20 when nothing would wake us at the child's
/// end.
int timeout_ms(double left_seconds, bool has_pidfd) {
  const int left_ms = static_cast<int>(std::min(left_seconds, kForever) * 1e3) + 1;
  return has_pidfd ? left_ms : std::min(left_ms, 20);
}

/// Reads output until the child ends, its wall-clock time is over, or the user interrupts. Sleeps in poll()
/// between.
Wake watch(pid_t pid, ChildOutput& output, const Command& command, Clock::time_point start) {
  const int pidfd = open_pidfd(pid);  // without one (an old kernel or a sandbox) ask every 20 ms
  const double wall_limit = command.limits.wall_seconds;
  Wake wake = Wake::kEnded;
  while (!has_ended(pid)) {
    const double left_seconds = wall_limit > 0 ? wall_limit - seconds_since(start) : kForever;
    if (left_seconds <= 0) {
      wake = Wake::kWallLimit;
      break;
    }
    // poll() ignores negative descriptors.
    std::array<pollfd, 3> events = {pollfd{pidfd, POLLIN, 0}, pollfd{output.descriptor(), POLLIN, 0},
                                    pollfd{interrupt_descriptor(), POLLIN, 0}};
    const int n_ready = ::poll(events.data(), events.size(), timeout_ms(left_seconds, pidfd >= 0));
    if (n_ready < 0 && errno != EINTR) throw InfrastructureError("poll failed");
    if (InterruptGuard::signal() != 0) {
      wake = Wake::kInterrupted;
      break;
    }
    if (n_ready > 0 && events[1].revents != 0) output.drain(std::size_t{1} << 20);
  }
  if (pidfd >= 0) ::close(pidfd);
  return wake;
}

/// Fills in how the child ended, from what wait4 said.
void conclude(int status, const Limits& limits, bool hit_wall_limit, ProcessResult& result) {
  using End = ProcessResult::End;
  if (WIFEXITED(status)) {
    result.end = End::kExited;
    result.exit_code = WEXITSTATUS(status);
  } else {
    result.end = End::kSignaled;
    result.signal = WTERMSIG(status);
  }
  if (hit_wall_limit) {
    result.end = End::kWallLimit;
  } else if (is_cpu_limit(result.signal, result.cpu_seconds, limits.cpu_seconds)) {
    result.end = End::kCpuLimit;
  }
}

}  // namespace

ProcessResult run_process(const Command& command) {
  throw_if_interrupted();
  const Clock::time_point start = Clock::now();
  const Child child = start_child(command);
  ChildOutput output(child.output, command.limits.output_bytes, command.on_line);
  ProcessResult result;
  const Wake wake = watch(child.pid, output, command, start);
  result.wall_seconds = seconds_since(start);

  kill_group(child.pid);
  struct rusage usage = {};
  const int status = collect(child.pid, usage);
  forget_child(child.pid);
  result.cpu_seconds = cpu_seconds(usage);
  if (wake == Wake::kInterrupted) throw Interrupted();
  // All writers are dead now, so this ends; a pipe holds 64 KiB.
  output.drain(std::size_t{1} << 20);
  result.output = output.text();
  result.output_cut = output.cut();
  conclude(status, command.limits, wake == Wake::kWallLimit, result);
  return result;
}

std::string describe_signal(int signal) {
  switch (signal) {
    case SIGSEGV:
      return "SIGSEGV (invalid memory access)";
    case SIGABRT:
      return "SIGABRT (abort: an uncaught exception, a failed assert, or corrupted memory)";
    case SIGFPE:
      return "SIGFPE (integer division by zero)";
    case SIGILL:
      return "SIGILL (illegal instruction)";
    case SIGBUS:
      return "SIGBUS (invalid memory address)";
    case SIGKILL:
      return "SIGKILL (not sent by the grader; perhaps the machine ran out of memory)";
    case SIGXFSZ:
      return "SIGXFSZ (wrote a file above its size limit)";
    default:
      break;
  }
  const char* name = ::sigabbrev_np(signal);
  return name == nullptr ? "signal " + std::to_string(signal) : std::string("SIG") + name;
}

}  // namespace grader
