#include "../src/grade_reports.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "grader/error.h"
#include "grader/exit_status.h"
#include "grader/files.h"
#include "sample_results.h"

namespace {

using grader::ReportFiles;

class GradeReports : public ::testing::Test {
 protected:
  std::filesystem::path path(const char* name) const { return folder_.path() / name; }

  /// What prepare_reports() throws; "" when nothing.
  template <typename Error>
  static std::string refusal(const ReportFiles& files) {
    try {
      grader::prepare_reports(files);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }

  grader::ScratchFolder folder_{std::filesystem::temp_directory_path()};
};

TEST_F(GradeReports, WritesIntoFoldersThatAreNotThere) {
  const ReportFiles files = {path("a/r.html"), path("b/r.json"), path("c/d/r.xml"), path("e/r.json")};
  grader::prepare_reports(files);
  EXPECT_FALSE(std::filesystem::exists(files.html)) << "nothing is there before there are results";
  EXPECT_TRUE(std::filesystem::is_empty(path("a"))) << "the probe is left behind";
  EXPECT_TRUE(grader::write_reports(grader_tests::sample_record(), files).empty());
  for (const auto& file : {files.html, files.json, files.junit, files.gradescope}) {
    EXPECT_TRUE(std::filesystem::is_regular_file(file)) << file;
  }
  EXPECT_TRUE(std::filesystem::exists(path("a/decode.svg")));
  EXPECT_EQ(nlohmann::json::parse(grader::read_file(files.gradescope))["score"], 25);
}

TEST_F(GradeReports, RefusesWhatCannotBeWrittenBeforeTheWork) {
  grader::write_file(path("file"), "");
  std::filesystem::create_directory(path("folder"));
  ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
  for (const char* name : {"file/r.json", "folder", "pipe"}) {
    ReportFiles files;
    files.json = path(name);
    const std::string message = refusal<grader::InfrastructureError>(files);
    EXPECT_NE(message.find(path(name).string()), std::string::npos) << name << ": " << message;
  }
  EXPECT_NE(refusal<grader::InfrastructureError>({"", "/proc/none/r.json", "", ""}).find("/proc/none/r.json"),
            std::string::npos);
}

TEST_F(GradeReports, RefusesOneFileForTwoReports) {
  ReportFiles files;
  files.json = path("r.json");
  files.gradescope = path("x/../r.json");
  EXPECT_NE(refusal<grader::UsageError>(files).find("r.json"), std::string::npos);
}

TEST_F(GradeReports, OneFileThatFailsLeavesTheOthers) {
  const ReportFiles files = {path("r.html"), path("r.json"), path("r.xml"), path("g.json")};
  grader::prepare_reports(files);
  std::filesystem::create_directory(files.json);  // meanwhile
  const std::vector<std::string> failures = grader::write_reports(grader_tests::sample_record(), files);
  ASSERT_EQ(failures.size(), 1U);
  EXPECT_NE(failures[0].find(files.json.string()), std::string::npos) << failures[0];
  for (const auto& file : {files.html, files.junit, files.gradescope}) {
    EXPECT_TRUE(std::filesystem::is_regular_file(file)) << file;
  }
}

TEST_F(GradeReports, UndecidedPointsLeaveNoGradescopeFile) {
  const ReportFiles files = {path("r.html"), path("r.json"), "", path("g.json")};
  grader::write_file(files.gradescope, R"({"score": 105})");  // of an earlier run
  grader::prepare_reports(files);
  EXPECT_FALSE(std::filesystem::exists(files.gradescope));
  const std::vector<std::string> failures =
      grader::write_reports(grader_tests::sample_undecided_record(), files);
  ASSERT_EQ(failures.size(), 1U);
  EXPECT_NE(failures[0].find("undecided"), std::string::npos) << failures[0];
  EXPECT_FALSE(std::filesystem::exists(files.gradescope));
  EXPECT_TRUE(std::filesystem::exists(files.json));
}

TEST_F(GradeReports, ExitStatusNeverFailsAnybodyForNoise) {
  grader::Results results = grader_tests::sample_results();  // 25 of 45
  EXPECT_EQ(grader::exit_status(results, {}), grader::kExitGraded);
  EXPECT_EQ(grader::exit_status(results, 25), grader::kExitGraded);
  EXPECT_EQ(grader::exit_status(results, 25.5), grader::kExitUnderThreshold);
  results.tasks[0].tests[0].verdict = grader::Verdict::kInconclusive;  // 10 of 45, 15 undecided
  settle(results.tasks[0]);
  EXPECT_EQ(grader::exit_status(results, 25), grader::kExitInfrastructure);
  EXPECT_EQ(grader::exit_status(results, 26), grader::kExitUnderThreshold);
  results.tasks[0].tests[0].verdict = grader::Verdict::kInfrastructureError;
  settle(results.tasks[0]);
  EXPECT_EQ(grader::exit_status(results, {}), grader::kExitInfrastructure);
}

TEST_F(GradeReports, FoldersOfSubmissionsArePlainAndTheirOwn) {
  EXPECT_NE(grader::report_folder("/alice/submission.zip"), grader::report_folder("/bob/submission.zip"));
  EXPECT_EQ(grader::report_folder("/alice/s"), grader::report_folder("/alice/../alice/s/"));
  EXPECT_EQ(grader::report_folder("/x/alice.zip").substr(0, 10), "alice.zip-");
  const std::string long_name(500, 'x');
  for (const std::string name :
       {"..", ".hidden", "a b\n\x1b[31m;rm", "\xFF\u202E", "-rf", "", ".", "/", long_name.c_str()}) {
    const std::string folder = grader::report_folder("/submissions/" + name);
    EXPECT_EQ(folder.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."),
              std::string::npos)
        << folder;
    EXPECT_FALSE(folder.empty() || folder.front() == '.') << folder;
    EXPECT_LT(folder.size(), 80U);
  }
}

}  // namespace
