#include "submitted_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

#include "grader/text.h"

namespace grader {

namespace {

constexpr std::size_t kMaxLines = 60;
constexpr std::size_t kMaxBytes = 8192;
constexpr std::size_t kMaxLineBytes = 200;
// Cleaning makes text shorter or three times as long at most; what is far beyond the limit is not looked at.
constexpr std::size_t kLookAhead = 4;

/// First and last of characters that show nothing and change how their neighbours are shown: directions
/// (Trojan Source, CVE-2021-42574), zero widths, line separators, annotations, tags.
constexpr std::array<std::pair<std::uint32_t, std::uint32_t>, 9> kHidden = {{{0x061C, 0x061C},
                                                                             {0x180E, 0x180E},
                                                                             {0x200B, 0x200B},
                                                                             {0x200E, 0x200F},
                                                                             {0x2028, 0x202E},
                                                                             {0x2060, 0x206F},
                                                                             {0xFEFF, 0xFEFF},
                                                                             {0xFFF9, 0xFFFB},
                                                                             {0xE0000, 0xE0FFF}}};

bool is_hidden(std::uint32_t code_point) {
  return std::any_of(kHidden.begin(), kHidden.end(), [&](const auto& range) {
    return code_point >= range.first && code_point <= range.second;
  });
}

/// The character at the front of valid UTF-8, and how many bytes it has.
std::pair<std::uint32_t, std::size_t> decode(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::size_t length = byte(0) < 0x80 ? 1 : byte(0) < 0xE0 ? 2 : byte(0) < 0xF0 ? 3 : 4;
  std::uint32_t code_point = length == 1 ? byte(0) : byte(0) & (0xFFU >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) code_point = code_point << 6U | (byte(i) & 0x3FU);
  return {code_point, length};
}

std::string clean(std::string_view text) {
  const std::string valid = clean_text(text);
  std::string visible;
  visible.reserve(valid.size());
  for (std::string_view rest = valid; !rest.empty();) {
    const auto [code_point, length] = decode(rest);
    visible += is_hidden(code_point) ? fmt::format("[U+{:04X}]", code_point) : rest.substr(0, length);
    rest.remove_prefix(length);
  }
  return visible;
}

std::string clean_and_cut(std::string_view text, std::size_t max_lines, std::size_t max_bytes) {
  const std::string_view looked_at = text.substr(0, kLookAhead * max_bytes);
  std::string cut = shorten(clean(looked_at), max_lines, max_bytes);
  if (looked_at.size() < text.size() && !cut.ends_with("...")) cut += " ...";
  return cut;
}

void clean(LineChart& chart) {
  for (Line& line : chart.lines) {
    line.label = submitted_line(line.label);
    line.formula = submitted_line(line.formula);
  }
}

void clean(Timeline& timeline) {
  for (TimelinePanel& panel : timeline.panels) panel.label = submitted_line(panel.label);
}

void clean_figure(std::optional<Figure>& figure) {
  if (figure) std::visit([](auto& kind) { clean(kind); }, *figure);
}

void clean_record(RecordInfo& record) {
  record.submission = submitted_line(record.submission);
  record.sandbox = submitted_line(record.sandbox);
  for (SubmittedLab& lab : record.labs) {
    for (std::string& file : lab.files) file = submitted_line(file);
    for (std::string& file : lab.missing) file = submitted_line(file);
  }
  for (Refusal& refusal : record.refusals) {
    refusal.path = submitted_line(refusal.path);
    refusal.reason = submitted_line(refusal.reason);
  }
}

}  // namespace

std::string submitted_text(std::string_view text) {
  return clean_and_cut(text, kMaxLines, kMaxBytes);
}

std::string submitted_line(std::string_view text) {
  std::string line(text.substr(0, kLookAhead * kMaxLineBytes + 1));
  std::replace_if(
      line.begin(), line.end(), [](char c) { return c == '\n' || c == '\t'; }, ' ');
  return clean_and_cut(line, 1, kMaxLineBytes);
}

Results with_submitted_text_cleaned(const Results& results) {
  Results clean = results;
  for (LabInfo& lab : clean.labs) lab.build_error = submitted_text(lab.build_error);
  for (TaskResult& task : clean.tasks) {
    for (TestResult& test : task.tests) test.message = submitted_text(test.message);
    clean_figure(task.figure);
  }
  for (MilestoneResult& milestone : clean.milestones) {
    milestone.test.message = submitted_text(milestone.test.message);
    clean_figure(milestone.figure);
  }
  for (BenchResult& bench : clean.bench) {
    bench.student.error = submitted_text(bench.student.error);
    bench.solution.error = submitted_text(bench.solution.error);
  }
  if (clean.record) clean_record(*clean.record);
  return clean;
}

}  // namespace grader
