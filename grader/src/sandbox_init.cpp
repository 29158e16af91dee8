// The first process in a sandbox (process 1 of its namespace, but for --unsafe-no-sandbox): applies the
// limits, runs the program, and reports how it ended and what it used through a descriptor that the program
// does not have. Trusted, but in there with the program, so it gives away nothing: no handlers, no dumps, no
// shared descriptors. When it ends, the kernel kills whatever is left in the namespace.
//
//   grader_sandbox_init [cpu=S] [fsize=BYTES] [as=BYTES] [processes=N] [given] [bare] folder=DIR -- PROGRAM
//   ...
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "sandbox_filter.h"
#include "sandbox_status.h"

namespace {

struct Options {
  rlim_t cpu_seconds = 0;  // 0 here and below: no limit
  rlim_t file_size_bytes = 0;
  rlim_t address_space_bytes = 0;
  rlim_t processes = 0;
  const char* folder = "/";
  bool given = false;  // descriptor 3 is for the program
  bool bare = false;   // no namespaces around us
  char** program = nullptr;
};

/// Tells the grader a line, of `n` characters as snprintf() counts them.
void report(const char* line, int n) {
  [[maybe_unused]] const ssize_t written =
      ::write(grader::kStatusDescriptor, line, static_cast<std::size_t>(n));
}

[[noreturn]] void fail(const char* what) {
  std::array<char, 100> line;
  report(line.data(), std::snprintf(line.data(), line.size(), "failed %s %d\n", what, errno));
  ::_exit(1);
}

rlim_t to_number(const char* text) {
  char* end = nullptr;
  errno = 0;
  const unsigned long long value = std::strtoull(text, &end, 10);
  if (errno == 0 && (end == text || *end != '\0')) errno = EINVAL;
  if (errno != 0) fail("options");
  return value;
}

Options parse(char** arguments) {
  Options options;
  for (; *arguments != nullptr; ++arguments) {
    const std::string_view text = *arguments;
    const std::size_t equals = text.find('=');
    const std::string_view name = text.substr(0, equals);
    const char* value = equals == std::string_view::npos ? "" : *arguments + equals + 1;
    if (text == "--") break;
    if (name == "cpu")
      options.cpu_seconds = to_number(value);
    else if (name == "fsize")
      options.file_size_bytes = to_number(value);
    else if (name == "as")
      options.address_space_bytes = to_number(value);
    else if (name == "processes")
      options.processes = to_number(value);
    else if (name == "folder")
      options.folder = value;
    else if (text == "given")
      options.given = true;
    else if (text == "bare")
      options.bare = true;
    else
      to_number("?");
  }
  if (*arguments == nullptr || arguments[1] == nullptr) to_number("?");
  options.program = arguments + 1;
  return options;
}

void limit(int resource, rlim_t soft, rlim_t hard) {
  const struct rlimit value = {soft, hard};
  if (::setrlimit(static_cast<__rlimit_resource>(resource), &value) != 0) fail("limits");
}

/// Lowers a limit; one that is lower already stays.
void lower(int resource, rlim_t most) {
  struct rlimit now = {};
  if (::getrlimit(static_cast<__rlimit_resource>(resource), &now) != 0) fail("limits");
  if (now.rlim_max < most) most = now.rlim_max;
  limit(resource, most, most);
}

void apply_limits(const Options& options) {
  constexpr rlim_t kOpenFiles = 1024;
  constexpr rlim_t kLockedBytes = 64 << 10;
  constexpr rlim_t kStackBytes = 8 << 20;
  constexpr rlim_t kPendingSignals = 1024;
  // 1, not 0: where dumps are piped into a program of the host's, only 1 keeps the kernel from starting it.
  lower(RLIMIT_CORE, 1);
  lower(RLIMIT_NOFILE, kOpenFiles);
  lower(RLIMIT_MEMLOCK, kLockedBytes);
  lower(RLIMIT_STACK, kStackBytes);
  lower(RLIMIT_SIGPENDING, kPendingSignals);
  lower(RLIMIT_MSGQUEUE, 0);
  if (options.file_size_bytes > 0) lower(RLIMIT_FSIZE, options.file_size_bytes);
  if (options.address_space_bytes > 0) lower(RLIMIT_AS, options.address_space_bytes);
  // SIGXCPU at the limit; SIGKILL a second later, for a program that ignores SIGXCPU.
  if (options.cpu_seconds > 0) limit(RLIMIT_CPU, options.cpu_seconds, options.cpu_seconds + 1);
  // In the user namespace of the sandbox this counts the processes inside, of which we are one.
  if (options.processes > 0) lower(RLIMIT_NPROC, options.processes + 1);
}

void be_first_choice_of_the_oom_killer() {
  const int file = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  [[maybe_unused]] const ssize_t written = ::write(file, "1000", 4);
  ::close(file);
}

/// The program's side of fork(). `failure` tells errno and is closed by a successful exec.
[[noreturn]] void become_program(const Options& options, int failure) {
  const auto give_up = [&](const char* what) {
    const std::array<int, 2> words = {errno, *what};
    [[maybe_unused]] const ssize_t written = ::write(failure, words.data(), sizeof(words));
    ::_exit(127);
  };
  // In a namespace the kernel sees to that, and for everybody inside.
  if (options.bare) ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::chdir(options.folder) != 0) give_up("folder");
  apply_limits(options);
  if (!options.bare && !grader::refuse_system_calls()) give_up("system");
  ::execv(options.program[0], options.program);
  give_up("program");
  std::abort();
}

/// Starts the program and says so.
pid_t start(const Options& options) {
  std::array<int, 2> failure = {-1, -1};
  if (::pipe2(failure.data(), O_CLOEXEC) != 0) fail("pipe");
  const pid_t pid = ::fork();
  if (pid < 0) fail("fork");
  if (pid == 0) become_program(options, failure[1]);
  ::close(failure[1]);
  if (options.given) ::close(grader::kGivenDescriptor);
  std::array<int, 2> words = {};
  if (::read(failure[0], words.data(), sizeof(words)) > 0) {
    errno = words[0];
    fail(words[1] == 'f' ? "folder" : words[1] == 's' ? "filter" : "program");
  }
  ::close(failure[0]);
  report("started\n", 8);
  return pid;
}

/// Waits for the program, and buries the orphans that come to process 1 meanwhile.
void wait_and_report(pid_t program) {
  while (true) {
    int status = 0;
    struct rusage usage = {};
    const pid_t pid = ::wait4(-1, &status, __WALL, &usage);
    if (pid < 0 && errno == EINTR) continue;
    if (pid < 0) fail("wait");
    if (pid != program) continue;
    const auto microseconds = [](const timeval& time) {
      return static_cast<long long>(time.tv_sec) * 1'000'000 + time.tv_usec;
    };
    const bool exited = WIFEXITED(status);
    const long long cpu = microseconds(usage.ru_utime) + microseconds(usage.ru_stime);
    std::array<char, 200> line;
    report(line.data(),
           std::snprintf(line.data(), line.size(), "ended %s %d %lld %ld\n", exited ? "exited" : "signaled",
                         exited ? WEXITSTATUS(status) : WTERMSIG(status), cpu, usage.ru_maxrss));
    return;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == grader::kInitTrial) ::_exit(grader::kInitTrialExit);
  be_first_choice_of_the_oom_killer();  // not possible later: /proc/self is root's when we are not dumpable
  // Nobody may look at or trace us, nor reach our descriptors through /proc.
  ::prctl(PR_SET_DUMPABLE, 0);
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  ::fcntl(grader::kStatusDescriptor, F_SETFD, FD_CLOEXEC);
  ::close(grader::kInfoDescriptor);  // bwrap closes it too, where there is bwrap
  const Options options = parse(argv + 1);
  // Without a namespace, orphans come to us, so that everything inside stays below us.
  if (options.bare) ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  ::unsetenv("PWD");  // bwrap's
  wait_and_report(start(options));
  ::_exit(0);
}
