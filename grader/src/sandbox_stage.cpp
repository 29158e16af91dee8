#include "sandbox_stage.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "grader/error.h"

namespace grader {

StagedPath staged_path(const std::filesystem::path& host, std::size_t number) {
  struct stat status = {};
  if (::stat(host.c_str(), &status) != 0)
    throw InfrastructureError(
        fmt::format("no {} to show in a sandbox: {}", host.string(), std::strerror(errno)));
  return {host.string(), fmt::format("{}/{}", kStage, number), S_ISDIR(status.st_mode)};
}

namespace {

bool bind(const StagedPath& path) {
  constexpr mode_t kFolderMode = 0755;
  if (path.is_folder) {
    if (::mkdir(path.place.c_str(), kFolderMode) != 0) return false;
  } else {
    const int file = ::open(path.place.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    if (file < 0) return false;
    ::close(file);
  }
  std::array<char, 64> source;
  std::snprintf(source.data(), source.size(), "/proc/self/fd/%d",
                path.descriptor);  // takes no lock for numbers
  return ::mount(source.data(), path.place.c_str(), nullptr, MS_BIND | MS_REC, nullptr) == 0;
}

}  // namespace

bool stage(std::vector<StagedPath>& paths) {
  if (::unshare(CLONE_NEWNS) != 0) return false;
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return false;
  // Opened here, since mounts of the grader's own namespace cannot be bound in this one, and before the stage
  // hides its folder.
  for (StagedPath& path : paths) {
    path.descriptor = ::open(path.host.c_str(), O_PATH | O_CLOEXEC);
    if (path.descriptor < 0) return false;
  }
  if (::mount("tmpfs", kStage, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=0755") != 0) return false;
  for (const StagedPath& path : paths) {
    if (!bind(path)) return false;
  }
  return true;
}

}  // namespace grader
