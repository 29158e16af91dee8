#include "grader/process.h"

#include <poll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
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

namespace grader {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Keeps the first `limit` bytes of what the child says, and hands out its lines.
class Output {
 public:
  Output(int descriptor, const Command& command) : descriptor_(descriptor), command_(command) {}
  ~Output() { close(); }
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  int descriptor() const { return descriptor_; }

  /// Reads what is there now, but at most `max_bytes`: a child that writes without end must not keep us from
  /// its clock.
  void drain(std::size_t max_bytes, ProcessResult& result) {
    std::array<char, 65536> buffer;
    while (descriptor_ >= 0 && max_bytes > 0) {
      const ssize_t n = ::read(descriptor_, buffer.data(), std::min(buffer.size(), max_bytes));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return;
      if (n == 0) return close();
      const std::string_view text(buffer.data(), static_cast<std::size_t>(n));
      max_bytes -= text.size();
      keep(text, result);
    }
  }

 private:
  void keep(std::string_view text, ProcessResult& result) {
    if (command_.on_line) tell_lines(text);
    const std::size_t room = command_.limits.output_bytes - result.output.size();
    result.output_cut |= text.size() > room;
    result.output += text.substr(0, room);
  }

  void tell_lines(std::string_view text) {
    for (std::size_t end = text.find('\n'); end != std::string_view::npos; end = text.find('\n')) {
      line_ += text.substr(0, end);
      command_.on_line(line_);
      line_.clear();
      text.remove_prefix(end + 1);
    }
    constexpr std::size_t kMaxLine = 65536;
    if (line_.size() < kMaxLine) line_ += text;
  }

  void close() {
    if (descriptor_ >= 0) ::close(descriptor_);
    descriptor_ = -1;
  }

  int descriptor_;
  const Command& command_;
  std::string line_;
};

enum class Wake { kEnded, kWallLimit, kInterrupted };

/// True when the child has ended; leaves it to be waited for.
bool has_ended(pid_t pid) {
  siginfo_t info = {};
  return ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
         info.si_pid == pid;
}

constexpr double kForever = 3600;  // poll() may wake for nothing once an hour

/// Milliseconds to sleep in poll(): until the time is over, or 20 when nothing would wake us at the child's
/// end.
int timeout_ms(double left_seconds, bool has_pidfd) {
  const int left_ms = static_cast<int>(std::min(left_seconds, kForever) * 1e3) + 1;
  return has_pidfd ? left_ms : std::min(left_ms, 20);
}

/// Reads output until the child ends, its wall-clock time is over, or the user interrupts. Sleeps in poll()
/// between.
Wake watch(pid_t pid, Output& output, const Command& command, Clock::time_point start,
           ProcessResult& result) {
  // Without pidfd (an old kernel or a sandbox) ask every 20 ms. By number: glibc 2.36's header is not usable
  // from C++.
  const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
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
    if (n_ready > 0 && events[1].revents != 0) output.drain(std::size_t{1} << 20, result);
  }
  if (pidfd >= 0) ::close(pidfd);
  return wake;
}

double cpu_seconds(const struct rusage& usage) {
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
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
  } else if (limits.cpu_seconds > 0 && result.end == End::kSignaled) {
    // SIGKILL at the hard limit looks like any other SIGKILL but for the time used; 5 % for the kernel's
    // rounding.
    const bool used_up = result.cpu_seconds >= 0.95 * limits.cpu_seconds;
    if (result.signal == SIGXCPU || (result.signal == SIGKILL && used_up)) result.end = End::kCpuLimit;
  }
}

}  // namespace

ProcessResult run_process(const Command& command) {
  throw_if_interrupted();
  const Clock::time_point start = Clock::now();
  const Child child = start_child(command);
  Output output(child.output, command);
  ProcessResult result;
  const Wake wake = watch(child.pid, output, command, start, result);
  result.wall_seconds = seconds_since(start);

  kill_group(child.pid);
  int status = 0;
  struct rusage usage = {};
  while (::wait4(child.pid, &status, 0, &usage) < 0 && errno == EINTR) {
  }
  forget_child(child.pid);
  result.cpu_seconds = cpu_seconds(usage);
  if (wake == Wake::kInterrupted) throw Interrupted();
  // All writers are dead now, so this ends; a pipe holds 64 KiB.
  output.drain(std::size_t{1} << 20, result);
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
