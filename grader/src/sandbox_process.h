#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cgroup.h"
#include "grader/sandbox.h"
#include "sandbox_stage.h"
#include "sandbox_user.h"

namespace grader {

/// All that is needed to start a sandbox, and what it holds while it runs.
struct SandboxLaunch {
  std::vector<std::string> argv;         ///< bwrap's, or the init's own; argv[0] is an absolute path
  std::vector<std::string> environment;  ///< NAME=VALUE
  bool bare = false;                     ///< no bwrap
  int descriptor = -1;                   ///< of the caller, for the program
  SandboxLimits limits;
  std::vector<StagedPath> staged;     ///< only with a user
  std::unique_ptr<SandboxUser> user;  ///< none: runs as the grader's own user
  std::unique_ptr<Cgroup> cgroup;     ///< none: resident memory is polled
  bool cgroup_limits_memory = false;
};

/// Starts it, with a thread that reads its output and enforces the limits until it has ended. Throws
/// InfrastructureError when the program does not get to run.
std::unique_ptr<SandboxProcess> start_sandbox(SandboxLaunch launch);

/// What the init said in the end.
struct SandboxStatus {
  bool started = false;
  bool ended = false;
  bool exited = false;  ///< else a signal ended it
  int number = 0;       ///< exit code or signal
  double cpu_seconds = 0.0;
  std::int64_t max_rss_bytes = 0;
  std::string failure;  ///< "program: No such file or directory"; empty when nothing failed
};

/// Reads the lines of sandbox_status.h. What does not have exactly their form says nothing.
SandboxStatus parse_status(const std::string& text);

}  // namespace grader
