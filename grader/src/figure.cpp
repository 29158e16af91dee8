#include "grader/figure.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <sstream>

#include "grader/text.h"
#include "markup.h"

namespace grader {

namespace {

// In user units of the viewBox; the page scales the whole.
constexpr double kWidth = 760;
constexpr double kHeight = 430;
constexpr double kLeft = 78;
constexpr double kRight = 700;  // room behind it for the value at each line's end
constexpr double kTop = 84;     // title and legend above
constexpr double kBottom = 370;
constexpr const char* kFont = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif";
constexpr const char* kInk = "#1f2933";
constexpr const char* kMuted = "#52606d";
constexpr const char* kGrid = "#e4e7eb";
// Told apart by readers who do not see red and green apart, and by their dashes in print.
constexpr std::array<const char*, 4> kColors = {"#1a56b0", "#c2410c", "#0f766e", "#7c3aed"};
constexpr std::array<const char*, 4> kDashes = {"none", "8 4", "2 3", "10 3 2 3"};

std::string at(double value) {
  return fmt::format("{:.1f}", value);
}

/// Data to picture.
struct Scale {
  double x_max = 1;
  double y_max = 1;
  double x(double value) const { return kLeft + value / x_max * (kRight - kLeft); }
  double y(double value) const { return kBottom - value / y_max * (kBottom - kTop); }
};

pugi::xml_node append_label(pugi::xml_node svg, double x, double y, const char* anchor,
                            const std::string& text, const char* color = kMuted, const char* size = "13") {
  pugi::xml_node node = svg.append_child("text");
  set(node, "x", at(x));
  set(node, "y", at(y));
  set(node, "text-anchor", anchor);
  set(node, "fill", color);
  set(node, "font-size", size);
  append_text(node, text);
  return node;
}

void append_rule(pugi::xml_node svg, double x1, double y1, double x2, double y2, const char* color,
                 const char* width, const char* dashes = "none") {
  pugi::xml_node node = svg.append_child("line");
  set(node, "x1", at(x1));
  set(node, "y1", at(y1));
  set(node, "x2", at(x2));
  set(node, "y2", at(y2));
  set(node, "stroke", color);
  set(node, "stroke-width", width);
  set(node, "stroke-dasharray", dashes);
}

void append_axes(pugi::xml_node svg, const LineChart& chart, const Scale& scale,
                 const std::vector<double>& x_ticks, const std::vector<double>& y_ticks) {
  for (const double tick : y_ticks) {
    append_rule(svg, kLeft, scale.y(tick), kRight, scale.y(tick), kGrid, "1");
    append_label(svg, kLeft - 10, scale.y(tick) + 4.5, "end", format_number(tick));
  }
  for (const double tick : x_ticks) {
    append_rule(svg, scale.x(tick), kBottom, scale.x(tick), kBottom + 5, kMuted, "1");
    append_label(svg, scale.x(tick), kBottom + 21, "middle", format_number(tick));
  }
  append_rule(svg, kLeft, kBottom, kRight, kBottom, kMuted, "1");
  append_label(svg, (kLeft + kRight) / 2, kBottom + 46, "middle", chart.x_label, kInk);
  pugi::xml_node y_label = append_label(svg, 0, 0, "middle", chart.y_label, kInk);
  set(y_label, "transform", fmt::format("translate(18 {:.1f}) rotate(-90)", (kTop + kBottom) / 2));
}

void append_line(pugi::xml_node svg, const Line& line, const Scale& scale, std::size_t index) {
  std::string points;
  for (std::size_t i = 0; i < line.xs.size(); ++i) {
    points += fmt::format("{}{:.1f},{:.1f}", i == 0 ? "" : " ", scale.x(line.xs[i]), scale.y(line.ys[i]));
  }
  const char* color = kColors.at(index % kColors.size());
  pugi::xml_node node = svg.append_child("polyline");
  set(node, "points", points);
  set(node, "fill", "none");
  set(node, "stroke", color);
  set(node, "stroke-width", "2.5");
  set(node, "stroke-linejoin", "round");
  set(node, "stroke-dasharray", kDashes.at(index % kDashes.size()));
  const double x = scale.x(line.xs.back());
  const double y = scale.y(line.ys.back());
  pugi::xml_node dot = svg.append_child("circle");
  set(dot, "cx", at(x));
  set(dot, "cy", at(y));
  set(dot, "r", "4");
  set(dot, "fill", color);
  pugi::xml_node value = append_label(svg, x + 9, y + 4.5, "start", format_number(line.ys.back()), color);
  set(value, "font-weight", "600");
}

/// One entry a line, side by side under the title.
void append_legend(pugi::xml_node svg, const std::vector<Line>& lines) {
  double x = kLeft;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    append_rule(svg, x, 54, x + 28, 54, kColors.at(i % kColors.size()), "2.5",
                kDashes.at(i % kDashes.size()));
    pugi::xml_node text = append_label(svg, x + 36, 58.5, "start", lines[i].label, kInk);
    std::string whole = lines[i].label;
    if (!lines[i].formula.empty()) {
      pugi::xml_node formula = text.append_child("tspan");
      set(formula, "fill", kMuted);
      set(formula, "font-style", "italic");
      append_text(formula, "  " + lines[i].formula);
      whole += "  " + lines[i].formula;
    }
    constexpr double kMeanCharacterWidth = 7.2;
    x += 36 + static_cast<double>(display_width(whole)) * kMeanCharacterWidth + 26;
  }
}

std::vector<Line> drawable(const std::vector<Line>& lines) {
  std::vector<Line> kept;
  std::copy_if(lines.begin(), lines.end(), std::back_inserter(kept),
               [](const Line& line) { return !line.xs.empty() && line.xs.size() == line.ys.size(); });
  return kept;
}

double largest(const std::vector<Line>& lines, std::vector<double> Line::*values) {
  double max = 0;
  for (const Line& line : lines)
    max = std::max(max, *std::max_element((line.*values).begin(), (line.*values).end()));
  return max;
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

void append_chart(pugi::xml_node parent, const LineChart& chart) {
  const std::vector<Line> lines = drawable(chart.lines);
  pugi::xml_node svg = parent.append_child("svg");
  set(svg, "xmlns", "http://www.w3.org/2000/svg");
  set(svg, "viewBox", fmt::format("0 0 {} {}", kWidth, kHeight));
  set(svg, "role", "img");
  set(svg, "font-family", kFont);
  append_element(svg, "title", "", chart.title);
  pugi::xml_node background = svg.append_child("rect");
  set(background, "width", at(kWidth));
  set(background, "height", at(kHeight));
  set(background, "fill", "#ffffff");
  pugi::xml_node title = append_label(svg, kLeft, 28, "start", chart.title, kInk, "16");
  set(title, "font-weight", "600");
  if (lines.empty()) return;
  const std::vector<double> x_ticks = ticks(largest(lines, &Line::xs), 8);
  const std::vector<double> y_ticks = ticks(largest(lines, &Line::ys), 5);
  const Scale scale{x_ticks.back(), y_ticks.back()};
  append_axes(svg, chart, scale, x_ticks, y_ticks);
  for (std::size_t i = 0; i < lines.size(); ++i) append_line(svg, lines[i], scale, i);
  append_legend(svg, lines);
}

std::string chart_svg(const LineChart& chart) {
  pugi::xml_document document;
  pugi::xml_node declaration = document.append_child(pugi::node_declaration);
  set(declaration, "version", "1.0");
  set(declaration, "encoding", "UTF-8");
  append_chart(document, chart);
  set(document.child("svg"), "width", at(kWidth));
  set(document.child("svg"), "height", at(kHeight));
  std::ostringstream text;
  document.save(text, "  ");
  return text.str();
}

}  // namespace grader
