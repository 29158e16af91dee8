#include "supervised.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>

#include <array>
#include <chrono>
#include <csignal>
#include <fstream>
#include <iterator>
#include <mutex>
#include <set>
#include <sstream>
#include <stdexcept>

namespace hostile {

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::string read_all(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

/// Children of this process, whichever thread started or inherited them.
std::set<pid_t> children() {
  std::set<pid_t> found;
  for (const auto& task : fs::directory_iterator("/proc/self/task")) {
    std::istringstream list(read_all(task.path() / "children"));
    for (pid_t pid = 0; list >> pid;) found.insert(pid);
  }
  return found;
}

bool is_zombie(pid_t pid) {
  const std::string stat = read_all(fmt::format("/proc/{}/stat", pid));
  const std::size_t at = stat.rfind(')');
  return at == std::string::npos || stat.compare(at, 4, ") Z ") == 0;
}

std::string command_line(pid_t pid) {
  std::string text = read_all(fmt::format("/proc/{}/cmdline", pid));
  for (char& c : text) c = c == '\0' ? ' ' : c;
  return fmt::format("{}: {}", pid, text);
}

std::mutex running_mutex;
std::set<pid_t> running;  // programs of run() that have not been waited for

/// Orphans that came to us: whatever is still alive a little later has outlived its grader.
std::vector<std::string> end_survivors() {
  std::vector<std::string> survivors;
  for (int round = 0; round < 20; ++round) {
    bool alive = false;
    for (const pid_t pid : children()) {
      {
        const std::scoped_lock lock(running_mutex);
        if (running.contains(pid)) continue;
      }
      if (is_zombie(pid)) {
        ::waitpid(pid, nullptr, WNOHANG);
      } else {
        alive = true;
        // A process that was killed may need a moment to die; one second is no moment.
        if (round == 19) {
          survivors.push_back(command_line(pid));
          ::kill(pid, SIGKILL);
          ::waitpid(pid, nullptr, 0);
        }
      }
    }
    if (!alive) break;
    ::usleep(50000);
  }
  return survivors;
}

/// Control groups that a grader with this number made.
std::vector<std::string> leftover_cgroups(pid_t grader) {
  std::vector<std::string> found;
  std::error_code error;
  auto entry = fs::recursive_directory_iterator("/sys/fs/cgroup",
                                                fs::directory_options::skip_permission_denied, error);
  for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    if (entry->path().filename().string().starts_with(fmt::format("grader-{}-", grader)))
      found.push_back(entry->path());
  }
  return found;
}

[[noreturn]] void become(const std::vector<std::string>& argv,
                         const std::map<std::string, std::string>& environment, int output) {
  ::dup2(::open("/dev/null", O_RDONLY), 0);
  ::dup2(output, 1);
  ::dup2(output, 2);
  for (const auto& [name, value] : environment) ::setenv(name.c_str(), value.c_str(), 1);
  std::vector<char*> arguments;
  arguments.reserve(argv.size() + 1);
  for (const std::string& argument : argv) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  ::execv(arguments[0], arguments.data());
  ::_exit(127);
}

}  // namespace

void adopt_orphans() {
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) throw std::runtime_error("prctl: no subreaper");
}

Outcome run(const std::vector<std::string>& argv, const std::map<std::string, std::string>& environment,
            double max_seconds) {
  std::array<int, 2> pipe = {};
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe");
  const Clock::time_point start = Clock::now();
  pid_t pid = 0;
  {
    const std::scoped_lock lock(running_mutex);
    pid = ::fork();
    if (pid == 0) become(argv, environment, pipe[1]);
    running.insert(pid);
  }
  ::close(pipe[1]);
  Outcome outcome;
  std::array<char, 65536> buffer = {};
  int status = 0;
  // The pipe's end is not waited for: a survivor would hold it open.
  for (bool ended = false; !ended;) {
    pollfd ready{pipe[0], POLLIN, 0};
    if (::poll(&ready, 1, 50) == 1) {
      const ssize_t n = ::read(pipe[0], buffer.data(), buffer.size());
      if (n > 0) outcome.output.append(buffer.data(), static_cast<std::size_t>(n));
      if (n > 0) continue;
      ::usleep(1000);
    }
    if (seconds_since(start) > max_seconds) ::kill(pid, SIGKILL);
    ended = ::waitpid(pid, &status, WNOHANG) == pid;
  }
  outcome.seconds = seconds_since(start);
  ::close(pipe[0]);
  {
    const std::scoped_lock lock(running_mutex);
    running.erase(pid);
  }
  outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  outcome.survivors = end_survivors();
  outcome.cgroups = leftover_cgroups(pid);
  return outcome;
}

Snapshot snapshot(const std::vector<Watched>& folders) {
  Snapshot files;
  for (const auto& [folder, is_recursive] : folders) {
    std::error_code error;
    auto entry =
        fs::recursive_directory_iterator(folder, fs::directory_options::skip_permission_denied, error);
    for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
      if (!is_recursive) entry.disable_recursion_pending();
      struct stat info = {};
      const std::string path = entry->path().string();
      if (::lstat(path.c_str(), &info) != 0) continue;
      files[path] = S_ISREG(info.st_mode)
                        ? fmt::format("{} {}.{}", info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec)
                        : "";
    }
  }
  return files;
}

std::vector<std::string> differences(const Snapshot& before, const Snapshot& after) {
  std::vector<std::string> found;
  for (const auto& [path, state] : after) {
    const auto old = before.find(path);
    if (old == before.end()) {
      found.push_back("new: " + path);
    } else if (old->second != state) {
      found.push_back("changed: " + path);
    }
  }
  for (const auto& [path, state] : before) {
    if (!after.contains(path)) found.push_back("gone: " + path);
  }
  return found;
}

}  // namespace hostile
