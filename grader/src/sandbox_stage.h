#pragma once

#include <filesystem>
#include <string>
#include <vector>

/// How a sandbox of another user gets at files below folders that are closed to that user, such as root's
/// home or a scratch folder: root binds them to places in a mount namespace of the sandbox's own, before it
/// becomes that user.
namespace grader {

/// The folder of those places, which is always there; what is in it on the host is hidden from bwrap.
inline constexpr const char* kStage = "/tmp";
/// How the init's protocol names a failure of stage().
inline constexpr const char* kStagingFailed = "staging";

/// A file or folder of the host, with the place that it will have.
struct StagedPath {
  std::string host;
  std::string place;
  bool is_folder = false;
  int descriptor = -1;  ///< of the child
};

/// The place number `number`. Throws InfrastructureError when `host` is not there.
StagedPath staged_path(const std::filesystem::path& host, std::size_t number);

/// In a forked child of root: makes the places. False, with errno, when root may not mount here.
/// Async-signal-safe.
bool stage(std::vector<StagedPath>& paths);

}  // namespace grader
