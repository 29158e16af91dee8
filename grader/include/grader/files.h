#pragma once

#include <filesystem>
#include <string>
#include <string_view>

/// Files that are either written completely or not at all.
namespace grader {

/// The bytes of a file. Throws InfrastructureError naming it when it cannot be read.
std::string read_file(const std::filesystem::path& file);

/// Writes a neighbour of `file` and renames it, so that a full disk never leaves half a file. Makes the
/// folder. Throws InfrastructureError naming the file and what the system said.
void write_file(const std::filesystem::path& file, std::string_view text);

/// A folder of this run alone; removed at the end, with all that is in it.
class ScratchFolder {
 public:
  /// Makes <parent>/run-XXXXXX. Throws InfrastructureError when it cannot.
  explicit ScratchFolder(const std::filesystem::path& parent);
  ~ScratchFolder();
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace grader
