#pragma once

#include <pugixml.hpp>

#include <string>
#include <vector>

/// Line charts as SVG, for the HTML report and for a file of their own.
namespace grader {

enum class LineStyle {
  kLine,
  kPoints  ///< a mark at every value and nothing between them: for what was measured
};

struct Line {
  std::string label;    ///< "with the cache"
  std::string formula;  ///< "P + N − 1"; may be empty
  std::vector<double> xs;
  std::vector<double> ys;
  LineStyle style = LineStyle::kLine;
  std::vector<double> marks = {};  ///< numbers to write at the points, as many as there are; may be empty
};

enum class AxisScale { kLinear, kLog };

struct LineChart {
  std::string title;  ///< also what a screen reader says
  std::string x_label;
  std::string y_label;
  std::vector<Line> lines;
  AxisScale x_scale = AxisScale::kLinear;  ///< a linear axis begins at 0
  AxisScale y_scale = AxisScale::kLinear;
};

/// Appends an <svg> element. It carries its own light background and fonts, so it reads the same inline and
/// alone. Lines with no points, with xs and ys of different length, or with numbers that a logarithmic axis
/// does not have, are left out.
void append_chart(pugi::xml_node parent, const LineChart& chart);

/// The chart as a stand-alone SVG file.
std::string chart_svg(const LineChart& chart);

/// Round tick positions covering [0, max]: multiples of 1, 2 or 5 times a power of ten, about `n` of them.
std::vector<double> ticks(double max, int n);

/// Tick positions of a logarithmic axis that covers [min, max], both positive: 1, 2 and 5 times powers of
/// ten, or powers of ten alone where that would be more than 9.
std::vector<double> log_ticks(double min, double max);

}  // namespace grader
