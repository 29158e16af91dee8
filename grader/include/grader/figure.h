#pragma once

#include <pugixml.hpp>

#include <string>
#include <variant>
#include <vector>

/// Figures as SVG, for the HTML report and for a file of their own.
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

/// What somebody did from `begin` to `end`, in a row of a timeline.
struct Bar {
  int row = 0;
  int name = 0;  ///< written into the bar; bars of one name have one colour
  double begin = 0.0;
  double end = 0.0;
};

struct TimelinePanel {
  std::string label;  ///< "static batching"
  std::vector<Bar> bars;
};

/// Who had which row when: panels one above the other, on the same horizontal axis, with as many rows each.
struct Timeline {
  std::string title;
  std::string x_label;  ///< what the axis counts, one of them: "step"
  std::string y_label;  ///< what a row is: "slot"
  std::string bar;      ///< what a bar is: "request"
  std::vector<TimelinePanel> panels;
};

using Figure = std::variant<LineChart, Timeline>;

/// Appends an <svg> element. It carries its own light background and fonts, so it reads the same inline and
/// alone. Lines with no points, with xs and ys of different length, or with numbers that a logarithmic axis
/// does not have, are left out; so are panels without bars, and bars that have no place.
void append_figure(pugi::xml_node parent, const Figure& figure);

/// The figure as a stand-alone SVG file.
std::string figure_svg(const Figure& figure);

/// The bars that a timeline can show: rows 0 to 255, ends after their beginnings, both in [0, 1e9].
std::vector<Bar> drawable(const TimelinePanel& panel);

/// Share of the rows' time, from 0 to the end of the last bar, that bars fill. 0 without bars.
double busy_share(const std::vector<Bar>& bars, int n_rows);

/// Round tick positions covering [0, max]: multiples of 1, 2 or 5 times a power of ten, about `n` of them.
std::vector<double> ticks(double max, int n);

/// Tick positions of a logarithmic axis that covers [min, max], both positive: 1, 2 and 5 times powers of
/// ten, or powers of ten alone where that would be more than 9.
std::vector<double> log_ticks(double min, double max);

}  // namespace grader
