#include "child.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <optional>
#include <set>

#include "grader/error.h"

namespace grader {

namespace {

// Children that run now. The lock also covers fork(), so that the search for orphans never meets a child of
// ours that is not listed yet.
std::mutex children_mutex;
std::set<pid_t> children;

void limit(int resource, rlim_t soft, rlim_t hard) {
  const struct rlimit value = {soft, hard};
  ::setrlimit(static_cast<__rlimit_resource>(resource), &value);
}

void apply_limits(const Limits& limits) {
  limit(RLIMIT_CORE, 0, 0);
  if (limits.cpu_seconds > 0) {
    // SIGXCPU at the limit; SIGKILL a second later, for a program that ignores SIGXCPU.
    const auto seconds = static_cast<rlim_t>(limits.cpu_seconds);
    limit(RLIMIT_CPU, seconds, seconds + 1);
  }
  if (limits.address_space_bytes > 0) {
    const auto n_bytes = static_cast<rlim_t>(limits.address_space_bytes);
    limit(RLIMIT_AS, n_bytes, n_bytes);
  }
  if (limits.file_size_bytes > 0) {
    const auto n_bytes = static_cast<rlim_t>(limits.file_size_bytes);
    limit(RLIMIT_FSIZE, n_bytes, n_bytes);
  }
}

/// Everything prepared before fork(): between fork and exec only async-signal-safe calls are allowed.
struct Prepared {
  std::vector<char*> argv;
  std::vector<std::string> environment_text;
  std::vector<char*> environment;
};

Prepared prepare(const Command& command) {
  Prepared prepared;
  for (const std::string& argument : command.argv)
    prepared.argv.push_back(const_cast<char*>(argument.c_str()));
  prepared.argv.push_back(nullptr);
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    bool is_replaced = false;
    for (const auto& [name, value] : command.environment) is_replaced |= text.starts_with(name + "=");
    if (!is_replaced) prepared.environment_text.emplace_back(text);
  }
  for (const auto& [name, value] : command.environment)
    prepared.environment_text.push_back(fmt::format("{}={}", name, value));
  for (std::string& text : prepared.environment_text) prepared.environment.push_back(text.data());
  prepared.environment.push_back(nullptr);
  return prepared;
}

/// The child's side of fork(). Reports errno through `failure` and ends when the program cannot be executed.
[[noreturn]] void become(const Command& command, Prepared& prepared, pid_t grader, int output, int failure) {
  start_session();
  die_with(grader);
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ::dup2(null, STDIN_FILENO);
  ::dup2(output, STDOUT_FILENO);
  ::dup2(output, STDERR_FILENO);
  constexpr int kInherited = 3;
  if (failure == kInherited) failure = ::fcntl(failure, F_DUPFD_CLOEXEC, kInherited + 1);
  // dup2 onto itself would leave the flag that closes it on exec.
  if (command.descriptor == kInherited) ::fcntl(kInherited, F_SETFD, 0);
  if (command.descriptor >= 0) ::dup2(command.descriptor, kInherited);
  apply_limits(command.limits);
  if (command.folder.empty() || ::chdir(command.folder.c_str()) == 0) {
    ::execvpe(prepared.argv[0], prepared.argv.data(), prepared.environment.data());
  }
  const int error = errno;
  [[maybe_unused]] const ssize_t written = ::write(failure, &error, sizeof(error));
  ::_exit(127);
}

/// Parent of a process, from /proc/PID/stat; nothing when it is gone. The name, field 2, may hold anything.
std::optional<pid_t> parent_of(pid_t pid) {
  std::ifstream stream(fmt::format("/proc/{}/stat", pid));
  std::string line;
  std::getline(stream, line);
  const std::size_t name_end = line.rfind(')');
  if (name_end == std::string::npos || name_end + 4 >= line.size()) return std::nullopt;
  return static_cast<pid_t>(std::strtol(line.c_str() + name_end + 4, nullptr, 10));
}

/// Children of ours that nobody started through start_child and that are not of our session: orphans of a
/// test.
std::vector<pid_t> find_orphans() {
  std::vector<pid_t> orphans;
  const pid_t own_session = ::getsid(0);
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    const auto pid = static_cast<pid_t>(std::strtol(entry.path().filename().c_str(), nullptr, 10));
    if (pid <= 1 || children.contains(pid) || parent_of(pid) != ::getpid()) continue;
    if (::getsid(pid) != own_session) orphans.push_back(pid);
  }
  return orphans;
}

}  // namespace

pid_t fork_child(const std::function<void(pid_t grader)>& become) {
  const pid_t grader = ::getpid();
  const std::lock_guard lock(children_mutex);
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  const pid_t pid = ::fork();
  if (pid == 0) {
    become(grader);
    ::_exit(127);
  }
  if (pid > 0) children.insert(pid);
  return pid;
}

void start_session() {
  ::setsid();
  // SIG_IGN would be inherited through exec.
  for (const int number : {SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGXCPU, SIGXFSZ}) ::signal(number, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

void die_with(pid_t grader) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != grader) ::_exit(1);  // the grader died before prctl took effect
}

Child start_child(const Command& command) {
  Prepared prepared = prepare(command);
  const Pipe output = make_pipe();
  const Pipe failure = make_pipe();
  const pid_t pid =
      fork_child([&](pid_t grader) { become(command, prepared, grader, output.write, failure.write); });
  int error = pid < 0 ? errno : 0;
  ::close(output.write);
  ::close(failure.write);
  if (pid > 0 && ::read(failure.read, &error, sizeof(error)) > 0) {
    ::waitpid(pid, nullptr, 0);
    forget_child(pid);
  }
  ::close(failure.read);
  if (error != 0) {
    ::close(output.read);
    throw InfrastructureError(fmt::format("cannot run {}: {}", command.argv.front(), std::strerror(error)));
  }
  ::fcntl(output.read, F_SETFL, O_NONBLOCK);
  return {pid, output.read};
}

void kill_group(pid_t pid) {
  ::kill(-pid, SIGKILL);
}

bool has_ended(pid_t pid) {
  siginfo_t info = {};
  return ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
         info.si_pid == pid;
}

int collect(pid_t pid, struct rusage& usage) {
  int status = 0;
  while (::wait4(pid, &status, 0, &usage) < 0 && errno == EINTR) {
  }
  return status;
}

int open_pidfd(pid_t pid) {
  // By number: glibc 2.36's header is not usable from C++.
  return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
}

Pipe make_pipe() {
  std::array<int, 2> ends = {-1, -1};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    throw InfrastructureError(fmt::format("cannot make a pipe: {}", std::strerror(errno)));
  }
  return {ends[0], ends[1]};
}

double cpu_seconds(const struct rusage& usage) {
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

bool is_cpu_limit(int signal, double used_seconds, int limit_seconds) {
  // SIGKILL at the hard limit looks like any other SIGKILL but for the time used; 5 % for the kernel's
  // rounding.
  const bool used_up = used_seconds >= 0.95 * limit_seconds;
  return limit_seconds > 0 && (signal == SIGXCPU || (signal == SIGKILL && used_up));
}

void forget_clean_child(pid_t pid) {
  const std::lock_guard lock(children_mutex);
  children.erase(pid);
}

void forget_child(pid_t pid) {
  const std::lock_guard lock(children_mutex);
  children.erase(pid);
  // Killing an orphan may orphan its own children, so look again until there are none. The bound is for a
  // program that forks faster than we look.
  constexpr int kMaxSweeps = 1000;
  for (int sweep = 0; sweep < kMaxSweeps; ++sweep) {
    const std::vector<pid_t> orphans = find_orphans();
    if (orphans.empty()) return;
    for (const pid_t orphan : orphans) ::kill(orphan, SIGKILL);
    for (const pid_t orphan : orphans) ::waitpid(orphan, nullptr, 0);
  }
}

}  // namespace grader
