#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "grader/files.h"
#include "grader/gradescope.h"
#include "grader/html_report.h"
#include "grader/junit.h"
#include "grader/text.h"
#include "sample_results.h"

// Every format byte for byte, so that a change of one is seen in a diff. KIT_UPDATE_GOLDEN=1 rewrites them.

namespace {

/// The first line in which the two differ.
std::string difference(const std::string& golden, const std::string& text) {
  const std::vector<std::string> want = grader::split_lines(golden);
  const std::vector<std::string> got = grader::split_lines(text);
  std::size_t i = 0;
  while (i < want.size() && i < got.size() && want[i] == got[i]) ++i;
  const auto line = [&](const std::vector<std::string>& lines) {
    return i < lines.size() ? lines[i] : "(the end)";
  };
  const std::string golden_line = line(want);
  const std::string text_line = line(got);
  std::size_t column = 0;  // lines of the HTML are long
  while (column < golden_line.size() && column < text_line.size() &&
         golden_line[column] == text_line[column]) {
    ++column;
  }
  const std::size_t begin = column - std::min<std::size_t>(column, 40);
  return fmt::format("line {}, column {}:\n  golden: {}\n  now:    {}", i + 1, column + 1,
                     golden_line.substr(begin, 160), text_line.substr(begin, 160));
}

void expect_golden(const std::string& name, const std::string& text) {
  const std::filesystem::path file = std::filesystem::path(GRADER_GOLDEN_DIR) / name;
  if (const char* update = std::getenv("KIT_UPDATE_GOLDEN"); update != nullptr && *update != '\0') {
    grader::write_file(file, text);
    GTEST_SKIP() << "wrote " << file << "; read its diff";
  }
  const std::string golden = std::filesystem::exists(file) ? grader::read_file(file) : "";
  EXPECT_TRUE(golden == text) << name << " differs in " << difference(golden, text)
                              << "\nIf that is meant: KIT_UPDATE_GOLDEN=1 grader_tests "
                                 "--gtest_filter=Golden.*, and read the diff of grader/tests/golden/";
}

TEST(Golden, GradeJson) {
  expect_golden("grade.json", grader::to_json(grader_tests::sample_results()).dump(2) + "\n");
}

TEST(Golden, GradeJunit) {
  expect_golden("grade.xml", grader::to_junit(grader_tests::sample_results()));
}

TEST(Golden, GradeHtml) {
  expect_golden("grade.html", grader::to_html(grader_tests::sample_results()));
}

TEST(Golden, RecordJson) {
  expect_golden("record.json", grader::to_json(grader_tests::sample_undecided_record()).dump(2) + "\n");
}

TEST(Golden, RecordJunit) {
  expect_golden("record.xml", grader::to_junit(grader_tests::sample_undecided_record()));
}

TEST(Golden, RecordHtml) {
  expect_golden("record.html", grader::to_html(grader_tests::sample_undecided_record()));
}

TEST(Golden, UnsafeRecordHtml) {
  expect_golden("unsafe_record.html", grader::to_html(grader_tests::sample_record()));
}

TEST(Golden, Gradescope) {
  expect_golden("gradescope.json", grader::to_gradescope(grader_tests::sample_record()).dump(2) + "\n");
}

}  // namespace
