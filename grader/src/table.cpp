#include "grader/table.h"

#include <fmt/color.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "grader/text.h"
#include "submitted_text.h"

namespace grader {

namespace {

constexpr std::size_t kTitleWidth = 50;
constexpr std::size_t kVerdictWidth = 22;
constexpr std::size_t kTextWidth = 100;
constexpr std::size_t kReasonLines = 12;
constexpr std::size_t kReasonBytes = 1200;
constexpr std::size_t kMaxRefusals = 10;

/// Styles text, or leaves it as it is.
class Paint {
 public:
  explicit Paint(bool color) : color_(color) {}

  std::string operator()(std::string_view text, fmt::text_style style) const {
    return color_ ? fmt::format(style, "{}", text) : std::string(text);
  }
  std::string bold(std::string_view text) const { return (*this)(text, fmt::emphasis::bold); }
  std::string faint(std::string_view text) const { return (*this)(text, fmt::emphasis::faint); }
  std::string verdict(std::string_view text, Verdict verdict) const {
    return (*this)(text, style_of(verdict));
  }

 private:
  static fmt::text_style style_of(Verdict verdict) {
    switch (verdict) {
      case Verdict::kPassed:
        return fmt::fg(fmt::terminal_color::green);
      case Verdict::kNotImplemented:
        return fmt::fg(fmt::terminal_color::blue);
      case Verdict::kInconclusive:
        return fmt::fg(fmt::terminal_color::yellow) | fmt::emphasis::bold;
      case Verdict::kInfrastructureError:
        return fmt::fg(fmt::terminal_color::magenta) | fmt::emphasis::bold;
      default:
        return fmt::fg(fmt::terminal_color::red);
    }
  }

  bool color_;
};

std::string title_cell(std::string_view text) {
  if (display_width(text) <= kTitleWidth) return pad(text, kTitleWidth);
  return pad(shorten(text, 1, kTitleWidth - 4), kTitleWidth);
}

template <typename Points>
std::string points_cell(const Points& points, int max_points, bool stretch = false) {
  return fmt::format("{:>4} / {}{}", points, stretch ? "+" : "", max_points);
}

std::string row(std::string_view number, std::string_view title, Verdict verdict, int points, int max_points,
                bool stretch, const Paint& paint) {
  return fmt::format(
      "  {:>2}  {} {} {}\n", number, title_cell(title),
      paint.verdict(pad(verdict_name(verdict), kVerdictWidth), verdict),
      // Undecided points are no 0.
      undecided(verdict) ? points_cell("?", max_points, stretch) : points_cell(points, max_points, stretch));
}

/// What a test or the compiler said. In a record each line is marked, or it could pass for the grader's own.
std::string quote(const std::string& message, bool is_record, const std::string& before = "") {
  std::string text;
  for (const std::string& line : wrap(shorten(message, kReasonLines, kReasonBytes), kTextWidth)) {
    text += fmt::format("    {}{}{}\n", is_record ? "| " : "", before, line);
  }
  return text;
}

/// Why something did not pass, and what to open first.
std::string reason(const std::string& heading, Verdict verdict, const TestResult* test,
                   const std::string& open, const std::string& chapter, bool is_record, const Paint& paint) {
  std::string text =
      fmt::format("\n{}: {}\n", paint.bold(heading), paint.verdict(verdict_name(verdict), verdict));
  if (test != nullptr) {
    const bool is_stub = verdict == Verdict::kNotImplemented;
    if (!is_stub) text += fmt::format("    {}\n", paint.faint(test->name));
    text += quote(test->message, is_record, is_stub ? "still a stub: " : "");
  }
  if (undecided(verdict)) {
    text += "    These points are neither won nor lost: the grader could not tell.\n";
  } else {
    text += fmt::format("    open first: {}   (read {})\n", open, chapter);
  }
  return text;
}

std::string lab_rows(const Results& results, const LabInfo& lab, const Paint& paint) {
  std::string text = fmt::format("\n{}  {}\n", paint.bold(lab.id), lab.title);
  for (const TaskResult& task : results.tasks) {
    if (task.lab != lab.id) continue;
    text += row(std::to_string(task.number), task.title, task.verdict, task.points, task.max_points,
                task.stretch, paint);
  }
  for (const MilestoneResult& milestone : results.milestones) {
    if (milestone.lab != lab.id) continue;
    text +=
        row("M", milestone.title, milestone.verdict, milestone.points, milestone.max_points, false, paint);
    if (milestone.value && milestone.threshold) {
      text +=
          paint.faint(fmt::format("      measured {} {}, the bar is {}\n", format_number(*milestone.value),
                                  milestone.unit, format_number(*milestone.threshold)));
    }
  }
  return text;
}

/// Said once for a lab that does not build: every task has the same reason, and the compiler names the file
/// to open.
std::string build_errors(const Results& results, const Paint& paint) {
  std::string text;
  for (const LabInfo& lab : results.labs) {
    if (lab.build_error.empty()) continue;
    text += fmt::format("\n{}\n", paint.bold(lab.id));
    text += quote(lab.build_error, results.record.has_value());
  }
  return text;
}

bool did_build(const Results& results, const std::string& id) {
  return std::none_of(results.labs.begin(), results.labs.end(),
                      [&](const LabInfo& lab) { return lab.id == id && !lab.build_error.empty(); });
}

std::string reasons(const Results& results, const Paint& paint) {
  std::string text = build_errors(results, paint);
  for (const TaskResult& task : results.tasks) {
    if (task.verdict == Verdict::kPassed || !did_build(results, task.lab)) continue;
    text += reason(fmt::format("{} task {}", task.lab, task.number), task.verdict, task.reason(), task.open,
                   task.chapter, results.record.has_value(), paint);
  }
  for (const MilestoneResult& milestone : results.milestones) {
    if (milestone.verdict == Verdict::kPassed || !did_build(results, milestone.lab)) continue;
    text += reason(fmt::format("{} milestone", milestone.lab), milestone.verdict, &milestone.test,
                   milestone.open, milestone.chapter, results.record.has_value(), paint);
  }
  return text;
}

std::string count_files(std::size_t n) {
  return fmt::format("{} file{}", n, n == 1 ? "" : "s");
}

/// What was graded, and what of the submission was not.
std::string submission_lines(const RecordInfo& record, const Paint& paint) {
  std::string text = fmt::format("\n{}  {}\n", paint.bold("submission"), record.submission);
  text += fmt::format("      sandbox: {}\n", record.sandbox);
  for (const SubmittedLab& lab : record.labs) {
    text += fmt::format("      {}: {} taken", lab.lab, count_files(lab.files.size()));
    if (!lab.missing.empty()) text += fmt::format(", stubs for {}", fmt::join(lab.missing, ", "));
    text += "\n";
  }
  if (!record.refusals.empty()) {
    text += fmt::format("      {} not taken:\n", count_files(record.refusals.size()));
  }
  for (std::size_t i = 0; i < std::min(record.refusals.size(), kMaxRefusals); ++i) {
    text += fmt::format("        {}: {}\n", record.refusals[i].path, record.refusals[i].reason);
  }
  if (record.refusals.size() > kMaxRefusals) {
    text += fmt::format("        and {} more, in the report\n", record.refusals.size() - kMaxRefusals);
  }
  return text;
}

std::string share_cell(const BenchSide& side) {
  std::string cell = side.share_of_ceiling ? fmt::format("{:.0f} %", *side.share_of_ceiling * 100.0) : "-";
  // The reports hold every counter; here only rates fit.
  for (const auto& [name, value] : side.counters) {
    if (name.ends_with("_per_s")) cell += fmt::format("  {} {:.4g}", name, value);
  }
  return side.error.empty() ? cell : shorten(side.error, 1, 60);
}

}  // namespace

bool wants_color(std::FILE* stream) {
  const char* no_color = std::getenv("NO_COLOR");
  return (no_color == nullptr || *no_color == '\0') && ::isatty(::fileno(stream)) == 1;
}

std::string results_table(const Results& raw, bool color) {
  const Results results = with_submitted_text_cleaned(raw);
  const Paint paint(color);
  std::string text;
  if (results.record) text += submission_lines(*results.record, paint);
  for (const LabInfo& lab : results.labs) text += lab_rows(results, lab, paint);
  constexpr std::size_t kBeforePoints = 6 + kTitleWidth + 1 + kVerdictWidth + 1;
  const std::string total = pad(
      fmt::format("      total ({}, seed {})", results.record ? results.mode : results.impl, results.seed),
      kBeforePoints);
  text += "\n" + paint.bold(total + points_cell(results.score(), results.max_score())) + "\n";
  if (const int n = results.undecided_points(); n > 0) {
    text += paint.verdict(fmt::format("      {} of the missing points are undecided, not lost\n", n),
                          Verdict::kInfrastructureError);
  }
  if (results.record && results.record->unsafe) {
    text +=
        paint.verdict("      UNSAFE: graded without a sandbox; the submission could have forged this score\n",
                      Verdict::kFailed);
  }
  return text + reasons(results, paint);
}

std::string labs_table(const std::vector<Rubric>& labs, bool color) {
  const Paint paint(color);
  std::string text;
  for (const Rubric& lab : labs) {
    text += fmt::format("{}  {}   {} points   {}   {}\n", paint.bold(lab.id), lab.title, lab.max_points(),
                        lab.folder, lab.chapter);
    for (const RubricTask& task : lab.tasks) {
      text += fmt::format("  {:>2}  {} {:>3}   {}\n", task.number, title_cell(task.title),
                          fmt::format("{}{}", task.stretch ? "+" : "", task.points), task.open);
      for (const std::string& test : task.tests) text += paint.faint(fmt::format("        {}\n", test));
    }
    for (const RubricMilestone& milestone : lab.milestones) {
      text +=
          fmt::format("   M  {} {:>3}   {}\n", title_cell(milestone.title), milestone.points, milestone.open);
      text += paint.faint(fmt::format("        {}\n", milestone.test));
    }
    text += "\n";
  }
  return text;
}

std::string bench_table(const std::vector<BenchResult>& bench, bool color) {
  if (bench.empty()) return "";
  const Paint paint(color);
  std::size_t width = 0;
  for (const BenchResult& result : bench) width = std::max(width, display_width(result.name));
  std::string text =
      "\n" + paint.bold("Benchmarks") + ": share of what this machine was measured to do (no points)\n";
  for (const BenchResult& result : bench) {
    text += fmt::format("  {}  {}\n      student   {}\n      solution  {}\n", result.lab,
                        pad(result.name, width), share_cell(result.student), share_cell(result.solution));
  }
  return text;
}

}  // namespace grader
