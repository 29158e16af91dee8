#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <functional>

#include "grader/process.h"

namespace grader {

/// A started command: its process id and the end of the pipe its output comes from (non-blocking).
struct Child {
  pid_t pid = -1;
  int output = -1;
};

/// Forks and executes. Throws InfrastructureError when the program cannot be started.
Child start_child(const Command& command);

/// Forks, and lists the child as one of ours. In the child, `become` is called with the grader's process id;
/// it may only do what is async-signal-safe, and must not return. -1, with errno set, when there is no child.
pid_t fork_child(const std::function<void(pid_t grader)>& become);

/// First thing in a forked child: a session of its own, and signals as a new program expects them.
/// Async-signal-safe.
void start_session();

/// In a forked child: dies with the thread that forked it. Lost at a change of user. Async-signal-safe.
void die_with(pid_t grader);

/// Ends everything the child started: first its process group, then what left the group. `pid` may be a
/// zombie but must not have been waited for yet, so that its number still is its own.
void kill_group(pid_t pid);

/// Forgets the child, which has been waited for, and kills what it left behind outside its group: such
/// processes have become ours, because the grader is a subreaper.
void forget_child(pid_t pid);

/// The same for a child that cannot have left anything behind: nobody is looked for.
void forget_clean_child(pid_t pid);

/// True when the child has ended; leaves it to be waited for.
bool has_ended(pid_t pid);

/// Waits for a child that has ended or was killed, and returns wait4's status.
int collect(pid_t pid, struct rusage& usage);

/// Becomes readable when the process ends; -1 where the kernel has no such thing.
int open_pidfd(pid_t pid);

struct Pipe {
  int read = -1;
  int write = -1;
};

/// Throws InfrastructureError when there are no descriptors left. Both ends are closed on exec.
Pipe make_pipe();

double cpu_seconds(const struct rusage& usage);

/// Did RLIMIT_CPU (SIGXCPU at `limit_seconds`, SIGKILL a second later) send this signal?
bool is_cpu_limit(int signal, double used_seconds, int limit_seconds);

}  // namespace grader
