#include "process_tree.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

namespace grader {

namespace {

/// Of a line of /proc/PID/stat, by its field numbers in proc(5).
struct Stat {
  std::int64_t parent = 0;  // 4
  std::int64_t ticks = 0;   // 14 to 17: user and system time, its own and of children it waited for
  std::int64_t pages = 0;   // 24
};

/// The name, field 2, may hold anything, but ends with the last ')'.
bool read_stat(pid_t pid, Stat& stat) {
  std::ifstream stream(fmt::format("/proc/{}/stat", pid));
  std::string line;
  std::getline(stream, line);
  const std::size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) return false;
  std::size_t at = name_end + 1;
  for (int field = 3; field <= 24; ++field) {
    at = line.find_first_not_of(' ', line.find(' ', at));
    if (at == std::string::npos) return false;
    if (field == 3) continue;  // a letter
    const std::int64_t value = std::strtoll(line.c_str() + at, nullptr, 10);
    if (field == 4) stat.parent = value;
    if (field >= 14 && field <= 17) stat.ticks += value;
    if (field == 24) stat.pages = value;
  }
  return true;
}

void add(const Stat& stat, TreeUsage& usage) {
  static const long page_bytes = ::sysconf(_SC_PAGESIZE);
  static const long ticks_per_second = ::sysconf(_SC_CLK_TCK);
  usage.resident_bytes += stat.pages * page_bytes;
  usage.cpu_seconds += static_cast<double>(stat.ticks) / static_cast<double>(ticks_per_second);
}

/// Children of all threads of a process.
void read_children(pid_t pid, std::vector<pid_t>& children) {
  std::error_code error;
  for (const auto& task : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid), error)) {
    std::ifstream stream(task.path() / "children");
    for (pid_t child = 0; stream >> child;) children.push_back(child);
  }
}

TreeUsage sum_by_children(pid_t pid) {
  TreeUsage usage;
  std::vector<pid_t> left = {pid};
  while (!left.empty()) {
    const pid_t next = left.back();
    left.pop_back();
    Stat stat;
    if (read_stat(next, stat)) add(stat, usage);
    read_children(next, left);
  }
  return usage;
}

/// The same from a look at all processes of the machine.
TreeUsage sum_by_parents(pid_t pid) {
  std::map<std::int64_t, Stat> all;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    const auto other = static_cast<pid_t>(std::strtol(entry.path().filename().c_str(), nullptr, 10));
    Stat stat;
    if (other > 0 && read_stat(other, stat)) all.emplace(other, stat);
  }
  const auto is_below = [&](std::int64_t other) {
    constexpr int kMaxDepth = 10'000;  // a process may have changed its parent while we looked
    for (int depth = 0; depth < kMaxDepth && other != pid; ++depth) {
      const auto found = all.find(other);
      if (found == all.end()) return false;
      other = found->second.parent;
    }
    return other == pid;
  };
  TreeUsage usage;
  for (const auto& [other, stat] : all) {
    if (is_below(other)) add(stat, usage);
  }
  return usage;
}

}  // namespace

TreeUsage usage_of_tree(pid_t pid) {
  static const bool lists_children =
      std::filesystem::exists(fmt::format("/proc/self/task/{}/children", ::getpid()));
  return lists_children ? sum_by_children(pid) : sum_by_parents(pid);
}

}  // namespace grader
