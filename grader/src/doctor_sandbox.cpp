#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <thread>

#include "child.h"
#include "grader/doctor.h"
#include "grader/error.h"
#include "grader/sandbox.h"
#include "grader/text.h"
#include "sandbox_bwrap.h"

namespace grader {

namespace {

using End = SandboxResult::End;

constexpr const char* kProbeInside = "/probe";
constexpr std::int64_t kMiB = std::int64_t{1} << 20;

/// One way to break out. `judge` says what went wrong, "" when the sandbox held.
struct Probe {
  std::string name;
  std::string held;  ///< what is reported when it did
  std::vector<std::string> arguments;
  std::function<void(SandboxLimits&)> limit = {};
  std::function<std::string(const SandboxResult&)> judge;
};

/// The first lines of a probe's output, in one.
std::string on_one_line(const std::string& output) {
  std::string text = shorten(clean_text(output), 3, 200);
  while (text.ends_with('\n')) text.pop_back();
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

/// The probe ends by itself and managed nothing.
std::string judge_silent(const SandboxResult& result) {
  if (!result.succeeded()) return "the probe itself broke: " + on_one_line(result.output);
  return result.output.empty() ? "" : "could reach: " + on_one_line(result.output);
}

std::function<std::string(const SandboxResult&)> judge_end(End end) {
  return [end](const SandboxResult& result) -> std::string {
    return result.end == end ? "" : fmt::format("ended otherwise: {}", on_one_line(result.output));
  };
}

std::function<std::string(const SandboxResult&)> judge_number(long most) {
  return [most](const SandboxResult& result) -> std::string {
    const long n = std::strtol(result.output.c_str(), nullptr, 10);
    if (n <= 0) return "the probe itself broke: " + on_one_line(result.output);
    return n <= most ? "" : fmt::format("got {} instead of {}", n, most);
  };
}

std::vector<Probe> limit_probes() {
  const auto memory = [](SandboxLimits& limits) { limits.memory_bytes = 64 * kMiB; };
  return {
      {"processes",
       "a program with 8 processes is refused a 9th",
       {"fork", "200"},
       [](SandboxLimits& limits) { limits.processes = 8; },
       judge_number(7)},
      {"memory",
       "one process cannot have more than all may",
       {"memory", "128"},
       memory,
       judge_end(End::kMemoryLimit)},
      {"", "nor can four together", {"memory-together", "32", "4"}, memory, judge_end(End::kMemoryLimit)},
      {"", "nor outside of all processes", {"memory-hidden", "16"}, {}, judge_silent},
      {"file size",
       "SIGXFSZ at the limit",
       {"big-file", "8"},
       [](SandboxLimits& limits) { limits.file_size_bytes = kMiB; },
       [](const SandboxResult& result) -> std::string {
         return result.signal == SIGXFSZ ? "" : "a bigger file was written";
       }},
      {"size of /tmp",
       "full at the limit",
       {"fill-tmp", "16"},
       [](SandboxLimits& limits) { limits.tmp_bytes = 4 * kMiB; },
       judge_number(4 * kMiB)},
      {"CPU time",
       "an endless loop is stopped",
       {"spin"},
       [](SandboxLimits& limits) { limits.cpu_seconds = 1; },
       judge_end(End::kCpuLimit)},
      {"wall-clock time",
       "endless sleep is stopped",
       {"sleep"},
       [](SandboxLimits& limits) { limits.wall_seconds = 0.3; },
       judge_end(End::kWallLimit)},
      {"output",
       "endless output is cut",
       {"flood"},
       [](SandboxLimits& limits) {
         limits.wall_seconds = 0.3;
         limits.output_bytes = 1000;
       },
       [](const SandboxResult& result) -> std::string {
         return result.output_cut && result.output.size() == 1000 ? "" : "more was kept";
       }},
  };
}

std::vector<Probe> wall_probes(const std::filesystem::path& root, int port) {
  const char* home = std::getenv("HOME");
  return {
      {"network", "nothing but its own loopback", {"network", std::to_string(port)}, {}, judge_silent},
      {"writing",
       "nowhere but in /tmp",
       {"write", "/", "/usr", "/usr/bin", "/usr/bin/env", "/etc", "/dev", "/dev/shm",
        "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/sysrq-trigger", "/var/tmp",
        "/run", kProbeInside},
       {},
       judge_silent},
      {"processes seen", "its own only", {"processes"}, {}, judge_silent},
      {"files seen",
       "no home, no passwd, nothing of the kit",
       {"see", home == nullptr ? "/root" : home, "/home", "/root", "/var", "/srv", "/etc/passwd",
        "/etc/hosts", (root / "grader").string(), (root / "solutions").string(), "/sys/fs/cgroup"},
       {},
       judge_silent},
      {"environment", "empty but for PATH and LC_ALL", {"environment"}, {}, judge_silent},
      {"capabilities", "none, and no new privileges", {"capabilities"}, {}, judge_silent},
      {"namespaces", "a new user namespace is refused", {"namespace"}, {}, judge_silent},
      {"its init", "cannot be traced, read or written", {"tamper"}, {}, judge_silent},
  };
}

SandboxCommand probe_command(const std::vector<std::string>& arguments) {
  constexpr double kPatience = 20;
  SandboxCommand command;
  command.argv = {kProbeInside};
  command.argv.insert(command.argv.end(), arguments.begin(), arguments.end());
  command.mounts = {{find_helper("grader_sandbox_probe"), kProbeInside}};
  command.limits.wall_seconds = kPatience;
  return command;
}

Check to_check(const std::string& name, const std::string& held, const std::string& problem) {
  const std::string title = name.empty() ? "" : "  " + name;
  if (problem.empty()) return {title, Health::kOk, held, ""};
  return {title, Health::kWarning, "does not hold: " + problem,
          "practice needs no sandbox, but do not run `grader record` on strangers' code here"};
}

/// A port of this machine that somebody, we, listens to.
class Listener {
 public:
  Listener() : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    struct sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* any = reinterpret_cast<struct sockaddr*>(&address);
    if (::bind(socket_, any, size) == 0 && ::listen(socket_, 1) == 0 &&
        ::getsockname(socket_, any, &size) == 0)
      port_ = ntohs(address.sin_port);
  }
  ~Listener() { ::close(socket_); }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  int port() const { return port_; }

 private:
  int socket_;
  int port_ = 0;
};

/// A survivor would keep its end of a pipe open.
std::string judge_survivor(const Sandbox& sandbox) {
  const Pipe pipe = make_pipe();
  SandboxCommand command = probe_command({"survive"});
  command.descriptor = pipe.write;
  const SandboxResult result = sandbox.run(command);
  ::close(pipe.write);
  struct pollfd end = {pipe.read, POLLIN, 0};
  const bool is_closed = ::poll(&end, 1, 0) == 1 && (end.revents & POLLHUP) != 0;
  ::close(pipe.read);
  if (!result.succeeded()) return "the probe itself broke: " + on_one_line(result.output);
  return is_closed ? "" : "a process survived";
}

}  // namespace

std::vector<Check> check_sandbox(const Sandbox& sandbox, const std::filesystem::path& root) {
  const Listener listener;
  std::vector<Probe> probes = limit_probes();
  for (Probe& probe : wall_probes(root, listener.port())) probes.push_back(std::move(probe));
  // All at a time: together they take as long as the limit on CPU time, which is in whole seconds.
  std::vector<std::unique_ptr<SandboxProcess>> running;
  for (const Probe& probe : probes) {
    SandboxCommand command = probe_command(probe.arguments);
    if (probe.limit) probe.limit(command.limits);
    running.push_back(sandbox.start(command));
  }
  std::vector<Check> checks = {{"sandbox", Health::kOk, sandbox.describe(), ""}};
  for (std::size_t i = 0; i < probes.size(); ++i)
    checks.push_back(to_check(probes[i].name, probes[i].held, probes[i].judge(running[i]->wait())));
  checks.push_back(to_check("survivors", "killed, also out of their session", judge_survivor(sandbox)));
  return checks;
}

std::vector<Check> check_sandbox(const std::filesystem::path& root) {
  try {
    return check_sandbox(*Sandbox::open(Protection::kBubblewrap), root);
  } catch (const InfrastructureError& error) {
    return {{"sandbox", Health::kWarning, error.what(),
             "needed by `grader record` only: practice mode has none"}};
  }
}

}  // namespace grader
