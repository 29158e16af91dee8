#include "grader/figure.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <sstream>

#include "grader/text.h"
#include "markup.h"
#include "svg.h"

namespace grader {

namespace {

// In user units of the viewBox; the page scales the whole.
constexpr double kWidth = 760;
constexpr double kHeight = 430;
constexpr double kLeft = 78;
constexpr double kRight = 700;  // room behind it for the value at each line's end
constexpr double kTop = 84;     // title and legend above
constexpr double kBottom = 370;
constexpr double kLegendRow = 22;
// Told apart by readers who do not see red and green apart, and by their dashes in print.
constexpr std::array<const char*, 11> kColors = {"#1a56b0", "#c2410c", "#0f766e", "#7c3aed",
                                                 "#a16207", "#be185d", "#4d7c0f", "#0e7490",
                                                 "#111827", "#64748b", "#dc2626"};
constexpr std::array<const char*, 4> kDashes = {"none", "8 4", "2 3", "10 3 2 3"};

/// Data to picture along one axis, from the first tick to the last.
struct Axis {
  AxisScale scale;
  std::vector<double> ticks;
  double begin;  ///< where the first tick lies in the picture
  double end;    ///< and the last

  double at(double value) const {
    const auto place = [&](double v) { return scale == AxisScale::kLog ? std::log10(v) : v; };
    const double low = place(ticks.front());
    return begin + (place(value) - low) / (place(ticks.back()) - low) * (end - begin);
  }
};

struct Axes {
  Axis x;
  Axis y;
};

void append_axes(pugi::xml_node svg, const LineChart& chart, const Axes& axes) {
  for (const double tick : axes.y.ticks) {
    append_rule(svg, kLeft, axes.y.at(tick), kRight, axes.y.at(tick), kGrid, "1");
    append_label(svg, kLeft - 10, axes.y.at(tick) + 4.5, "end", format_number(tick));
  }
  for (const double tick : axes.x.ticks) {
    append_rule(svg, axes.x.at(tick), kBottom, axes.x.at(tick), kBottom + 5, kMuted, "1");
    append_label(svg, axes.x.at(tick), kBottom + 21, "middle", format_number(tick));
  }
  append_rule(svg, kLeft, kBottom, kRight, kBottom, kMuted, "1");
  append_label(svg, (kLeft + kRight) / 2, kBottom + 46, "middle", chart.x_label, kInk);
  pugi::xml_node y_label = append_label(svg, 0, 0, "middle", chart.y_label, kInk);
  set(y_label, "transform", fmt::format("translate(18 {:.1f}) rotate(-90)", (kTop + kBottom) / 2));
}

void append_dot(pugi::xml_node svg, double x, double y, const char* color) {
  pugi::xml_node dot = svg.append_child("circle");
  set(dot, "cx", at(x));
  set(dot, "cy", at(y));
  set(dot, "r", "4");
  set(dot, "fill", color);
}

/// A dot at every value, each with its mark at its lower right, where no line is that rises from left to
/// right.
/// Where a line ends in the picture, and how high the number beside it stands.
struct End {
  double x;
  double y;
  double label_y;
};

/// The ends of all lines, by index; numbers that would stand on top of each other are moved apart.
std::vector<End> ends_of(const std::vector<Line>& lines, const Axes& axes) {
  constexpr double kLabelWidth = 64;
  constexpr double kLabelHeight = 16;
  std::vector<End> ends;
  std::vector<std::size_t> order;
  for (const Line& line : lines) {
    const double y = axes.y.at(line.ys.back());
    ends.push_back({axes.x.at(line.xs.back()), y, y});
    if (line.style == LineStyle::kLine) order.push_back(ends.size() - 1);
  }
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return ends[a].y < ends[b].y; });
  for (std::size_t i = 0; i < order.size(); ++i) {
    End& end = ends[order[i]];
    for (std::size_t above = 0; above < i; ++above) {
      const End& other = ends[order[above]];
      if (std::abs(other.x - end.x) < kLabelWidth)
        end.label_y = std::max(end.label_y, other.label_y + kLabelHeight);
    }
  }
  return ends;
}

void append_points(pugi::xml_node svg, const Line& line, const Axes& axes, std::size_t index,
                   const std::vector<End>& ends) {
  const char* color = kColors.at(index % kColors.size());
  for (std::size_t i = 0; i < line.xs.size(); ++i) {
    const double x = axes.x.at(line.xs[i]);
    const double y = axes.y.at(line.ys[i]);
    append_dot(svg, x, y, color);
    if (line.marks.empty()) continue;
    // Where a line ends, its own number stands to the right.
    const bool at_end = std::any_of(ends.begin(), ends.end(), [&](const End& end) {
      return &end - ends.data() != static_cast<std::ptrdiff_t>(index) && std::hypot(end.x - x, end.y - y) < 6;
    });
    append_label(svg, at_end ? x : x + 7, at_end ? y + 20 : y + 14, at_end ? "middle" : "start",
                 format_number(line.marks[i]), color, "12");
  }
}

void append_line(pugi::xml_node svg, const Line& line, const Axes& axes, std::size_t index,
                 const std::vector<End>& ends) {
  if (line.style == LineStyle::kPoints) return append_points(svg, line, axes, index, ends);
  std::string points;
  for (std::size_t i = 0; i < line.xs.size(); ++i) {
    points += fmt::format("{}{:.1f},{:.1f}", i == 0 ? "" : " ", axes.x.at(line.xs[i]), axes.y.at(line.ys[i]));
  }
  const char* color = kColors.at(index % kColors.size());
  pugi::xml_node node = svg.append_child("polyline");
  set(node, "points", points);
  set(node, "fill", "none");
  set(node, "stroke", color);
  set(node, "stroke-width", "2.5");
  set(node, "stroke-linejoin", "round");
  set(node, "stroke-dasharray", kDashes.at(index % kDashes.size()));
  const double x = axes.x.at(line.xs.back());
  const double y = axes.y.at(line.ys.back());
  append_dot(svg, x, y, color);
  pugi::xml_node value =
      append_label(svg, x + 9, ends[index].label_y + 4.5, "start", format_number(line.ys.back()), color);
  set(value, "font-weight", "600");
}

/// One entry a line, side by side under the title.
std::string legend_text(const Line& line) {
  return line.formula.empty() ? line.label : line.label + "  " + line.formula;
}

/// Where each line's entry stands: left edge and row.
struct LegendPlace {
  double x = kLeft;
  int row = 0;
};

/// Entries that do not fit beside the others begin another row.
std::vector<LegendPlace> legend_places(const std::vector<Line>& lines) {
  constexpr double kMeanCharacterWidth = 7.2;
  std::vector<LegendPlace> places;
  LegendPlace next;
  for (const Line& line : lines) {
    const double width = 36 + static_cast<double>(display_width(legend_text(line))) * kMeanCharacterWidth;
    if (next.x > kLeft && next.x + width > kWidth) next = {kLeft, next.row + 1};
    places.push_back(next);
    next.x += width + 26;
  }
  return places;
}

void append_legend(pugi::xml_node svg, const std::vector<Line>& lines,
                   const std::vector<LegendPlace>& places) {
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const char* color = kColors.at(i % kColors.size());
    const double x = places[i].x;
    const double y = 54 + kLegendRow * places[i].row;
    if (lines[i].style == LineStyle::kPoints) {
      append_dot(svg, x + 14, y, color);
    } else {
      append_rule(svg, x, y, x + 28, y, color, "2.5", kDashes.at(i % kDashes.size()));
    }
    pugi::xml_node text = append_label(svg, x + 36, y + 4.5, "start", lines[i].label, kInk);
    if (!lines[i].formula.empty()) {
      pugi::xml_node formula = text.append_child("tspan");
      set(formula, "fill", kMuted);
      set(formula, "font-style", "italic");
      set(formula, "dx", "8");  // spaces at the beginning of an element do not show
      append_text(formula, lines[i].formula);
    }
  }
}

bool has_place(const std::vector<double>& values, AxisScale scale) {
  return scale == AxisScale::kLinear ||
         std::all_of(values.begin(), values.end(), [](double v) { return v > 0; });
}

std::vector<Line> drawable(const LineChart& chart) {
  std::vector<Line> kept;
  std::copy_if(chart.lines.begin(), chart.lines.end(), std::back_inserter(kept), [&](const Line& line) {
    return !line.xs.empty() && line.xs.size() == line.ys.size() && has_place(line.xs, chart.x_scale) &&
           has_place(line.ys, chart.y_scale);
  });
  for (Line& line : kept) {
    if (line.marks.size() != line.xs.size()) line.marks.clear();
  }
  return kept;
}

/// The axis that covers one coordinate of all lines.
Axis make_axis(const std::vector<Line>& lines, std::vector<double> Line::*values, AxisScale scale,
               int n_ticks, double begin, double end) {
  std::vector<double> all;
  for (const Line& line : lines) all.insert(all.end(), (line.*values).begin(), (line.*values).end());
  const auto [min, max] = std::minmax_element(all.begin(), all.end());
  return {scale, scale == AxisScale::kLog ? log_ticks(*min, *max) : ticks(*max, n_ticks), begin, end};
}

}  // namespace

std::vector<double> ticks(double max, int n) {
  if (!(max > 0)) return {0.0, 1.0};
  const double rough = max / n;
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double factor : {5.0, 2.0, 1.0}) {
    if (rough <= factor * power) step = factor * power;
  }
  std::vector<double> positions;
  // The last tick is at or above `max`, but for rounding.
  for (int i = 0; i == 0 || positions.back() < max * (1 - 1e-9); ++i) positions.push_back(i * step);
  return positions;
}

std::vector<double> log_ticks(double min, double max) {
  constexpr std::size_t kMost = 9;
  constexpr double kRounding = 1e-9;  // a tick that is the data's end but for rounding is enough
  const auto cover = [&](const std::vector<double>& factors) {
    std::vector<double> positions;
    const auto first = static_cast<int>(std::floor(std::log10(min) + kRounding));
    for (int power = first; positions.empty() || positions.back() < max * (1 - kRounding); ++power) {
      for (const double factor : factors) {
        const double tick = factor * std::pow(10.0, power);
        // The last tick at or below `min` is the first; the first at or above `max` is the last.
        if (!positions.empty() && positions.back() >= max * (1 - kRounding)) break;
        if (tick <= min * (1 + kRounding)) positions.clear();
        positions.push_back(tick);
      }
    }
    if (positions.size() == 1) positions.push_back(positions.back() * 10);  // an axis needs an extent
    return positions;
  };
  std::vector<double> fine = cover({1.0, 2.0, 5.0});
  return fine.size() <= kMost ? fine : cover({1.0});
}

namespace {

void append_chart(pugi::xml_node parent, const LineChart& chart) {
  const std::vector<Line> lines = drawable(chart);
  const std::vector<LegendPlace> legend = legend_places(lines);
  const double more_rows = legend.empty() ? 0.0 : kLegendRow * legend.back().row;
  pugi::xml_node svg = append_svg(parent, chart.title, "", {kWidth, kHeight + more_rows});
  pugi::xml_node title = append_label(svg, kLeft, 28, "start", chart.title, kInk, "16");
  set(title, "font-weight", "600");
  if (lines.empty()) return;
  const Axes axes{make_axis(lines, &Line::xs, chart.x_scale, 8, kLeft, kRight),
                  make_axis(lines, &Line::ys, chart.y_scale, 5, kBottom, kTop)};
  pugi::xml_node plot = svg;
  if (more_rows > 0) {
    plot = svg.append_child("g");
    set(plot, "transform", fmt::format("translate(0 {})", more_rows));
  }
  append_axes(plot, chart, axes);
  const std::vector<End> ends = ends_of(lines, axes);
  for (std::size_t i = 0; i < lines.size(); ++i) append_line(plot, lines[i], axes, i, ends);
  append_legend(svg, lines, legend);
}

}  // namespace

void append_figure(pugi::xml_node parent, const Figure& figure) {
  if (const auto* chart = std::get_if<LineChart>(&figure)) append_chart(parent, *chart);
  if (const auto* timeline = std::get_if<Timeline>(&figure)) append_timeline(parent, *timeline);
}

std::string figure_svg(const Figure& figure) {
  pugi::xml_document document;
  pugi::xml_node declaration = document.append_child(pugi::node_declaration);
  set(declaration, "version", "1.0");
  set(declaration, "encoding", "UTF-8");
  append_figure(document, figure);
  pugi::xml_node svg = document.child("svg");
  pugi::xml_node background = svg.child("rect");
  set(svg, "width", background.attribute("width").value());
  set(svg, "height", background.attribute("height").value());
  std::ostringstream text;
  document.save(text, "  ");
  return text.str();
}

}  // namespace grader
