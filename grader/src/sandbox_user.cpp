#include "sandbox_user.h"

#include <fmt/format.h>
#include <grp.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "grader/doctor.h"
#include "grader/error.h"

namespace grader {

namespace {

/// Binds a socket to a name that is no file: the name goes away with its owner, however that ends. -1 when
/// somebody else has it.
int bind_name(const std::string& name) {
  const int socket = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (socket < 0) throw InfrastructureError(fmt::format("cannot make a socket: {}", std::strerror(errno)));
  struct sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  name.copy(address.sun_path + 1, sizeof(address.sun_path) - 1);  // a leading 0 says that it is no file
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  if (::bind(socket, reinterpret_cast<const struct sockaddr*>(&address), size) == 0) return socket;
  ::close(socket);
  return -1;
}

}  // namespace

SandboxUser::SandboxUser() {
  for (int i = 0; i < kSandboxUsers && lock_ < 0; ++i) {
    uid_ = kFirstSandboxUser + static_cast<uid_t>(i);
    lock_ = bind_name(fmt::format("grader-sandbox-user-{}", uid_));
  }
  if (lock_ < 0) {
    throw InfrastructureError(fmt::format("all users {} to {} have a sandbox that runs", kFirstSandboxUser,
                                          kFirstSandboxUser + kSandboxUsers - 1));
  }
}

SandboxUser::~SandboxUser() {
  ::close(lock_);
}

bool become_user(uid_t uid) {
  // By number: the C library's functions change all threads, which after fork() are not there.
  return ::syscall(SYS_setgroups, 0, nullptr) == 0 &&
         ::syscall(SYS_setresgid, kSandboxGroup, kSandboxGroup, kSandboxGroup) == 0 &&
         ::syscall(SYS_setresuid, uid, uid, uid) == 0;
}

int threads_of_user(uid_t uid) {
  int n_threads = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    std::ifstream stream(entry.path() / "status");
    bool is_theirs = false;
    for (std::string line; std::getline(stream, line);) {
      if (line.starts_with("Uid:")) is_theirs = std::strtoul(line.c_str() + 4, nullptr, 10) == uid;
      if (line.starts_with("Threads:") && is_theirs) n_threads += std::atoi(line.c_str() + 8);
    }
  }
  return n_threads;
}

int threads_counted_outside() {
  struct utsname system = {};
  ::uname(&system);
  if (::geteuid() == 0 || at_least(system.release, {5, 14})) return 0;
  return threads_of_user(::getuid());
}

}  // namespace grader
