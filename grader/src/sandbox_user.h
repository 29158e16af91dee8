#pragma once

#include <sys/types.h>

#include <memory>

/// The unprivileged users that sandboxes run as when the grader is root.
namespace grader {

/// Group of all of them: Sandbox::grant() gives it rights. These numbers are nobody's on a usual system
/// (systemd's list calls 60706 to 61183 unused) and are below 65536, which rootless containers map.
inline constexpr gid_t kSandboxGroup = 60799;
inline constexpr uid_t kFirstSandboxUser = 60800;
inline constexpr int kSandboxUsers = 256;

/// A user that no other sandbox on this machine has now, ours or another grader's: a uid's processes count
/// together, and may signal each other.
class SandboxUser {
 public:
  /// Throws InfrastructureError when all are taken.
  SandboxUser();
  ~SandboxUser();
  SandboxUser(const SandboxUser&) = delete;
  SandboxUser& operator=(const SandboxUser&) = delete;

  uid_t uid() const { return uid_; }

 private:
  uid_t uid_ = 0;
  int lock_ = -1;
};

/// In a forked child of root: becomes `uid`, for good. False, with errno, when that is not possible.
/// Async-signal-safe.
bool become_user(uid_t uid);

/// Threads that RLIMIT_NPROC counts against a sandbox's although they are not in it: none, but for a normal
/// user's on kernels before 5.14, where the limit does not know user namespaces.
int threads_counted_outside();

/// All threads of processes with this user.
int threads_of_user(uid_t uid);

}  // namespace grader
