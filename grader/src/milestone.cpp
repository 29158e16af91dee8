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

std::optional<LineChart> draw(const RubricFigure& figure, const TestResult& test) {
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
