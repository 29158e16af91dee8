#pragma once

#include <sys/types.h>

#include "grader/process.h"

namespace grader {

/// A started command: its process id and the end of the pipe its output comes from (non-blocking).
struct Child {
  pid_t pid = -1;
  int output = -1;
};

/// Forks and executes. Throws InfrastructureError when the program cannot be started.
Child start_child(const Command& command);

/// Ends everything the child started: first its process group, then what left the group. `pid` may be a
/// zombie but must not have been waited for yet, so that its number still is its own.
void kill_group(pid_t pid);

/// Forgets the child, which has been waited for, and kills what it left behind outside its group: such
/// processes have become ours, because the grader is a subreaper.
void forget_child(pid_t pid);

}  // namespace grader
