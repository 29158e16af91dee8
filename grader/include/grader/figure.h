#pragma once

#include <pugixml.hpp>

#include <string>
#include <vector>

/// Line charts as SVG, for the HTML report and for a file of their own.
namespace grader {

struct Line {
  std::string label;    ///< "with the cache"
  std::string formula;  ///< "P + N − 1"; may be empty
  std::vector<double> xs;
  std::vector<double> ys;
};

struct LineChart {
  std::string title;  ///< also what a screen reader says
  std::string x_label;
  std::string y_label;
  std::vector<Line> lines;
};

/// Appends an <svg> element. It carries its own light background and fonts, so it reads the same inline and
/// alone. Lines with no points or with xs and ys of different length are left out.
void append_chart(pugi::xml_node parent, const LineChart& chart);

/// The chart as a stand-alone SVG file.
std::string chart_svg(const LineChart& chart);

/// Round tick positions covering [0, max]: multiples of 1, 2 or 5 times a power of ten, about `n` of them.
std::vector<double> ticks(double max, int n);

}  // namespace grader
