#include "grader/files.h"

#include <gtest/gtest.h>

#include "grader/error.h"

namespace {

TEST(Files, WritesWhatItReads) {
  const grader::ScratchFolder folder(std::filesystem::temp_directory_path());
  const std::filesystem::path file = folder.path() / "new" / "folder" / "file";
  grader::write_file(file, "one");
  grader::write_file(file, "two");
  EXPECT_EQ(grader::read_file(file), "two");
  // No temporary file is left beside it.
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(file.parent_path()), {}), 1);
}

TEST(Files, UnwritableFolderIsAnError) {
  EXPECT_THROW(grader::write_file("/proc/no_such_folder/file", "text"), grader::InfrastructureError);
}

TEST(Files, FolderInPlaceOfAFileIsAnError) {
  const grader::ScratchFolder folder(std::filesystem::temp_directory_path());
  EXPECT_THROW(grader::write_file(folder.path(), "text"), grader::InfrastructureError);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Files, MissingFileIsNamed) {
  try {
    grader::read_file("/no/such/file");
    FAIL();
  } catch (const grader::InfrastructureError& error) {
    EXPECT_STREQ(error.what(), "cannot read /no/such/file: No such file or directory");
  }
}

TEST(Files, ScratchFolderIsRemovedWithItsContents) {
  std::filesystem::path path;
  {
    const grader::ScratchFolder folder(std::filesystem::temp_directory_path());
    path = folder.path();
    grader::write_file(path / "a" / "b", "text");
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

}  // namespace
