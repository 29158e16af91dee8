#include "milestone.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

namespace grader {

namespace {

constexpr std::string_view kSeriesPrefix = "series.";

/// A finite number, or nothing.
std::optional<double> parse_number(std::string_view text) {
  double value = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

std::optional<double> number_property(const TestResult& test, const std::string& key) {
  const auto found = test.properties.find(key);
  return found == test.properties.end() ? std::nullopt : parse_number(found->second);
}

/// The numbers of "series.<name>"; empty when it is missing or not all numbers.
std::vector<double> series_property(const TestResult& test, const std::string& name) {
  const auto found = test.properties.find(std::string(kSeriesPrefix) + name);
  std::vector<double> values;
  if (found == test.properties.end()) return values;
  std::string_view rest = found->second;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find(','), rest.size());
    const std::optional<double> value = parse_number(rest.substr(0, end));
    if (!value) return {};
    values.push_back(*value);
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return values;
}

/// Without a figure in the rubric: "step" is the horizontal axis and every other series is a line.
RubricFigure default_figure(const RubricMilestone& milestone, const TestResult& test) {
  RubricFigure figure;
  figure.title = milestone.title;
  figure.x = figure.x_label = "step";
  figure.y_label = milestone.unit;
  for (const auto& [key, value] : test.properties) {
    if (!key.starts_with(kSeriesPrefix)) continue;
    const std::string name = key.substr(kSeriesPrefix.size());
    std::string label = name;
    std::replace(label.begin(), label.end(), '_', ' ');
    if (name == figure.x) continue;
    RubricLine& line = figure.lines.emplace_back();
    line.series = name;
    line.label = label;
  }
  return figure;
}

}  // namespace

namespace {

std::optional<Figure> draw_lines(const RubricFigure& figure, const TestResult& test) {
  LineChart chart{figure.title, figure.x_label, figure.y_label, {}, figure.x_scale, figure.y_scale};
  for (const RubricLine& line : figure.lines) {
    std::vector<double> xs = series_property(test, line.x.empty() ? figure.x : line.x);
    std::vector<double> ys = series_property(test, line.series);
    std::vector<double> marks =
        line.marks.empty() ? std::vector<double>() : series_property(test, line.marks);
    if (ys.empty() || ys.size() != xs.size()) continue;
    chart.lines.push_back(
        {line.label, line.formula, std::move(xs), std::move(ys), line.style, std::move(marks)});
  }
  if (chart.lines.empty()) return std::nullopt;
  return chart;
}

/// A row or a name: a number that is whole and not negative, else -1, which no timeline shows.
int whole(double value) {
  constexpr double kLargest = 1e9;
  return value >= 0 && value <= kLargest && value == std::floor(value) ? static_cast<int>(value) : -1;
}

std::optional<Figure> draw_timeline(const RubricFigure& figure, const TestResult& test) {
  Timeline timeline{figure.title, figure.x_label, figure.y_label, figure.bar, {}};
  for (const RubricPanel& panel : figure.panels) {
    const std::vector<double> rows = series_property(test, panel.row);
    const std::vector<double> names = series_property(test, panel.name);
    const std::vector<double> begins = series_property(test, panel.begin);
    const std::vector<double> ends = series_property(test, panel.end);
    if (names.size() != rows.size() || begins.size() != rows.size() || ends.size() != rows.size()) continue;
    TimelinePanel drawn{panel.label, {}};
    for (std::size_t i = 0; i < rows.size(); ++i)
      drawn.bars.push_back({whole(rows[i]), whole(names[i]), begins[i], ends[i]});
    drawn.bars = drawable(drawn);
    if (!drawn.bars.empty()) timeline.panels.push_back(std::move(drawn));
  }
  if (timeline.panels.empty()) return std::nullopt;
  return timeline;
}

}  // namespace

std::optional<Figure> draw(const RubricFigure& figure, const TestResult& test) {
  return figure.kind == FigureKind::kTimeline ? draw_timeline(figure, test) : draw_lines(figure, test);
}

MilestoneResult milestone_result(const Rubric& lab, const RubricMilestone& milestone, TestResult test) {
  MilestoneResult result;
  result.lab = lab.id;
  result.id = milestone.id;
  result.title = milestone.title;
  result.open = milestone.open;
  result.chapter = lab.chapter;
  result.unit = milestone.unit;
  result.max_points = milestone.points;
  result.value = number_property(test, milestone.value_key);
  result.threshold = number_property(test, milestone.threshold_key);
  result.figure = draw(milestone.figure.value_or(default_figure(milestone, test)), test);
  result.test = std::move(test);
  settle(result);
  return result;
}

}  // namespace grader
