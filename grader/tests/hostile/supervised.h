#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

/// Running the grader as an instructor would, and looking at what it leaves behind.
namespace hostile {

struct Outcome {
  int exit_code = -1;  ///< 128 + the signal when a signal ended it
  double seconds = 0.0;
  std::string output;                  ///< stdout and stderr
  std::vector<std::string> survivors;  ///< command lines of processes that outlived it
  std::vector<std::string> cgroups;    ///< control groups of it that are still there
};

/// Makes this process the one that inherits orphans. Call it once, before run().
void adopt_orphans();

/// Runs a program with `environment` added to ours, to its end or for `max_seconds`; then kills what it left
/// behind.
Outcome run(const std::vector<std::string>& argv, const std::map<std::string, std::string>& environment,
            double max_seconds);

/// A folder to watch. Where everybody writes, its own entries are enough.
struct Watched {
  std::filesystem::path folder;
  bool is_recursive = true;
};
/// Paths below `folders` with the size and time of change of files.
using Snapshot = std::map<std::string, std::string>;
Snapshot snapshot(const std::vector<Watched>& folders);
/// What is new or changed: "new: /tmp/x".
std::vector<std::string> differences(const Snapshot& before, const Snapshot& after);

}  // namespace hostile
