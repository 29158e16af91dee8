#include "grader/junit.h"

#include <fmt/format.h>

#include <pugixml.hpp>
#include <span>
#include <sstream>

#include "grader/text.h"
#include "markup.h"
#include "submitted_text.h"

namespace grader {

namespace {

/// JUnit's <skipped> is neither passed nor failed (inconclusive), its <error> is not the tested code's fault
/// alone.
const char* element_for(Verdict verdict) {
  switch (verdict) {
    case Verdict::kInconclusive:
      return "skipped";
    case Verdict::kCrashed:
    case Verdict::kTimedOut:
    case Verdict::kInfrastructureError:
      return "error";
    default:
      return "failure";
  }
}

struct Counts {
  int tests = 0;
  int failures = 0;
  int errors = 0;
  int skipped = 0;
  double seconds = 0.0;

  void add(const TestResult& test) {
    ++tests;
    seconds += test.seconds;
    if (test.verdict == Verdict::kPassed) return;
    const std::string_view element = element_for(test.verdict);
    failures += element == "failure" ? 1 : 0;
    errors += element == "error" ? 1 : 0;
    skipped += element == "skipped" ? 1 : 0;
  }

  void write(pugi::xml_node node) const {
    set(node, "tests", std::to_string(tests));
    set(node, "failures", std::to_string(failures));
    set(node, "errors", std::to_string(errors));
    set(node, "skipped", std::to_string(skipped));
    set(node, "time", fmt::format("{:.3f}", seconds));
  }
};

void append_test(pugi::xml_node suite, const std::string& class_name, const TestResult& test) {
  pugi::xml_node node = suite.append_child("testcase");
  set(node, "name", test.name);
  set(node, "classname", class_name);
  set(node, "time", fmt::format("{:.3f}", test.seconds));
  if (test.verdict == Verdict::kPassed) return;
  pugi::xml_node outcome = node.append_child(element_for(test.verdict));
  set(outcome, "type", std::string(verdict_name(test.verdict)));
  set(outcome, "message", shorten(test.message, 1, 300));
  append_text(outcome, test.message);
}

/// Only <testsuite> may have properties.
void append_properties(pugi::xml_node suite, const Results& results) {
  if (!results.record) return;
  pugi::xml_node properties = suite.append_child("properties");
  const auto add = [&](const char* name, const std::string& value) {
    pugi::xml_node property = properties.append_child("property");
    set(property, "name", name);
    set(property, "value", value);
  };
  add("mode", results.mode);
  add("seed", std::to_string(results.seed));
  add("submission", results.record->submission);
  add("sandbox", results.record->sandbox);
  add("unsafe", results.record->unsafe ? "true" : "false");
}

void append_suite(pugi::xml_node root, const std::string& name, const Results& results,
                  std::span<const TestResult> tests, Counts& total) {
  Counts counts;
  for (const TestResult& test : tests) {
    counts.add(test);
    total.add(test);
  }
  pugi::xml_node suite = root.append_child("testsuite");
  set(suite, "name", name);
  counts.write(suite);
  set(suite, "timestamp", results.date.substr(0, results.date.find('Z')));
  append_properties(suite, results);
  for (const TestResult& test : tests) append_test(suite, name, test);
}

}  // namespace

std::string to_junit(const Results& raw) {
  const Results results = with_submitted_text_cleaned(raw);
  pugi::xml_document document;
  pugi::xml_node declaration = document.append_child(pugi::node_declaration);
  set(declaration, "version", "1.0");
  set(declaration, "encoding", "UTF-8");
  pugi::xml_node root = document.append_child("testsuites");
  set(root, "name",
      fmt::format("Memory Wall Labs, {}, seed {}", results.record ? results.mode : results.impl,
                  results.seed));
  Counts total;
  for (const TaskResult& task : results.tasks) {
    append_suite(root, task.lab + "." + task.task, results, task.tests, total);
  }
  for (const MilestoneResult& milestone : results.milestones) {
    append_suite(root, milestone.lab + "." + milestone.id, results, {&milestone.test, 1}, total);
  }
  total.write(root);
  std::ostringstream text;
  document.save(text, "  ");
  return text.str();
}

}  // namespace grader
