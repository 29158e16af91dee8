#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

/// Control groups: limits on all processes of a sandbox together, where this machine lets us set them.
namespace grader {

/// Folders below which groups can be made; empty: that controller cannot be used.
struct CgroupParents {
  std::filesystem::path memory;
  std::filesystem::path pids;
  bool unified = false;  ///< version 2: both are the same folder

  bool has_memory() const { return !memory.empty(); }
  bool has_pids() const { return !pids.empty(); }
};

/// Looks for controllers that are writable: makes a group, moves a child of ours into it, and removes it.
/// Also removes the empty groups that killed graders left.
CgroupParents find_cgroups();

/// The parents as the texts of /proc/self/mountinfo and /proc/self/cgroup tell them, untried, best first.
std::vector<CgroupParents> cgroup_candidates(const std::string& mountinfo, const std::string& cgroup);

/// The group of one sandbox, removed in the end.
class Cgroup {
 public:
  /// Makes the group with its limits. Throws InfrastructureError when it cannot.
  Cgroup(const CgroupParents& parents, std::int64_t memory_bytes, int processes);
  ~Cgroup();
  Cgroup(const Cgroup&) = delete;
  Cgroup& operator=(const Cgroup&) = delete;

  /// To which a forked child writes "0" to enter; closed on exec.
  const std::vector<int>& entrances() const { return entrances_; }
  /// True when the kernel killed a process inside because the memory was used up.
  bool ran_out_of_memory() const;
  /// The most that was used at a time, without controller nothing.
  std::optional<std::int64_t> peak_memory_bytes() const;

 private:
  void make(const std::filesystem::path& folder);
  void remove();

  bool unified_;
  std::vector<std::filesystem::path> folders_;
  std::vector<int> entrances_;
  std::filesystem::path memory_;  ///< our folder of that controller
};

}  // namespace grader
