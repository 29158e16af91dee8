#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "grader/build.h"
#include "grader/rubric.h"

namespace grader {

/// One file of the submission and the command that compiles it.
struct CompileStep {
  std::string file;               ///< "src/copy.cu"
  std::vector<std::string> argv;  ///< without its output and dependency files; ends in -c <source>
  std::filesystem::path source;   ///< absolute: the file, or the wrapper that includes it
  bool is_wrapper = false;
  std::filesystem::path object;  ///< absolute, in the build folder
};

/// What builds <lab>_worker_student from the submission's files and the kit's finished parts.
struct WorkerPlan {
  std::string lab;
  std::string folder;  ///< "lab02_kv_cache"
  std::vector<CompileStep> compiles;
  std::vector<std::string> link;                ///< without its output
  std::vector<std::filesystem::path> inputs;    ///< of the link, that are not the submission's; absolute
  std::vector<std::filesystem::path> includes;  ///< folders that the compile commands name; absolute
};

/// Reads the plan out of Ninja. Throws InfrastructureError when the build folder has no such target, or
/// nothing in it that compiles the lab's src/.
WorkerPlan plan_worker(const BuildTree& tree, const Rubric& lab);

/// Splits a command line as the shell would: blanks, quotes, backslashes.
std::vector<std::string> split_command(const std::string& line);

/// True when `path` is `folder` or in it. Both absolute.
bool is_inside(const std::filesystem::path& path, const std::filesystem::path& folder);

}  // namespace grader
