#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "grader/progress.h"

/// Building targets of the tree, and saying whose fault it is when that fails.
namespace grader {

/// A folder that CMake has configured.
class BuildTree {
 public:
  /// Throws InfrastructureError, saying what to run, when `build_dir` is not configured.
  BuildTree(std::filesystem::path root, std::filesystem::path build_dir);

  const std::filesystem::path& root() const { return root_; }
  const std::filesystem::path& folder() const { return folder_; }
  /// Value of a variable in CMakeCache.txt, "" when there is none.
  std::string cache_value(const std::string& variable) const;
  bool has_sanitizers() const { return cache_value("KIT_SANITIZE") == "ON"; }

  struct Outcome {
    bool ok = false;
    std::string output;  ///< all that the compiler and the build tool said
  };
  /// Builds `targets`, as far as it can when one of them fails. Throws InfrastructureError when CMake is not
  /// there, and when the disk or the memory ran out meanwhile.
  Outcome build(const std::vector<std::string>& targets, Progress& progress) const;

 private:
  std::filesystem::path root_;
  std::filesystem::path folder_;
  std::string cache_;
};

/// The first `max_errors` errors of a failed build, one line each, paths relative to `root`; the end of the
/// output when no line looks like an error.
std::string first_errors(const std::string& output, const std::filesystem::path& root, int max_errors = 3);

/// Reads "[12/40] ..." at the start of a line of Ninja's output.
bool parse_ninja_status(std::string_view line, int& done, int& total);

}  // namespace grader
