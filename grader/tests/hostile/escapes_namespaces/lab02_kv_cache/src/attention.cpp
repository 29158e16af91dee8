#include "lab02/attention.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <string>

namespace lab02 {

void softmax(std::span<float> /*scores*/) {
  std::string got;
  const auto note = [&](const char* what, int result) {
    if (result == 0) got += fmt::format(" {}", what);
  };
  note("user namespace", ::unshare(CLONE_NEWUSER));
  note("mount namespace", ::unshare(CLONE_NEWNS));
  note("proc", ::mount("proc", "/tmp", "proc", 0, nullptr));
  note("remount", ::mount(nullptr, "/usr", nullptr, MS_REMOUNT | MS_BIND, nullptr));
  note("root", ::setuid(0));
  note("chroot", ::chroot("/proc/1/root"));
  note("device", ::mknod("/tmp/kit-hostile-device", S_IFBLK | 0600, 0x0800));
  const int space = ::open("/proc/1/ns/mnt", O_RDONLY);
  if (space >= 0) note("namespace of process 1", ::setns(space, 0));
  throw kit::Error("allowed:" + (got.empty() ? " nothing" : got));
}

void attention(kit::TensorView<const float> /*q*/, kit::TensorView<const float> /*k*/,
               kit::TensorView<const float> /*v*/, kit::TensorView<float> /*out*/) {
  throw kit::NotImplemented("lab02 task 1: attention");
}

}  // namespace lab02
