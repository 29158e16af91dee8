#include "html_record.h"

#include <fmt/format.h>

#include <algorithm>

namespace grader {

namespace {

using pugi::xml_node;

constexpr std::size_t kMaxRefusals = 100;

/// One <code> a file, so that names with blanks or commas stay apart.
void append_files(xml_node row, const std::vector<std::string>& files) {
  xml_node cell = append_element(row, "td", "files");
  for (const std::string& file : files) append_element(cell, "code", "", file);
  if (files.empty()) append_element(cell, "span", "muted", "none");
}

void append_refusals(xml_node section, const std::vector<Refusal>& refusals) {
  if (refusals.empty()) {
    append_element(append_element(section, "div", "card"), "p", "muted", "Nothing of it was refused.");
    return;
  }
  xml_node body = append_table(section, "submission", {"Not taken", "Why"});
  for (std::size_t i = 0; i < std::min(refusals.size(), kMaxRefusals); ++i) {
    xml_node row = body.append_child("tr");
    append_element(append_element(row, "td", "files"), "code", "", refusals[i].path);
    append_element(row, "td", "", refusals[i].reason);
  }
  if (refusals.size() <= kMaxRefusals) return;
  xml_node row = append_element(body.append_child("tr"), "td", "muted",
                                fmt::format("and {} more: see the JSON", refusals.size() - kMaxRefusals));
  set(row, "colspan", "2");
}

}  // namespace

void append_submission(pugi::xml_node main, const Results& results) {
  if (!results.record) return;
  const RecordInfo& record = *results.record;
  xml_node section = main.append_child("section");
  append_element(append_element(section, "div", "heading"), "h2", "", "Submission");
  xml_node list = append_element(section, "dl", "machine");
  const auto add = [&](const char* name, const std::string& value) {
    append_element(list, "dt", "", name);
    append_element(list, "dd", "", value);
  };
  add("name", record.submission);
  add("mode", results.mode);
  add("seed", std::to_string(results.seed));
  add("sandbox", record.sandbox);
  xml_node body = append_table(section, "submission", {"Lab", "Files taken", "Not handed in: the stub"});
  for (const SubmittedLab& lab : record.labs) {
    xml_node row = body.append_child("tr");
    append_element(row, "td", "title", lab.lab);
    append_files(row, lab.files);
    append_files(row, lab.missing);
  }
  append_refusals(section, record.refusals);
}

}  // namespace grader
