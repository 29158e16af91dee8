#pragma once

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>

/// System calls that programs in a sandbox do not get (only for grader_sandbox_init).
namespace grader {

namespace filter {

#if defined(__x86_64__)
inline constexpr std::uint32_t kArchitecture = AUDIT_ARCH_X86_64;
inline constexpr std::uint32_t kForeignNumbers = 0x40000000;  ///< and above: the x32 ABI
#elif defined(__aarch64__)
inline constexpr std::uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
inline constexpr std::uint32_t kForeignNumbers = 0xffffffff;
#endif

/// Sockets (their buffers are nobody's memory, and some families, such as vsock, know no namespaces), other
/// memory that is in no process's resident set (memfd_create, shmget; message queues are refused by their
/// rlimit), namespaces (unshare, setns; clone is looked at below), and parts of the kernel that a numeric
/// program never needs and where holes were found.
inline constexpr std::array kRefused = {
    SYS_socket,          SYS_socketpair, SYS_memfd_create,   SYS_shmget,      SYS_msgget,     SYS_semget,
    SYS_unshare,         SYS_setns,      SYS_mount,          SYS_umount2,     SYS_pivot_root, SYS_bpf,
    SYS_add_key,         SYS_keyctl,     SYS_request_key,    SYS_userfaultfd, SYS_io_setup,   SYS_fsopen,
    SYS_perf_event_open, SYS_open_tree,  SYS_io_uring_setup,
#ifdef SYS_memfd_secret
    SYS_memfd_secret,
#endif
};

constexpr sock_filter statement(std::uint16_t code, std::uint32_t value) {
  return {code, 0, 0, value};
}
constexpr sock_filter jump_if(std::uint16_t test, std::uint32_t value, std::uint8_t yes, std::uint8_t no) {
  return {static_cast<std::uint16_t>(BPF_JMP | test | BPF_K), yes, no, value};
}
constexpr sock_filter load(std::size_t offset) {
  return statement(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset));
}
constexpr sock_filter answer(std::uint32_t value) {
  return statement(BPF_RET | BPF_K, value);
}
constexpr sock_filter refuse(std::uint32_t error) {
  return answer(SECCOMP_RET_ERRNO | error);
}

}  // namespace filter

/// Installs the filter on the calling process; needs no_new_privs. False, with errno, when it cannot. True
/// where the kernel has no filters (ENOSYS, EINVAL): they are a second wall, not the first.
inline bool refuse_system_calls() {
#if defined(__x86_64__) || defined(__aarch64__)
  using namespace filter;
  constexpr std::size_t kHead = 12;
  std::array<sock_filter, kHead + 1 + 2 * kRefused.size() + 1> program = {
      load(offsetof(seccomp_data, arch)),
      jump_if(BPF_JEQ, kArchitecture, 1, 0),
      answer(SECCOMP_RET_KILL_PROCESS),
      load(offsetof(seccomp_data, nr)),
      jump_if(BPF_JGE, kForeignNumbers, 0, 1),
      refuse(ENOSYS),
      // The flags of clone3 are in memory, which a filter cannot read; the C library falls back to clone.
      jump_if(BPF_JEQ, SYS_clone3, 0, 1),
      refuse(ENOSYS),
      jump_if(BPF_JEQ, SYS_clone, 0, 3),
      load(offsetof(seccomp_data, args)),
      jump_if(BPF_JSET, CLONE_NEWUSER, 0, 1),
      refuse(EPERM),
  };
  std::size_t n = kHead;
  program.at(n++) = load(offsetof(seccomp_data, nr));
  for (const long number : kRefused) {
    program.at(n++) = jump_if(BPF_JEQ, static_cast<std::uint32_t>(number), 0, 1);
    program.at(n++) = refuse(EPERM);
  }
  program.at(n++) = answer(SECCOMP_RET_ALLOW);
  const sock_fprog list = {static_cast<unsigned short>(n), program.data()};
  return ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &list) == 0 || errno == ENOSYS || errno == EINVAL;
#else
  return true;
#endif
}

}  // namespace grader
