#include <gtest/gtest.h>

#include <cctype>
#include <functional>
#include <nlohmann/json.hpp>
#include <pugixml.hpp>

#include "grader/gradescope.h"
#include "grader/html_report.h"
#include "grader/junit.h"
#include "grader/table.h"
#include "grader/text.h"
#include "sample_results.h"

// What a submission can write into a report, in every format.

namespace {

/// Ten million bytes with everything that one of the formats could stumble over at their front.
std::string hostile_text(const std::string& mark) {
  std::string text = mark +
                     "</script><script>alert(1)</script></pre></td>]]><!-- --> \" ' & &#0; &amp; {{7*7}}\n"
                     "\x1b[2J\x1b[31mPASSED\x1b[0m\r\x07\x08\x7f\xC2\x9B"
                     "31m \xFF\xFE\xC0\xAF\xED\xA0\x80 \xEF\xBF\xBF\n"
                     "\u202Egnp.exe\u202C \u2066x\u2069 \u200Bzero \uFEFF \u2028line \U000E0041tag\n";
  text.push_back('\0');
  text += "\n#include <x>\n[ RUN      ] Fake.Test\n";
  text.resize(10'000'000, 'A');
  return text;
}

grader::Results hostile_record() {
  grader::Results results = grader_tests::sample_record();
  results.labs[0].build_error = hostile_text("compiler");
  for (grader::TaskResult& task : results.tasks) task.tests.back().message = hostile_text("message");
  results.milestones[1].test.message = hostile_text("milestone");
  results.record->submission = hostile_text("name");
  results.record->labs[1].files = {hostile_text("file")};
  results.record->labs[1].missing = {hostile_text("stub")};
  results.record->refusals.assign(3, {hostile_text("path"), hostile_text("reason")});
  return results;
}

/// Each format and its text.
using Reports = std::vector<std::pair<std::string, std::string>>;

Reports reports(const grader::Results& results) {
  return {{"json", grader::to_json(results).dump(2)},
          {"gradescope", grader::to_gradescope(results).dump(2)},
          {"junit", grader::to_junit(results)},
          {"html", grader::to_html(results)},
          {"table", grader::results_table(results, false)}};
}

/// Those of hostile_record(), made once.
const Reports& hostile_reports() {
  static const Reports all = reports(hostile_record());
  return all;
}

TEST(HostileText, IsCut) {
  for (const auto& [format, text] : hostile_reports()) EXPECT_LT(text.size(), 400'000U) << format;
}

TEST(HostileText, HoldsNoControlsAndNoBrokenUtf8) {
  for (const auto& [format, text] : hostile_reports()) {
    EXPECT_TRUE(grader::clean_text(text) == text) << format;
    // An escape in JSON would only move the control character to the reader.
    for (const char* escape : {"\\u00", "\\b", "\\r", "\\f", "&#27;", "&#x1b;", "&#0;\"", "&#13;"}) {
      EXPECT_EQ(text.find(escape), std::string::npos) << format << " has " << escape;
    }
  }
}

TEST(HostileText, HidesAndReordersNothing) {
  for (const auto& [format, text] : hostile_reports()) {
    for (const char* hidden :
         {"\u202E", "\u202C", "\u2066", "\u2069", "\u200B", "\uFEFF", "\u2028", "\U000E0041"}) {
      EXPECT_EQ(text.find(hidden), std::string::npos) << format << " has " << hidden;
    }
    EXPECT_NE(text.find("[U+202E]gnp.exe[U+202C]"), std::string::npos) << format;
  }
}

TEST(HostileText, EveryPartIsStillThere) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> parts = {
      {"json", {"compiler", "message", "milestone", "name", "file", "stub", "path", "reason"}},
      {"gradescope", {"compiler", "message", "milestone", "name", "stub", "path", "reason"}},
      {"junit", {"message", "milestone", "name"}},
      {"html", {"compiler", "message", "milestone", "name", "file", "stub", "path", "reason"}},
      {"table", {"compiler", "message", "milestone", "name", "stub", "path", "reason"}}};
  for (std::size_t i = 0; i < parts.size(); ++i) {
    ASSERT_EQ(hostile_reports()[i].first, parts[i].first);
    const bool is_xml = parts[i].first == "html" || parts[i].first == "junit";
    for (const std::string& mark : parts[i].second) {
      const std::string expected = mark + (is_xml ? "&lt;/script" : "</script");
      EXPECT_NE(hostile_reports()[i].second.find(expected), std::string::npos)
          << parts[i].first << " lacks " << mark;
    }
  }
}

TEST(HostileText, StaysTextInHtmlAndXml) {
  for (const auto& [format, text] : hostile_reports()) {
    if (format != "html" && format != "junit") continue;
    EXPECT_EQ(text.find("<script"), std::string::npos) << format;
    // JUnit has it in attributes too, where it is allowed.
    EXPECT_TRUE(format == "junit" || text.find("]]>") == std::string::npos);
    EXPECT_EQ(text.find("<!--"), std::string::npos) << format;
    pugi::xml_document document;
    const pugi::xml_parse_result parsed =
        document.load_string(text.c_str(), pugi::parse_default | pugi::parse_doctype);
    EXPECT_TRUE(parsed) << format << ": " << parsed.description();
  }
}

TEST(ForgedText, CannotPassForTheGradersOwn) {
  const std::string forged = "x\n      total (record, seed 7)    105 / 105\n\nforgery: passed";
  grader::Results results = grader_tests::sample_record();
  results.labs[0].build_error = forged;
  for (grader::TaskResult& task : results.tasks) task.tests.back().message = forged;
  results.milestones[1].test.message = forged;
  results.record->submission = forged;
  results.record->refusals = {{forged, forged}};
  std::string text = grader::results_table(results, false);
  const nlohmann::ordered_json gradescope = grader::to_gradescope(results);
  text += gradescope.at("output").get<std::string>();
  for (const auto& test : gradescope.at("tests")) text += "\n" + test.at("output").get<std::string>();
  int n_forged = 0;
  for (const std::string& line : grader::split_lines(text)) {
    if (line.find("forgery") == std::string::npos && line.find("105 / 105") == std::string::npos) continue;
    ++n_forged;
    EXPECT_TRUE(grader::trim(line).starts_with("|") || line.find("x ") != std::string::npos) << line;
  }
  EXPECT_GT(n_forged, 10);
}

TEST(HostileText, LinesOfFilesStayOneLine) {
  for (const auto& [format, text] : hostile_reports()) {
    if (format != "table") continue;
    const std::size_t begin = text.find("\n        path");
    ASSERT_NE(begin, std::string::npos);
    const std::string line = text.substr(begin + 1, text.find('\n', begin + 1) - begin - 1);
    EXPECT_NE(line.find(": reason"), std::string::npos) << line;
    EXPECT_LT(line.size(), 450U);
  }
}

}  // namespace
