#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "grader/build.h"
#include "grader/sandbox.h"
#include "record_build_plan.h"

namespace grader {

/// The folder that commands write to, inside.
inline constexpr const char* kOutInside = "/compiled";

/// What a compiler in a sandbox sees of the tree and the build folder: copies of the headers and libraries
/// that the commands name, and the submission's src/, all at their usual paths. Without a sandbox the same
/// copies are used where they are, and every path in a command is rewritten.
class CompileView {
 public:
  /// Copies everything for `plans` into a folder of `scratch`, and grants `scratch`. Throws
  /// InfrastructureError when something is missing, and when a command would show tests or solutions.
  CompileView(const BuildTree& tree, const std::vector<WorkerPlan>& plans,
              const std::filesystem::path& staging, const std::filesystem::path& scratch,
              const Sandbox& sandbox);

  bool is_locked_in() const { return sandbox_.protection() != Protection::kNone; }
  /// Runs `argv` in the build folder; kOutInside in it is `out`, a writable folder.
  SandboxResult run(const std::vector<std::string>& argv, const std::filesystem::path& out,
                    const SandboxLimits& limits) const;
  /// The same with the pristine stubs in place of the submission.
  SandboxResult run_on_stubs(const std::vector<std::string>& argv, const std::filesystem::path& out,
                             const SandboxLimits& limits) const;
  /// A new folder for run().
  std::filesystem::path make_out(const std::string& name) const;
  /// Moves a finished file from an out folder to where later commands look for `path`. False when it is no
  /// regular file.
  bool keep(const std::filesystem::path& made, const std::filesystem::path& path) const;
  /// What a compiler said, with no path in it but those from the top of the tree.
  std::string words_of(const SandboxResult& result) const;

 private:
  void copy_include(const std::filesystem::path& folder);
  void copy_file(const std::filesystem::path& file);
  void copy_sources(const WorkerPlan& plan, const std::filesystem::path& staging);
  void add_mount(const std::filesystem::path& path);
  bool is_ours(const std::filesystem::path& path) const;
  std::filesystem::path copy_of(const std::filesystem::path& path) const;
  SandboxResult run_with(const std::vector<std::string>& argv, std::vector<Mount> mounts,
                         const std::filesystem::path& out, const SandboxLimits& limits) const;

  const BuildTree& tree_;
  const Sandbox& sandbox_;
  std::filesystem::path folder_;  // of the copies
  std::filesystem::path outputs_;
  std::vector<Mount> mounts_;
  std::vector<Mount> stubs_;
};

/// `text` with what `mounts` show inside replaced by where it is on the host, in one pass.
std::string rewrite_paths(const std::string& text, const std::vector<Mount>& mounts);

}  // namespace grader
