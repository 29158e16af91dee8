#include "grader/html_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "grader/text.h"
#include "html_record.h"
#include "html_style.h"
#include "markup.h"
#include "submitted_text.h"

namespace grader {

namespace {

using pugi::xml_node;

/// "not implemented" from "not_implemented".
std::string words(Verdict verdict) {
  std::string text(verdict_name(verdict));
  for (char& c : text) c = c == '_' ? ' ' : c;
  return text;
}

void append_badge(xml_node parent, Verdict verdict) {
  append_element(parent, "span", "badge " + std::string(verdict_name(verdict)), words(verdict));
}

void append_points(xml_node parent, const std::string& points, int max_points, bool stretch = false) {
  xml_node node = append_element(parent, "span", "points");
  append_element(node, "b", "", points);
  append_text(node, fmt::format(" / {}{}", stretch ? "+" : "", max_points));
}

/// Undecided points are no 0.
template <typename Part>
void append_points(xml_node parent, const Part& part) {
  bool stretch = false;
  if constexpr (requires { part.stretch; }) stretch = part.stretch;
  append_points(parent, undecided(part.verdict) ? "?" : std::to_string(part.points), part.max_points,
                stretch);
}

void append_header(xml_node main, const Results& results) {
  xml_node header = main.append_child("header");
  xml_node left = header.append_child("div");
  append_element(left, "h1", "", "Memory Wall Labs");
  std::string labs;
  for (const LabInfo& lab : results.labs)
    labs += fmt::format("{}{} {}", labs.empty() ? "" : ", ", lab.id, lab.title);
  append_element(left, "p", "muted", labs);
  append_element(left, "p", "muted",
                 results.record
                     ? fmt::format("submission: {}, {} mode", results.record->submission, results.mode)
                     : fmt::format("implementation: {}, {} mode", results.impl, results.mode));
  xml_node score = append_element(header, "div", "score");
  append_element(score, "strong", "", std::to_string(results.score()));
  append_element(score, "span", "", fmt::format(" / {} points", results.max_score()));
  const double share = results.max_score() == 0 ? 0.0 : 100.0 * results.score() / results.max_score();
  xml_node bar = append_element(score, "div", "bar").append_child("div");
  set(bar, "style", fmt::format("width: {:.1f}%", std::min(share, 100.0)));  // stretch tasks go beyond
  if (results.record && results.record->unsafe) {
    xml_node stamp = append_element(main, "p", "unsafe");
    append_element(stamp, "strong", "", "UNSAFE");
    append_text(
        stamp,
        "Graded without a sandbox (--unsafe-no-sandbox): the submission could have forged this score, "
        "and read or changed anything that the grader's user can.");
  }
  if (const int n = results.undecided_points(); n > 0) {
    append_element(
        main, "p", "notice",
        fmt::format("{} of the missing points are undecided, not lost: the grader could not tell. See the "
                    "parts marked inconclusive or infrastructure error.",
                    n));
  }
}

/// `message` is the test's, or empty when it stands elsewhere.
void append_test(xml_node list, const TestResult& test, const std::string& message) {
  xml_node item = list.append_child("li");
  xml_node line = append_element(item, message.empty() ? "div" : "details");
  xml_node label = message.empty() ? line : line.append_child("summary");
  append_element(label, "span", "dot " + std::string(verdict_name(test.verdict)));
  append_element(label, "code", "", test.name);
  append_element(label, "span", "muted",
                 test.seconds > 0 ? fmt::format("  {}, {}", words(test.verdict), format_seconds(test.seconds))
                                  : "  " + words(test.verdict));
  if (!message.empty()) append_element(line, "pre", "", message);
}

/// Where to go on, if it is the student's to go on.
void append_open_first(xml_node parent, Verdict verdict, const std::string& open,
                       const std::string& chapter) {
  if (undecided(verdict)) {
    append_element(parent, "p", "reason",
                   "These points are neither won nor lost: the grader could not tell.");
    return;
  }
  xml_node text = append_element(parent, "p", "reason", "open first: ");
  append_element(text, "code", "", open);
  append_text(text, ", read ");
  append_element(text, "code", "", chapter);
}

void append_task(xml_node body, const TaskResult& task, bool did_build) {
  xml_node row = body.append_child("tr");
  append_element(row, "td", "number", std::to_string(task.number));
  xml_node cell = row.append_child("td");
  append_element(cell, "div", "title", task.title);
  if (const TestResult* reason = task.reason(); reason != nullptr && did_build) {
    const std::string line = shorten(reason->message, 3, 300);
    append_element(
        cell, "p", "reason",
        task.verdict == Verdict::kNotImplemented ? "still a stub: " + line : reason->name + ": " + line);
    append_open_first(cell, task.verdict, task.open, task.chapter);
  }
  int n_passed = 0;
  for (const TestResult& test : task.tests) n_passed += test.verdict == Verdict::kPassed ? 1 : 0;
  xml_node details = cell.append_child("details");
  append_element(details, "summary", "", fmt::format("{} of {} tests passed", n_passed, task.tests.size()));
  xml_node list = append_element(details, "ul", "tests");
  // What the compiler said stands once at the top of the lab.
  for (const TestResult& test : task.tests) append_test(list, test, did_build ? test.message : "");
  append_badge(append_element(row, "td", "verdict"), task.verdict);
  append_points(row.append_child("td"), task);
  if (!task.figure) return;
  // A row of its own, so that the figure is as wide as the table.
  xml_node wide = append_element(append_element(body, "tr", "figure"), "td");
  set(wide, "colspan", "4");
  append_figure(wide.append_child("figure"), *task.figure);
}

void append_measure(xml_node list, const char* name, const std::optional<double>& value,
                    const std::string& unit) {
  xml_node pair = list.append_child("div");
  append_element(pair, "dt", "", name);
  append_element(pair, "dd", "", value ? fmt::format("{} {}", format_number(*value), unit) : "not measured");
}

void append_milestone(xml_node section, const MilestoneResult& milestone, bool did_build) {
  xml_node card = append_element(section, "div", "card");
  xml_node heading = append_element(card, "div", "heading");
  append_element(heading, "h3", "", "Milestone: " + milestone.title);
  xml_node right = append_element(heading, "div", "points");
  append_badge(right, milestone.verdict);
  append_text(right, "  ");
  append_points(right, milestone);
  if (milestone.value || milestone.threshold) {
    xml_node list = append_element(card, "dl", "measure");
    append_measure(list, "measured", milestone.value, milestone.unit);
    append_measure(list, "the bar", milestone.threshold, milestone.unit);
  }
  if (milestone.verdict == Verdict::kNotImplemented) {
    append_element(card, "p", "reason", "still a stub: " + milestone.test.message);
  }
  if (milestone.verdict != Verdict::kPassed && did_build) {
    append_open_first(card, milestone.verdict, milestone.open, milestone.chapter);
  }
  append_test(append_element(card, "ul", "tests"), milestone.test, did_build ? milestone.test.message : "");
  if (milestone.figure) append_figure(card.append_child("figure"), *milestone.figure);
}

void append_lab(xml_node main, const Results& results, const LabInfo& lab) {
  xml_node section = main.append_child("section");
  xml_node heading = append_element(section, "div", "heading");
  append_element(heading, "h2", "", lab.id + "  " + lab.title);
  Results own;
  for (const TaskResult& task : results.tasks) {
    if (task.lab == lab.id) own.tasks.push_back(task);
  }
  for (const MilestoneResult& milestone : results.milestones) {
    if (milestone.lab == lab.id) own.milestones.push_back(milestone);
  }
  append_points(heading, std::to_string(own.score()), own.max_score());
  if (!lab.build_error.empty())
    append_element(append_element(section, "div", "card"), "pre", "", lab.build_error);
  xml_node body = append_table(section, "", {"#", "Task", "Verdict", "Points"});
  const bool did_build = lab.build_error.empty();
  for (const TaskResult& task : own.tasks) append_task(body, task, did_build);
  for (const MilestoneResult& milestone : own.milestones) append_milestone(section, milestone, did_build);
}

void append_bench_cell(xml_node row, const BenchSide& side) {
  xml_node cell = append_element(row, "td", "figure");
  if (!side.error.empty()) {
    append_element(cell, "span", "muted", side.error);
    return;
  }
  append_element(cell, "div", "title",
                 side.share_of_ceiling ? fmt::format("{:.0f} %", *side.share_of_ceiling * 100.0) : "-");
  for (const auto& [name, value] : side.counters) {
    append_element(cell, "div", "muted", name + " " + format_number(value));
  }
}

void append_bench(xml_node main, const std::vector<BenchResult>& bench) {
  if (bench.empty()) return;
  xml_node section = main.append_child("section");
  append_element(append_element(section, "div", "heading"), "h2", "", "Benchmarks");
  append_element(
      append_element(section, "div", "card"), "p", "muted",
      "Share of what this machine was measured to do in the same run; student and solution run in turns, "
      "medians. Nothing here gives or costs points.");
  xml_node body = append_table(section, "bench", {"Benchmark", "Student", "Solution"});
  for (const BenchResult& result : bench) {
    xml_node row = body.append_child("tr");
    append_element(row.append_child("td"), "code", "", result.lab + " " + result.name);
    append_bench_cell(row, result.student);
    append_bench_cell(row, result.solution);
  }
}

/// Without the submission's name: nothing that somebody else chose goes into a shell.
std::string command_line(const Results& results) {
  if (!results.record) return fmt::format("./kit grade --impl {} --seed {}", results.impl, results.seed);
  return fmt::format("./kit record SUBMISSION --seed {}{}", results.seed,
                     results.record->unsafe ? " --unsafe-no-sandbox" : "");
}

void append_machine(xml_node main, const Results& results) {
  xml_node section = main.append_child("section");
  append_element(append_element(section, "div", "heading"), "h2", "", "This run");
  xml_node list = append_element(section, "dl", "machine");
  const auto add = [&](const char* name, const std::string& value) {
    append_element(list, "dt", "", name);
    append_element(list, "dd", "", value);
  };
  const Machine& machine = results.machine;
  add("date", results.date);
  add("seed", std::to_string(results.seed));
  add("processor", fmt::format("{}, {} cores", machine.cpu, machine.n_cores));
  add("memory", format_bytes(static_cast<double>(machine.memory_bytes)));
  add("system", machine.system);
  add("compiler", fmt::format("{}, {}", machine.compiler, machine.build_type));
  add("the same again", command_line(results));
}

/// In a tree and not in the text below: the submission's name is anybody's.
std::string title(const Results& results) {
  std::string text = fmt::format("{} of {} points", results.score(), results.max_score());
  if (results.record && results.record->unsafe) text += " (UNSAFE)";
  pugi::xml_document document;
  append_element(document, "title", "",
                 (results.record ? results.record->submission : "Memory Wall Labs") + ": " + text);
  std::ostringstream markup;
  document.save(markup, "", pugi::format_raw | pugi::format_no_declaration, pugi::encoding_utf8);
  return markup.str();
}

}  // namespace

std::string to_html(const Results& raw) {
  const Results results = with_submitted_text_cleaned(raw);
  pugi::xml_document document;
  xml_node body = document.append_child("body");
  xml_node main = body.append_child("main");
  append_header(main, results);
  append_submission(main, results);
  for (const LabInfo& lab : results.labs) append_lab(main, results, lab);
  append_bench(main, results.bench);
  append_machine(main, results);
  std::ostringstream text;
  text << "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
       << "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
       << title(results) << "\n"
       << "<style>" << kReportStyle << "</style>\n</head>\n";
  // No indentation, which <pre> would show; and never <div/>, which HTML reads as an open <div>.
  document.save(text, "", pugi::format_raw | pugi::format_no_declaration | pugi::format_no_empty_element_tags,
                pugi::encoding_utf8);
  text << "\n</html>\n";
  return text.str();
}

}  // namespace grader
