#include "grader/sandbox.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <thread>

#include "cgroup.h"
#include "child.h"
#include "grader/error.h"
#include "grader/files.h"
#include "sandbox_bwrap.h"
#include "sandbox_process.h"
#include "sandbox_status.h"
#include "sandbox_user.h"

namespace grader {

namespace {

int process_limit(const SandboxLimits& limits) {
  constexpr int kMoreThanCores = 32;
  if (limits.processes > 0) return limits.processes;
  return static_cast<int>(std::thread::hardware_concurrency()) + kMoreThanCores;
}

class BubblewrapSandbox : public Sandbox {
 public:
  BubblewrapSandbox()
      : bwrap_(find_bubblewrap()),
        init_(find_helper("grader_sandbox_init")),
        is_root_(::geteuid() == 0),
        cgroups_(find_cgroups()) {
    try_out();
  }

  Protection protection() const override { return Protection::kBubblewrap; }

  std::string describe() const override {
    const std::string user =
        is_root_ ? fmt::format("uids {} and up", kFirstSandboxUser) : fmt::format("uid {}", ::getuid());
    std::string limits = "resident memory polled";
    if (cgroups_.has_memory() && cgroups_.has_pids())
      limits = "cgroup memory and pids limits";
    else if (cgroups_.has_memory())
      limits = "cgroup memory limit";
    return fmt::format("bubblewrap {}, {}, {}", bwrap_.version, user, limits);
  }

  void grant(const std::filesystem::path& path, bool writable) const override;

  std::unique_ptr<SandboxProcess> start(const SandboxCommand& given) const override {
    SandboxCommand command = given;
    command.limits.processes = process_limit(given.limits);
    SandboxLaunch launch;
    std::filesystem::path init = init_;
    if (stages_) {
      launch.staged.push_back(staged_path(init, 0));
      init = launch.staged.back().place;
      for (Mount& mount : command.mounts) {
        launch.staged.push_back(staged_path(mount.host, launch.staged.size()));
        mount.host = launch.staged.back().place;
      }
    }
    launch.argv = bwrap_command(bwrap_, init, command);
    launch.environment = {"PATH=/usr/bin:/bin"};
    launch.descriptor = command.descriptor;
    launch.limits = command.limits;
    if (is_root_) launch.user = std::make_unique<SandboxUser>();
    if (cgroups_.has_memory() || cgroups_.has_pids()) {
      constexpr int kOwnProcesses = 8;  // bwrap and the init; RLIMIT_NPROC is the exact limit
      launch.cgroup = std::make_unique<Cgroup>(cgroups_, command.limits.memory_bytes,
                                               command.limits.processes + kOwnProcesses);
      launch.cgroup_limits_memory = cgroups_.has_memory();
    }
    return start_sandbox(std::move(launch));
  }

 private:
  void try_out();
  SandboxResult run_trial(const SandboxCommand& command);

  Bubblewrap bwrap_;
  std::filesystem::path init_;
  bool is_root_;
  bool stages_ = is_root_;  // see sandbox_stage.h
  CgroupParents cgroups_;
};

std::string first_number(const char* file) {
  try {
    std::string text = read_file(file);
    return text.substr(0, text.find('\n'));
  } catch (const InfrastructureError&) {
    return "";
  }
}

/// Why a sandbox may be impossible here, and what to do about it.
std::string remedy(std::string_view problem) {
  if (problem.find("user: ") != std::string_view::npos) {
    return "this root cannot become another user: run the grader as a normal user, or give the container "
           "CAP_SETUID and CAP_SETGID and 65536 users";
  }
  if (first_number("/proc/sys/kernel/unprivileged_userns_clone") == "0")
    return "user namespaces are off: sysctl -w kernel.unprivileged_userns_clone=1";
  if (first_number("/proc/sys/user/max_user_namespaces") == "0")
    return "user namespaces are off: sysctl -w user.max_user_namespaces=15000";
  if (first_number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1") {
    return "AppArmor restricts user namespaces: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or "
           "give bwrap an AppArmor profile with \"userns,\"";
  }
  if (std::filesystem::exists("/.dockerenv") || std::filesystem::exists("/run/.containerenv")) {
    return "in a container: start it with --security-opt seccomp=unconfined --security-opt "
           "apparmor=unconfined "
           "--security-opt systempaths=unconfined, or --privileged";
  }
  return "does this kernel allow user namespaces (CONFIG_USER_NS, sysctl user.max_user_namespaces)?";
}

/// Root in a container may have no right to mount; then files have to be where every user can reach them.
SandboxResult BubblewrapSandbox::run_trial(const SandboxCommand& command) {
  try {
    return run(command);
  } catch (const InfrastructureError& error) {
    if (!stages_ || std::string_view(error.what()).find(kStagingFailed) == std::string_view::npos) throw;
  }
  stages_ = false;
  return run(command);
}

void BubblewrapSandbox::try_out() {
  SandboxCommand command;
  command.argv = {kInitInside, kInitTrial};
  SandboxResult result;
  try {
    result = run_trial(command);
  } catch (const InfrastructureError& error) {
    throw InfrastructureError(
        fmt::format("no sandbox works on this machine ({}). {}", error.what(), remedy(error.what())));
  }
  if (result.end == SandboxResult::End::kExited && result.exit_code == kInitTrialExit) return;
  throw InfrastructureError(fmt::format("a trial program in a sandbox ended with {} instead of {}: {}",
                                        result.exit_code, kInitTrialExit, result.output));
}

/// Gives what `descriptor` is to the sandboxes' group.
void give_to_group(int descriptor, const struct stat& status, bool writable, const std::string& name) {
  const mode_t owner = status.st_mode & 0700;
  mode_t group = writable ? 060 : 040;
  if (S_ISDIR(status.st_mode) || (owner & 0100) != 0) group |= 010;
  // The owner may be the user of an earlier sandbox: a later one must do with the group's rights.
  if (::fchown(descriptor, static_cast<uid_t>(-1), kSandboxGroup) == 0 &&
      ::fchmod(descriptor, owner | group) == 0)
    return;
  throw InfrastructureError(
      fmt::format("cannot give sandboxes access to {}: {}", name, std::strerror(errno)));
}

/// Whatever is below may have been made by a program in a sandbox: links are not followed, and devices, pipes
/// and sockets left alone.
void grant_at(int folder, const std::string& name, bool writable) {
  constexpr int kFlags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
  const int descriptor = ::openat(folder, name.c_str(), kFlags);
  if (descriptor < 0 && (errno == ELOOP || errno == ENXIO || errno == ENOENT)) return;
  if (descriptor < 0)
    throw InfrastructureError(fmt::format("cannot open {}: {}", name, std::strerror(errno)));
  struct Closer {
    int descriptor;
    ~Closer() { ::close(descriptor); }
  } closer{descriptor};
  struct stat status = {};
  if (::fstat(descriptor, &status) != 0) return;
  if (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)) return;
  give_to_group(descriptor, status, writable, name);
  if (!S_ISDIR(status.st_mode)) return;
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(fmt::format("/proc/self/fd/{}", descriptor)))
    names.push_back(entry.path().filename());
  for (const std::string& inner : names) grant_at(descriptor, inner, writable);
}

/// Throws when other users cannot reach `path`.
void check_reachable(const std::filesystem::path& path) {
  for (std::filesystem::path folder = path.parent_path(); folder.has_relative_path();
       folder = folder.parent_path()) {
    struct stat status = {};
    if (::stat(folder.c_str(), &status) == 0 && (status.st_mode & S_IXOTH) != 0) continue;
    throw InfrastructureError(
        fmt::format("{} is closed to other users, and root may not mount here: chmod o+x it, put the kit "
                    "elsewhere, or run the "
                    "grader as a normal user",
                    folder.string()));
  }
}

void BubblewrapSandbox::grant(const std::filesystem::path& path, bool writable) const {
  if (!is_root_) return;
  if (!stages_) check_reachable(std::filesystem::absolute(path));
  grant_at(AT_FDCWD, path.string(), writable);
}

class BareSandbox : public Sandbox {
 public:
  BareSandbox() : init_(find_helper("grader_sandbox_init")) {}

  Protection protection() const override { return Protection::kNone; }
  std::string describe() const override { return "none (unsafe)"; }
  void grant(const std::filesystem::path& /*path*/, bool /*writable*/) const override {}

  std::unique_ptr<SandboxProcess> start(const SandboxCommand& given) const override {
    const SandboxCommand command = on_host(given);
    SandboxLaunch launch;
    launch.bare = true;
    launch.argv = init_arguments(command, true);
    launch.argv.insert(launch.argv.begin(), init_.string());
    launch.environment = {"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8"};
    for (const auto& [name, value] : command.environment)
      launch.environment.push_back(fmt::format("{}={}", name, value));
    launch.descriptor = command.descriptor;
    launch.limits = command.limits;
    return start_sandbox(std::move(launch));
  }

 private:
  std::filesystem::path init_;
};

}  // namespace

std::shared_ptr<const Sandbox> Sandbox::open(Protection protection) {
  if (protection == Protection::kNone) return std::make_shared<BareSandbox>();
  return std::make_shared<BubblewrapSandbox>();
}

}  // namespace grader
