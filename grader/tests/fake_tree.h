#pragma once

#include <filesystem>
#include <string>

#include "grader/files.h"

namespace grader_tests {

/// Writes an executable file.
void write_script(const std::filesystem::path& file, const std::string& text);

/// A tree with one lab, lab01_fake, whose "test binary" is a shell script: each of its tests behaves as its
/// name says (Good.*, Bad.Fails, Bad.Stub, Bad.Exits, Bad.Crashes, Bad.Sleeps, Bad.Skips, Bad.Missing,
/// Fast.Enough). Its build folder satisfies `cmake --build`.
class FakeTree {
 public:
  FakeTree();

  const std::filesystem::path& root() const { return folder_.path(); }
  std::filesystem::path build_dir() const { return root() / "build"; }

  /// Adds a task of 10 points decided by `tests`, written as a TOML list.
  void add_task(const std::string& id, const std::string& tests);
  /// Adds the milestone Fast.Enough of 5 points.
  void add_milestone();
  /// What building `target` does: a shell command.
  void set_build_command(const std::string& target, const std::string& command);

 private:
  void write_rubric() const;

  grader::ScratchFolder folder_{std::filesystem::temp_directory_path()};
  std::string rubric_;
  std::string ninja_;
  int n_tasks_ = 0;
};

}  // namespace grader_tests
