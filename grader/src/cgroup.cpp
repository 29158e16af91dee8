#include "cgroup.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string_view>
#include <thread>

#include "child.h"
#include "grader/error.h"

namespace grader {

namespace {

constexpr std::string_view kPrefix = "grader-";

/// A small file of the kernel's; "" when it cannot be read.
std::string contents(const std::filesystem::path& file) {
  std::ifstream stream(file);
  std::ostringstream text;
  if (stream) text << stream.rdbuf();
  return text.str();
}

/// One write(), as the kernel wants it. False, with errno, when it is refused.
bool put(const std::filesystem::path& file, std::string_view text) {
  const int descriptor = ::open(file.c_str(), O_WRONLY | O_CLOEXEC);
  if (descriptor < 0) return false;
  const ssize_t n = ::write(descriptor, text.data(), text.size());
  const int error = errno;
  ::close(descriptor);
  errno = error;
  return n == static_cast<ssize_t>(text.size());
}

void set(const std::filesystem::path& file, const std::string& text) {
  if (!put(file, text))
    throw InfrastructureError(
        fmt::format("cannot set {} to {}: {}", file.string(), text, std::strerror(errno)));
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

bool lists(const std::string& words, const std::string& word, char separator) {
  for (const std::string& entry : split(words, separator)) {
    if (entry == word) return true;
  }
  return false;
}

struct MountedHierarchy {
  std::string root;   ///< the part of the hierarchy that is mounted
  std::string point;  ///< where
  std::string type;   ///< cgroup or cgroup2
  std::string options;
};

std::vector<MountedHierarchy> mounted_hierarchies(const std::string& mountinfo) {
  std::vector<MountedHierarchy> found;
  for (const std::string& line : split(mountinfo, '\n')) {
    // ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [FIELDS] - TYPE SOURCE SUPER_OPTIONS
    const std::size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    const std::vector<std::string> left = split(line.substr(0, dash), ' ');
    const std::vector<std::string> right = split(line.substr(dash + 3), ' ');
    if (left.size() < 5 || right.size() < 3) continue;
    if (right[0] == "cgroup" || right[0] == "cgroup2")
      found.push_back({left[3], left[4], right[0], right[2]});
  }
  return found;
}

/// Our own group in a hierarchy, as a folder; empty when it is not below what is mounted.
std::filesystem::path own_folder(const MountedHierarchy& mounted, const std::string& group) {
  if (group.starts_with("/..")) return {};
  if (mounted.root == "/") return mounted.point + (group == "/" ? "" : group);
  if (group == mounted.root) return mounted.point;
  if (group.starts_with(mounted.root + "/")) return mounted.point + group.substr(mounted.root.size());
  return {};
}

/// Our own folder of version 1's `controller`, or of version 2 when it is "".
std::filesystem::path folder_of(const std::string& controller, const std::vector<MountedHierarchy>& mounted,
                                const std::string& cgroup) {
  for (const std::string& line : split(cgroup, '\n')) {
    // ID:CONTROLLERS:GROUP
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool matches = controller.empty() ? controllers.empty() : lists(controllers, controller, ',');
    if (!matches) continue;
    for (const MountedHierarchy& hierarchy : mounted) {
      const bool fits = controller.empty()
                            ? hierarchy.type == "cgroup2"
                            : hierarchy.type == "cgroup" && lists(hierarchy.options, controller, ',');
      std::filesystem::path folder = fits ? own_folder(hierarchy, line.substr(second + 1)) : "";
      if (!folder.empty()) return folder;
    }
  }
  return {};
}

std::string group_name() {
  static std::atomic<int> counter{0};
  return fmt::format("{}{}-{}", kPrefix, ::getpid(), counter++);
}

/// Removing may have to wait until the kernel has buried the last process.
void remove_group(const std::filesystem::path& folder) {
  constexpr int kTries = 50;
  for (int i = 0; i < kTries && ::rmdir(folder.c_str()) != 0 && errno == EBUSY; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
}

void remove_leftovers(const std::filesystem::path& parent) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(parent, error)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with(kPrefix)) continue;
    const auto pid = static_cast<pid_t>(std::strtol(name.c_str() + kPrefix.size(), nullptr, 10));
    // A group that is in use cannot be removed, whatever we think of its owner.
    if (pid > 0 && ::kill(pid, 0) != 0 && errno == ESRCH) ::rmdir(entry.path().c_str());
  }
}

/// Can a child of ours enter a new group below `parent`, which has `limit_file`?
bool works(const std::filesystem::path& parent, const char* limit_file) {
  const std::filesystem::path folder = parent / group_name();
  if (::mkdir(folder.c_str(), 0755) != 0) return false;
  const int entrance = ::open((folder / "cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC);
  bool entered = false;
  if (entrance >= 0 && ::access((folder / limit_file).c_str(), W_OK) == 0) {
    const pid_t pid = fork_child([&](pid_t) { ::_exit(::write(entrance, "0", 1) == 1 ? 0 : 1); });
    struct rusage usage = {};
    entered = pid > 0 && collect(pid, usage) == 0;
    if (pid > 0) forget_clean_child(pid);
  }
  if (entrance >= 0) ::close(entrance);
  remove_group(folder);
  return entered;
}

const char* memory_file(bool unified) {
  return unified ? "memory.max" : "memory.limit_in_bytes";
}

/// The number after `key` in "key number" lines.
std::int64_t counter_in(const std::string& text, std::string_view key) {
  for (const std::string& line : split(text, '\n')) {
    if (!line.starts_with(key) || line.size() <= key.size() || line[key.size()] != ' ') continue;
    return std::strtoll(line.c_str() + key.size(), nullptr, 10);
  }
  return 0;
}

}  // namespace

std::vector<CgroupParents> cgroup_candidates(const std::string& mountinfo, const std::string& cgroup) {
  const std::vector<MountedHierarchy> mounted = mounted_hierarchies(mountinfo);
  std::vector<CgroupParents> candidates;
  const CgroupParents version1 = {folder_of("memory", mounted, cgroup), folder_of("pids", mounted, cgroup)};
  if (version1.has_memory() || version1.has_pids()) candidates.push_back(version1);
  // In version 2 a group with processes in it, such as our own, cannot hand controllers down, but for the
  // root's; a sibling of our own can have them.
  const std::filesystem::path own = folder_of("", mounted, cgroup);
  if (!own.empty()) {
    candidates.push_back({own, own, true});
    candidates.push_back({own.parent_path(), own.parent_path(), true});
  }
  return candidates;
}

CgroupParents find_cgroups() {
  for (CgroupParents parents :
       cgroup_candidates(contents("/proc/self/mountinfo"), contents("/proc/self/cgroup"))) {
    for (const auto& parent : {parents.memory, parents.pids}) remove_leftovers(parent);
    if (parents.has_memory() && !works(parents.memory, memory_file(parents.unified))) parents.memory.clear();
    if (parents.has_pids() && !works(parents.pids, "pids.max")) parents.pids.clear();
    if (parents.has_memory() || parents.has_pids()) return parents;
  }
  return {};
}

Cgroup::Cgroup(const CgroupParents& parents, std::int64_t memory_bytes, int processes)
    : unified_(parents.unified) {
  const std::string name = group_name();
  try {
    if (parents.has_memory()) {
      memory_ = parents.memory / name;
      make(memory_);
      set(memory_ / memory_file(unified_), std::to_string(memory_bytes));
      // Swap, where the kernel counts it, is no way round the limit.
      if (unified_)
        put(memory_ / "memory.swap.max", "0");
      else
        put(memory_ / "memory.memsw.limit_in_bytes", std::to_string(memory_bytes));
    }
    if (parents.has_pids()) {
      const std::filesystem::path pids = parents.pids / name;
      if (pids != memory_) make(pids);
      set(pids / "pids.max", std::to_string(processes));
    }
  } catch (...) {
    remove();
    throw;
  }
}

Cgroup::~Cgroup() {
  remove();
}

void Cgroup::remove() {
  for (const int entrance : entrances_) ::close(entrance);
  for (const std::filesystem::path& folder : folders_) remove_group(folder);
  entrances_.clear();
  folders_.clear();
}

void Cgroup::make(const std::filesystem::path& folder) {
  if (::mkdir(folder.c_str(), 0755) != 0)
    throw InfrastructureError(fmt::format("cannot make {}: {}", folder.string(), std::strerror(errno)));
  folders_.push_back(folder);
  const int entrance = ::open((folder / "cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC);
  if (entrance < 0)
    throw InfrastructureError(
        fmt::format("cannot open cgroup.procs of {}: {}", folder.string(), std::strerror(errno)));
  entrances_.push_back(entrance);
}

bool Cgroup::ran_out_of_memory() const {
  if (memory_.empty()) return false;
  return counter_in(contents(memory_ / (unified_ ? "memory.events" : "memory.oom_control")), "oom_kill") > 0;
}

std::optional<std::int64_t> Cgroup::peak_memory_bytes() const {
  if (memory_.empty()) return std::nullopt;
  const std::string text = contents(memory_ / (unified_ ? "memory.peak" : "memory.max_usage_in_bytes"));
  std::int64_t n_bytes = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n_bytes);
  if (error != std::errc()) return std::nullopt;
  return n_bytes;
}

}  // namespace grader
