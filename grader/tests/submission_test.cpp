#include "grader/submission.h"

// Longer than other tests: one for each way to hand in, honest or not, on one fixture.

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>

#include "archives.h"
#include "grader/error.h"
#include "grader/files.h"

namespace {

namespace fs = std::filesystem;
using grader_tests::ArchiveFile;
using grader_tests::ArchiveFormat;

/// Without fsync, which hundreds of archives would wait for.
void write(const fs::path& file, const std::string& bytes) {
  fs::create_directories(file.parent_path());
  std::ofstream(file, std::ios::binary) << bytes;
}

/// A pristine tree of two labs, a place for submissions and a staging folder, all in one folder.
class SubmissionTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* file : {"lab01_one/src/one.cpp", "lab01_one/src/both.cpp", "lab02_two/src/two.cpp",
                             "lab02_two/src/both.cpp", "lab02_two/src/kernel.cu"}) {
      write(root() / file, std::string("stub of ") + file);
    }
    write(top() / "secret", "CANARY");
    labs_.resize(2);
    labs_[0].id = "lab01";
    labs_[0].folder = "lab01_one";
    labs_[1].id = "lab02";
    labs_[1].folder = "lab02_two";
  }

  const fs::path& top() const { return folder_.path(); }
  fs::path root() const { return top() / "tree"; }
  fs::path staging() const { return top() / "staging"; }

  /// Everything outside the staging folder: kind, and contents of files.
  std::map<std::string, std::string> surroundings() const {
    std::map<std::string, std::string> found;
    for (auto at = fs::recursive_directory_iterator(top()); at != fs::recursive_directory_iterator(); ++at) {
      if (at->path() == staging()) {
        at.disable_recursion_pending();
        continue;
      }
      const fs::file_type type = at->symlink_status().type();
      found[at->path().string()] = type == fs::file_type::regular ? grader::read_file(at->path())
                                                                  : std::to_string(static_cast<int>(type));
    }
    return found;
  }

  /// Stages `path`, and checks what must hold for every submission.
  grader::Submission stage(const fs::path& path, const grader::SubmissionLimits& limits = {}) {
    const auto before = surroundings();
    grader::Submission result = grader::stage_submission(path, root(), labs_, staging(), limits);
    EXPECT_EQ(surroundings(), before) << "something was written outside the staging folder";
    expect_exactly_the_allowed_files();
    EXPECT_LE(result.refusals.size(), 201U);
    for (const grader::Refusal& refusal : result.refusals) {
      EXPECT_EQ(refusal.path.find_first_of("\n\r\x1b"), std::string::npos);
      EXPECT_LE(refusal.path.size(), 210U);
      EXPECT_EQ(refusal.reason.find("CANARY"), std::string::npos);
    }
    return result;
  }

  void expect_exactly_the_allowed_files() const {
    std::vector<std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(staging())) {
      if (entry.is_directory()) continue;
      EXPECT_TRUE(entry.symlink_status().type() == fs::file_type::regular) << entry.path();
      EXPECT_EQ(grader::read_file(entry.path()).find("CANARY"), std::string::npos) << entry.path();
      files.push_back(fs::relative(entry.path(), staging()).string());
    }
    std::sort(files.begin(), files.end());
    EXPECT_EQ(files, (std::vector<std::string>{"lab01_one/src/both.cpp", "lab01_one/src/one.cpp",
                                               "lab02_two/src/both.cpp", "lab02_two/src/kernel.cu",
                                               "lab02_two/src/two.cpp"}));
  }

  grader::Submission stage_bytes(const std::string& bytes, const grader::SubmissionLimits& limits = {}) {
    write(top() / "handed_in", bytes);  // the name says nothing about the format
    return stage(top() / "handed_in", limits);
  }

  grader::Submission stage_files(ArchiveFormat format, const std::vector<ArchiveFile>& files) {
    return stage_bytes(grader_tests::make_archive(format, files));
  }

  std::string staged(const std::string& file) const { return grader::read_file(staging() / file); }

  /// All stubs, and why.
  void expect_nothing_taken(const grader::Submission& result, const std::string& reason) const {
    for (const grader::SubmittedLab& lab : result.labs) EXPECT_TRUE(lab.files.empty()) << lab.lab;
    EXPECT_EQ(staged("lab02_two/src/two.cpp"), "stub of lab02_two/src/two.cpp");
    EXPECT_TRUE(has_reason(result, reason)) << reason << ", but:\n" << describe(result);
  }

  static bool has_reason(const grader::Submission& result, const std::string& reason) {
    return std::any_of(result.refusals.begin(), result.refusals.end(), [&](const grader::Refusal& refusal) {
      return refusal.reason.find(reason) != std::string::npos;
    });
  }

  static std::string reason_of(const grader::Submission& result, const std::string& path) {
    for (const grader::Refusal& refusal : result.refusals) {
      if (refusal.path == path) return refusal.reason;
    }
    return "";
  }

  static std::string describe(const grader::Submission& result) {
    std::string text;
    for (const grader::Refusal& refusal : result.refusals)
      text += refusal.path + ": " + refusal.reason + "\n";
    return text;
  }

  std::vector<grader::Rubric> labs_;

 private:
  grader::ScratchFolder folder_{fs::temp_directory_path()};
};

using Names = std::vector<std::string>;

// ---- What honest students hand in ------------------------------------------------------------------------

class HonestLayout : public SubmissionTest, public testing::WithParamInterface<std::string> {
 protected:
  /// `prefix` before the path that a checkout has.
  static std::vector<ArchiveFile> files() {
    const std::string prefix = GetParam();
    return {{prefix + "lab01_one/src/one.cpp", "int one();\r\n"},
            {prefix + "lab02_two/src/two.cpp", "int two();"},
            {prefix + "lab02_two/src/both.cpp", "int both();"},
            {prefix + "lab02_two/CMakeLists.txt", "execute_process()"},
            {prefix + "README.md", "hello"}};
  }

  void check(const grader::Submission& result) const {
    ASSERT_EQ(result.labs.size(), 2U);
    EXPECT_EQ(result.labs[0].lab, "lab01");
    EXPECT_EQ(result.labs[0].files, Names{"one.cpp"}) << describe(result);
    EXPECT_EQ(result.labs[0].missing, Names{"both.cpp"});
    EXPECT_EQ(result.labs[1].files, (Names{"both.cpp", "two.cpp"})) << describe(result);
    EXPECT_EQ(result.labs[1].missing, Names{"kernel.cu"});
    EXPECT_EQ(staged("lab01_one/src/one.cpp"), "int one();\r\n");
    EXPECT_EQ(staged("lab02_two/src/both.cpp"), "int both();");
    EXPECT_EQ(staged("lab01_one/src/both.cpp"), "stub of lab01_one/src/both.cpp");
    EXPECT_EQ(result.refusals.size(), 2U) << describe(result);  // CMakeLists.txt, README.md
  }
};

TEST_P(HonestLayout, IsUnderstoodAsFolder) {
  for (const ArchiveFile& file : files()) write(top() / "alice" / file.path, file.text);
  const grader::Submission result = stage(top() / "alice" / "");
  check(result);
  EXPECT_EQ(result.name, "alice");
}

TEST_P(HonestLayout, IsUnderstoodAsArchive) {
  for (const ArchiveFormat format : {ArchiveFormat::kZip, ArchiveFormat::kTar, ArchiveFormat::kTarGz}) {
    check(stage_files(format, files()));
  }
}

INSTANTIATE_TEST_SUITE_P(Checkouts, HonestLayout,
                         testing::Values("", "./", "labs-main/", "home/alice/my labs/", "\u5B66\u751F/",
                                         // The same name as a Chinese Windows and as a Taiwanese one zips it;
                                         // the second holds a backslash as half of a character.
                                         "\xD1\xA7\xC9\xFA/", "\xB3\x5C/"));

TEST_F(SubmissionTest, OneLabAloneMayLeaveItsFolderOut) {
  labs_.erase(labs_.begin());
  for (const char* prefix : {"lab02_two/src/", "lab02_two/", "src/", "", "alice/src/", "alice/hw2/"}) {
    fs::remove_all(staging());
    write(top() / "handed_in",
          grader_tests::make_archive(ArchiveFormat::kZip, {{std::string(prefix) + "two.cpp", "2"},
                                                           {std::string(prefix) + "both.cpp", "b"},
                                                           {std::string(prefix) + "kernel.cu", ""}}));
    const grader::Submission result = grader::stage_submission(top() / "handed_in", root(), labs_, staging());
    ASSERT_EQ(result.labs.size(), 1U);
    EXPECT_EQ(result.labs[0].files, (Names{"both.cpp", "kernel.cu", "two.cpp"}))
        << prefix << describe(result);
    EXPECT_EQ(staged("lab02_two/src/both.cpp"), "b");
  }
}

TEST_F(SubmissionTest, FlatFilesGoToTheOnlyLabThatHasTheName) {
  const grader::Submission result =
      stage_files(ArchiveFormat::kZip, {{"two.cpp", "2"}, {"one.cpp", "1"}, {"both.cpp", "b"}});
  EXPECT_EQ(staged("lab02_two/src/two.cpp"), "2");
  EXPECT_EQ(staged("lab01_one/src/one.cpp"), "1");
  EXPECT_NE(reason_of(result, "both.cpp"), "");  // either lab's
  EXPECT_EQ(result.refusals.size(), 1U) << describe(result);
}

TEST_F(SubmissionTest, SameNamesElsewhereInACheckoutAreNotTaken) {
  const grader::Submission result =
      stage_files(ArchiveFormat::kTarGz, {{"x/solutions/lab02_two/two.cpp", "no"},
                                          {"x/lab02_two/tests/two.cpp", "no"},
                                          {"x/lab02_two/src/deeper/two.cpp", "no"},
                                          {"x/common/src/two.cpp", "no"},
                                          {"x/lab02_two/src/new.cpp", "no"},
                                          {"x/lab03_three/src/two.cpp", "no"},
                                          {"x/lab02_two/src/Two.cpp", "no"},
                                          {"x/lab02_two/src/two.cpp ", "no"},
                                          {"x/lab02_two/src/two.cpp", "yes"}});
  EXPECT_EQ(staged("lab02_two/src/two.cpp"), "yes");
  EXPECT_EQ(result.refusals.size(), 8U) << describe(result);
}

TEST_F(SubmissionTest, WhatToolsLeaveBehindIsPassedOver) {
  const std::vector<ArchiveFile> files = {{"__MACOSX/lab02_two/src/._two.cpp", "mac"},
                                          {"__MACOSX/lab02_two/src/two.cpp", "mac"},
                                          {".DS_Store", "mac"},
                                          {"lab02_two/src/.DS_Store", "mac"},
                                          {".git/objects/two.cpp", "git"},
                                          {"lab02_two/src/two.cpp", "2"}};
  const grader::Submission result = stage_files(ArchiveFormat::kZip, files);
  EXPECT_EQ(staged("lab02_two/src/two.cpp"), "2");
  EXPECT_TRUE(result.refusals.empty()) << describe(result);
  for (const ArchiveFile& file : files) write(top() / "bob" / file.path, file.text);
  for (int i = 0; i < 100; ++i) write(top() / "bob/build" / std::to_string(i), "x");
  grader::SubmissionLimits limits;
  limits.entries = 20;  // the build folder's files do not count
  const grader::Submission folder = stage(top() / "bob", limits);
  EXPECT_EQ(folder.labs[1].files, Names{"two.cpp"});
  EXPECT_EQ(reason_of(folder, "build"), "a build folder") << describe(folder);
}

TEST_F(SubmissionTest, WindowsZipsHaveBackslashes) {
  const grader::Submission result =
      stage_bytes(grader_tests::raw_zip({{.path = "lab02_two\\src\\two.cpp", .data = "2", .dos = true}}));
  EXPECT_EQ(result.labs[1].files, Names{"two.cpp"}) << describe(result);
}

TEST_F(SubmissionTest, FoldersMayBeNamedInAnyScript) {
  // Marked as UTF-8, as zips of today are; and as pax writes long or foreign names.
  const std::string path = "\u5B66\u751F/lab02_two/src/two.cpp";
  const std::string record = " path=" + path + "\n";
  const std::string attributes = std::to_string(record.size() + 2) + record;
  for (const std::string& archive : {grader_tests::raw_zip({{.path = path, .data = "2", .flags = 0x800}}),
                                     grader_tests::raw_tar({{.path = "h", .data = attributes, .type = 'x'},
                                                            {.path = "short", .data = "2"}})}) {
    const grader::Submission result = stage_bytes(archive);
    EXPECT_EQ(result.labs[1].files, Names{"two.cpp"}) << describe(result);
  }
  // Marked as UTF-8, but it is not: nothing that a report cannot show.
  const grader::Submission broken =
      stage_bytes(grader_tests::raw_zip({{.path = "\xD1\xA7/x.cpp", .data = "2", .flags = 0x800}}));
  expect_nothing_taken(broken, "not one of the src/ files");
}

TEST_F(SubmissionTest, MissingIsTheStub) {
  const grader::Submission result = stage_files(ArchiveFormat::kZip, {});
  expect_nothing_taken(result, "has no file of a lab");
  EXPECT_EQ(result.labs[1].missing, (Names{"both.cpp", "kernel.cu", "two.cpp"}));
  expect_nothing_taken(stage_files(ArchiveFormat::kTarGz, {}), "has no file of a lab");
  fs::create_directory(top() / "empty");
  expect_nothing_taken(stage(top() / "empty"), "has no file of a lab");
}

TEST_F(SubmissionTest, OnlyFoldersZipsAndTarsAreSubmissions) {
  const std::vector<std::string> others = {"",
                                           "int main() {}",
                                           std::string(4096, 'x'),
                                           "Rar!\x1a\x07",
                                           "7z\xBC\xAF\x27\x1C",
                                           "\x89PNG\r\n",
                                           grader_tests::gzip("not a tar"),
                                           "#!/bin/sh\n",
                                           "!<arch>\n"};
  for (const std::string& bytes : others) {
    EXPECT_THROW(stage_bytes(bytes), grader::UsageError) << bytes.substr(0, 10);
  }
  EXPECT_THROW(stage(top() / "no_such"), grader::UsageError);
  ASSERT_EQ(::mkfifo((top() / "pipe").c_str(), 0600), 0);
  EXPECT_THROW(grader::stage_submission(top() / "pipe", root(), labs_, staging()), grader::UsageError);
  EXPECT_THROW(grader::stage_submission("/dev/zero", root(), labs_, staging()), grader::UsageError);
}

// ---- Paths -----------------------------------------------------------------------------------------------

TEST_F(SubmissionTest, PathsThatLeaveTheArchiveAreRefused) {
  const std::map<std::string, std::string> hostile = {
      {"../secret", "'..'"},
      {"lab02_two/src/../../../secret", "'..'"},
      {"x/../lab02_two/src/kernel.cu", "'..'"},
      {"/etc/cron.d/evil", "absolute"},
      {"//lab02_two/src/kernel.cu", "absolute"},
      {root().string() + "/lab02_two/src/kernel.cu", "absolute"},
      {"C:/lab02_two/src/kernel.cu", "absolute"},
      {"c:evil.cpp", "absolute"},
      {"..\\..\\secret", ""},  // in a zip libarchive reads it as ../../secret
      {"x/lab02_two\\src\\kernel.cu", "backslash"},
      {"lab02_two/src/ker\nnel.cu", "control"},
      {"lab02_two/src/kernel.cu\r", "control"},
      {"\x1b[31mlab02_two/src/kernel.cu", "control"},
      {std::string(2000, 'a') + "/lab02_two/src/kernel.cu", "a name of more than 1024 bytes"},
  };
  for (const auto& [path, reason] : hostile) {
    std::vector<std::string> archives = {grader_tests::raw_zip(
        {{.path = path, .data = "evil"}, {.path = "lab02_two/src/two.cpp", .data = "2"}})};
    if (path.size() <= 100) {
      archives.push_back(grader_tests::raw_tar({{path, "evil"}, {"lab02_two/src/two.cpp", "2"}}));
      archives.push_back(grader_tests::gzip(archives.back()));
    }
    for (const std::string& archive : archives) {
      const grader::Submission result = stage_bytes(archive);
      EXPECT_TRUE(has_reason(result, reason)) << path << "\n" << describe(result);
      // One bad entry does not cost the good one.
      EXPECT_EQ(result.labs[1].files, Names{"two.cpp"}) << path;
      EXPECT_EQ(staged("lab02_two/src/kernel.cu"), "stub of lab02_two/src/kernel.cu") << path;
    }
  }
}

TEST_F(SubmissionTest, TwoEntriesForOneFileAreBothRefused) {
  const std::vector<std::vector<ArchiveFile>> doubles = {
      {{"lab02_two/src/two.cpp", "a"}, {"lab02_two/src/two.cpp", "b"}},
      {{"lab02_two/src/two.cpp", "a"}, {"./lab02_two//src/./two.cpp", "b"}},
      {{"v1/lab02_two/src/two.cpp", "a"}, {"v2/lab02_two/src/two.cpp", "b"}},
      {{"lab02_two/src/two.cpp", "a"}, {"two.cpp", "b"}},
      {{"lab02_two/src/two.cpp", "a"}, {"lab02_two/src/two.cpp/", ""}},
  };
  for (const auto& files : doubles) {
    const grader::Submission result = stage_files(ArchiveFormat::kTar, files);
    expect_nothing_taken(result, "one of 2 entries for one file");
    EXPECT_EQ(result.refusals.size(), 3U) << describe(result);  // and that nothing is left
  }
}

TEST_F(SubmissionTest, TextInNamesCannotReorderTheReport) {
  const grader::Submission result = stage_files(ArchiveFormat::kTar, {{"\u202Egpj.cpp", "x"}});
  EXPECT_EQ(result.refusals.at(1).path, "\uFFFDgpj.cpp") << describe(result);
}

// ---- Kinds -----------------------------------------------------------------------------------------------

TEST_F(SubmissionTest, LinksAndDevicesInATarAreRefused) {
  const std::string secret = (top() / "secret").string();
  const std::map<char, std::string> types = {{'1', "a hard link"}, {'2', "a symbolic link"},
                                             {'3', "no regular"},  {'4', "no regular file"},
                                             {'5', "a folder"},    {'6', "no regular"}};
  for (const auto& [type, reason] : types) {
    const grader::Submission result = stage_bytes(grader_tests::raw_tar(
        {{"lab02_two/src/kernel.cu", "", type, secret}, {"lab02_two/src/two.cpp", "2"}}));
    EXPECT_NE(reason_of(result, "lab02_two/src/kernel.cu").find(reason), std::string::npos)
        << describe(result);
    EXPECT_EQ(result.labs[1].files, Names{"two.cpp"}) << type;
  }
}

TEST_F(SubmissionTest, AFileBehindALinkedFolderStaysInStaging) {
  fs::create_directory(top() / "outside");
  const grader::Submission result = stage_bytes(grader_tests::raw_tar(
      {{"lab02_two/src", "", '2', (top() / "outside").string()}, {"lab02_two/src/two.cpp", "2"}}));
  EXPECT_EQ(reason_of(result, "lab02_two/src"), "a symbolic link");
  EXPECT_TRUE(fs::is_empty(top() / "outside"));
}

TEST_F(SubmissionTest, LinksInAZipAreRefused) {
  const grader::Submission result = stage_bytes(grader_tests::raw_zip(
      {{.path = "lab02_two/src/two.cpp", .data = "/etc/passwd", .unix_mode = 0120777}}));
  expect_nothing_taken(result, "a symbolic link");
}

TEST_F(SubmissionTest, FoldersAreReadWithoutFollowingOrBlocking) {
  const fs::path src = top() / "eve" / "lab02_two" / "src";
  write(src / "both.cpp", "both");
  fs::create_symlink(top() / "secret", src / "two.cpp");
  ASSERT_EQ(::mkfifo((src / "kernel.cu").c_str(), 0600), 0);
  fs::create_directory_symlink(top() / "eve", top() / "eve" / "loop");
  fs::create_directories(top() / "eve" / "lab01_one" / "src");
  fs::create_hard_link(top() / "secret", top() / "eve/lab01_one/src/one.cpp");
  fs::create_directory(top() / "eve/lab01_one/src/both.cpp");
  const grader::Submission result = stage(top() / "eve");
  EXPECT_EQ(result.labs[0].files, Names{});
  EXPECT_EQ(result.labs[1].files, Names{"both.cpp"});
  EXPECT_EQ(reason_of(result, "lab02_two/src/two.cpp"), "a symbolic link");
  EXPECT_EQ(reason_of(result, "lab02_two/src/kernel.cu"), "no regular file");
  EXPECT_EQ(reason_of(result, "loop"), "a symbolic link");
  EXPECT_EQ(reason_of(result, "lab01_one/src/one.cpp"), "a hard link");
  EXPECT_EQ(reason_of(result, "lab01_one/src/both.cpp"), "a folder");
}

TEST_F(SubmissionTest, LinkedFoldersAreNotEntered) {
  write(top() / "elsewhere" / "src" / "two.cpp", "CANARY");
  fs::create_directory(top() / "eve");
  fs::create_directory_symlink(top() / "elsewhere", top() / "eve" / "lab02_two");
  expect_nothing_taken(stage(top() / "eve"), "a symbolic link");
}

TEST_F(SubmissionTest, SocketsAndDevicesInAFolderAreRefused) {
  const fs::path src = top() / "s" / "src";
  fs::create_directories(src);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  (src / "two.cpp").string().copy(address.sun_path, sizeof(address.sun_path) - 1);
  const int descriptor = ::socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_EQ(::bind(descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  ::close(descriptor);
  // Needs privileges; without them there is one entry less to refuse.
  const bool has_device = ::mknod((src / "kernel.cu").c_str(), S_IFCHR | 0666, (1 << 8) | 5) == 0;
  const grader::Submission result = stage(top() / "s");
  expect_nothing_taken(result, "no regular file");
  EXPECT_EQ(reason_of(result, "src/kernel.cu"), has_device ? "no regular file" : "");
}

TEST_F(SubmissionTest, OnlyTextIsTaken) {
  const grader::Submission result =
      stage_files(ArchiveFormat::kZip,
                  {{"lab02_two/src/two.cpp", std::string("\x7f"
                                                         "ELF\0\0",
                                                         6)},
                   {"lab02_two/src/both.cpp", "// \xD6\xD0\xCE\xC4 \xFF"}});  // GBK in a comment is text
  EXPECT_EQ(reason_of(result, "lab02_two/src/two.cpp"), "no text: it holds NUL bytes");
  EXPECT_EQ(staged("lab02_two/src/both.cpp"), "// \xD6\xD0\xCE\xC4 \xFF");
}

TEST_F(SubmissionTest, AnArchiveInAnArchiveIsAFileLikeAnother) {
  const std::string inner = grader_tests::make_archive(ArchiveFormat::kZip, {{"lab02_two/src/two.cpp", "2"}});
  const grader::Submission result =
      stage_files(ArchiveFormat::kZip, {{"inner.zip", inner}, {"lab02_two/src/kernel.cu", inner}});
  expect_nothing_taken(result, "no text");
}

// ---- Sizes -----------------------------------------------------------------------------------------------

TEST_F(SubmissionTest, LargeFilesAreRefused) {
  const std::string allowed((std::size_t{1} << 20), 'x');
  for (const ArchiveFormat format : {ArchiveFormat::kZip, ArchiveFormat::kTarGz}) {
    const grader::Submission result =
        stage_files(format, {{"lab02_two/src/kernel.cu", allowed + "x"}, {"lab02_two/src/two.cpp", allowed}});
    EXPECT_EQ(reason_of(result, "lab02_two/src/kernel.cu"), "larger than 1 MiB");
    EXPECT_EQ(staged("lab02_two/src/two.cpp"), allowed);
  }
  write(top() / "f" / "src" / "two.cpp", allowed + "x");
  expect_nothing_taken(stage(top() / "f"), "larger than 1 MiB");
}

TEST_F(SubmissionTest, TooMuchAltogetherIsRefusedAltogether) {
  grader::SubmissionLimits limits;
  limits.total_bytes = 10;
  const std::vector<ArchiveFile> files = {{"lab01_one/src/one.cpp", "123456"},
                                          {"lab02_two/src/two.cpp", "123456"}};
  expect_nothing_taken(stage_bytes(grader_tests::make_archive(ArchiveFormat::kZip, files), limits),
                       "more than 10 bytes of source");
  limits = {};
  limits.archive_bytes = 100;
  expect_nothing_taken(stage_bytes(grader_tests::make_archive(ArchiveFormat::kZip, files), limits),
                       "larger than 100 bytes");
}

TEST_F(SubmissionTest, TooManyEntriesAreRefusedAltogether) {
  std::vector<ArchiveFile> files = {{"lab02_two/src/two.cpp", "2"}};
  for (int i = 0; i < 1999; ++i) files.push_back({"f/" + std::to_string(i), ""});
  const grader::Submission allowed = stage_files(ArchiveFormat::kTarGz, files);
  EXPECT_EQ(allowed.labs[1].files, Names{"two.cpp"});
  EXPECT_EQ(allowed.refusals.size(), 21U);
  EXPECT_EQ(allowed.refusals.back().reason, "and 1979 more that were not taken");
  files.push_back({"one more", ""});
  expect_nothing_taken(stage_files(ArchiveFormat::kTarGz, files), "more than 2000 entries");
  expect_nothing_taken(stage_files(ArchiveFormat::kZip, files), "more than 2000 entries");
  for (const ArchiveFile& file : files) write(top() / "many" / file.path, file.text);
  fs::remove(top() / "many" / "one more");
  expect_nothing_taken(stage(top() / "many"), "more than 2000 entries");  // here the folders count, too
}

TEST_F(SubmissionTest, RefusalsAreCapped) {
  std::vector<grader_tests::RawTarEntry> entries;
  entries.reserve(1001);
  for (int i = 0; i < 1000; ++i) entries.push_back({"../" + std::to_string(i), ""});
  entries.push_back({"lab02_two/src/two.cpp", "2"});
  const grader::Submission result = stage_bytes(grader_tests::raw_tar(entries));
  EXPECT_EQ(result.labs[1].files, Names{"two.cpp"});
  EXPECT_EQ(result.refusals.size(), 201U);
  EXPECT_EQ(result.refusals.back().reason, "and 800 more that were not taken");
}

TEST_F(SubmissionTest, BombsEndAtTheLimit) {
  // 64 MiB of zeros, 1000 : 1. In a file of ours, beside it, and packed twice.
  const std::string zeros(std::size_t{64} << 20, '\0');
  grader::SubmissionLimits limits;
  limits.archive_bytes = std::int64_t{1} << 20;  // a tar may expand to 16 MiB then
  const std::string tar = grader_tests::raw_tar({{"bomb", zeros}, {"lab02_two/src/two.cpp", "2"}});
  const std::string bomb = grader_tests::gzip(tar);
  ASSERT_LT(bomb.size(), 100000U);
  expect_nothing_taken(stage_bytes(bomb, limits), "expands to more than 16 MiB");
  expect_nothing_taken(stage_bytes(grader_tests::gzip(bomb), limits), "compressed more than once");
  const std::string zip = grader_tests::make_archive(
      ArchiveFormat::kZip,
      {{"bomb", zeros}, {"lab02_two/src/kernel.cu", zeros}, {"lab02_two/src/two.cpp", "2"}});
  const grader::Submission result = stage_bytes(zip, limits);
  EXPECT_EQ(reason_of(result, "lab02_two/src/kernel.cu"), "larger than 1 MiB");
  EXPECT_EQ(result.labs[1].files, Names{"two.cpp"});
}

TEST_F(SubmissionTest, SizesThatAreNotTrueDoNoHarm) {
  const std::string path = "lab02_two/src/two.cpp";
  for (const std::int64_t size : {std::int64_t{0}, std::int64_t{1}, std::int64_t{1} << 30, 0xFFFFFFFEL}) {
    const grader::Submission zip =
        stage_bytes(grader_tests::raw_zip({{.path = path, .data = "1234", .claimed_size = size}}));
    EXPECT_TRUE(staged(path).size() < 100) << size;  // what is there, or the stub
    if (size > 4) {
      expect_nothing_taken(
          stage_bytes(grader_tests::raw_tar({{.path = path, .data = "1234", .claimed_size = size}})),
          "damaged");
    }
  }
  expect_nothing_taken(
      stage_bytes(grader_tests::raw_tar({{.path = path, .data = "1", .claimed_size = 077777777777}})),
      "damaged");
}

TEST_F(SubmissionTest, SparseFilesDoNotGrow) {
  // GNU's PAX form of a hole of 1 TiB, and an old one whose real size is huge.
  const std::string attributes =
      "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n43 GNU.sparse.name=lab02_two/src/two.cpp\n"
      "36 GNU.sparse.realsize=1099511627776\n";
  const std::string map = "1\n1099511627775\n1\n";
  const std::string data = map + std::string(512 - map.size(), '\0') + "x";
  const grader::Submission result =
      stage_bytes(grader_tests::raw_tar({{"h", attributes, 'x'}, {"lab02_two/src/two.cpp", data}}));
  expect_nothing_taken(result, "");
}

TEST_F(SubmissionTest, HugeHeadersAreRefused) {
  const std::string name(std::size_t{4} << 20, 'n');
  const std::string record = " path=" + name + "\n";
  const std::string attributes = std::to_string(record.size() + 7) + record;
  expect_nothing_taken(
      stage_bytes(grader_tests::raw_tar({{"h", attributes, 'x'}, {"lab02_two/src/two.cpp", "2"}})), "");
  expect_nothing_taken(
      stage_bytes(grader_tests::raw_tar({{"././@LongLink", name, 'L'}, {"lab02_two/src/two.cpp", "2"}})), "");
}

// ---- Damage ----------------------------------------------------------------------------------------------

TEST_F(SubmissionTest, EncryptedFilesAreRefused) {
  const grader::Submission result = stage_bytes(
      grader_tests::raw_zip({{.path = "lab02_two/src/two.cpp", .data = "0123456789abcdef", .flags = 1}}));
  expect_nothing_taken(result, "encrypted");
}

TEST_F(SubmissionTest, UnusualCompressionIsRefused) {
  for (const int method : {1, 6, 9, 12, 14, 93, 95, 98, 99}) {
    const grader::Submission result = stage_bytes(grader_tests::raw_zip(
        {{.path = "lab02_two/src/two.cpp", .data = "xx", .method = static_cast<std::uint16_t>(method)}}));
    expect_nothing_taken(result, "");
    EXPECT_FALSE(reason_of(result, "lab02_two/src/two.cpp").empty()) << method << describe(result);
  }
}

TEST_F(SubmissionTest, DamagedContentsAreRefused) {
  std::string zip = grader_tests::make_archive(
      ArchiveFormat::kZip,
      {{"lab02_two/src/two.cpp", std::string(5000, 'x')}, {"lab01_one/src/one.cpp", "1"}});
  const std::size_t at = zip.find("two.cpp") + 60;
  for (std::size_t i = 0; i < 8; ++i) zip[at + i] = static_cast<char>(zip[at + i] ^ 0x5A);
  const grader::Submission result = stage_bytes(zip);
  EXPECT_EQ(staged("lab02_two/src/two.cpp"), "stub of lab02_two/src/two.cpp") << describe(result);
}

TEST_F(SubmissionTest, TruncatedArchivesAreRefusedWhereverTheyEnd) {
  const std::vector<ArchiveFile> files = {{"lab02_two/src/two.cpp", std::string(3000, '2')},
                                          {"lab01_one/src/one.cpp", std::string(3000, '1')}};
  for (const ArchiveFormat format : {ArchiveFormat::kZip, ArchiveFormat::kTarGz}) {
    const std::string whole = grader_tests::make_archive(format, files);
    for (std::size_t size = 4; size + 10 < whole.size(); size += 7) {
      try {
        const grader::Submission result = stage_bytes(whole.substr(0, size));
        // Only bytes behind the last file may be missing without harm.
        const bool is_whole = staged("lab02_two/src/two.cpp") == files[0].text &&
                              staged("lab01_one/src/one.cpp") == files[1].text;
        if (!is_whole) expect_nothing_taken(result, "damaged");
      } catch (const grader::UsageError&) {
        // Not recognised any more: the instructor is told.
      }
    }
  }
}

TEST_F(SubmissionTest, DamagedArchivesNeverCrash) {
  const std::vector<ArchiveFile> files = {{"lab02_two/src/two.cpp", "text of two"},
                                          {"lab01_one/src/one.cpp", "text of one"}};
  std::uint32_t random = 1;
  for (const ArchiveFormat format : {ArchiveFormat::kZip, ArchiveFormat::kTar, ArchiveFormat::kTarGz}) {
    const std::string whole = grader_tests::make_archive(format, files);
    for (int round = 0; round < 100; ++round) {
      std::string bytes = whole;
      for (int change = 0; change < 4; ++change) {
        random = random * 1664525U + 1013904223U;
        bytes[(random >> 8) % bytes.size()] = static_cast<char>(random >> 24);
      }
      try {
        stage_bytes(bytes);  // checks that nothing lands elsewhere
      } catch (const grader::UsageError&) {
      }
    }
  }
}

TEST_F(SubmissionTest, FoldersNestedWithoutEndAreRefused) {
  fs::path path = top() / "deep";
  for (int i = 0; i < 60; ++i) path /= "d";
  write(path / "two.cpp", "2");
  expect_nothing_taken(stage(top() / "deep"), "nested too deeply");
}

TEST_F(SubmissionTest, MissingStubsAreTheKitsFault) {
  fs::remove_all(root() / "lab01_one" / "src");
  EXPECT_THROW(stage_files(ArchiveFormat::kZip, {}), grader::InfrastructureError);
}

}  // namespace
