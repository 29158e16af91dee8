#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>

#include "grader/figure.h"
#include "grader/text.h"
#include "svg.h"

namespace grader {

namespace {

constexpr double kWidth = 760;
constexpr double kLeft = 78;
constexpr double kRight = 736;
constexpr double kTop = 74;          // title and legend above
constexpr double kHeading = 28;      // of a panel
constexpr double kBetween = 14;      // panels
constexpr double kAxis = 60;         // below the last panel
constexpr double kRowsHeight = 360;  // of all panels together, at most
constexpr int kMaxRow = 255;
constexpr double kMaxTime = 1e9;
constexpr const char* kEmpty = "#e9ecf0";
// Fills made to be told apart by colour-blind readers, with dark text on them (Tol 2021, "light" scheme,
// without its grey, which here means empty, and its olive). Seven, so that names that are 8 or 16 apart
// differ.
constexpr std::array<const char*, 7> kFills = {"#77aadd", "#ee8866", "#eedd88", "#44bb99",
                                               "#ffaabb", "#bbcc33", "#99ddff"};

/// What all panels share.
struct Grid {
  double end = 1.0;  ///< of the longest panel, where the axis ends
  int n_rows = 0;
  double row_height = 0.0;

  double x(double value) const { return kLeft + value / end * (kRight - kLeft); }
  double panel_height() const { return n_rows * row_height; }
  std::vector<double> ticks() const {
    std::vector<double> positions = grader::ticks(end, 10);
    std::erase_if(positions, [this](double tick) { return tick > end; });
    return positions;
  }
};

double end_of(const std::vector<Bar>& bars) {
  double end = 0.0;
  for (const Bar& bar : bars) end = std::max(end, bar.end);
  return end;
}

Grid make_grid(const std::vector<TimelinePanel>& panels) {
  Grid grid;
  for (const TimelinePanel& panel : panels) {
    grid.end = std::max(grid.end, end_of(panel.bars));
    for (const Bar& bar : panel.bars) grid.n_rows = std::max(grid.n_rows, bar.row + 1);
  }
  grid.row_height = std::clamp(kRowsHeight / (grid.n_rows * static_cast<double>(panels.size())), 3.0, 20.0);
  return grid;
}

/// "86 steps, slots filled 47 % of the time".
std::string summary(const Timeline& timeline, const TimelinePanel& panel, int n_rows) {
  return fmt::format("{} {}s, {}s filled {:.0f} % of the time", format_number(end_of(panel.bars)),
                     timeline.x_label, timeline.y_label, 100.0 * busy_share(panel.bars, n_rows));
}

pugi::xml_node append_box(pugi::xml_node svg, double x, double y, double width, double height,
                          const char* fill) {
  pugi::xml_node box = svg.append_child("rect");
  set(box, "x", at(x));
  set(box, "y", at(y));
  set(box, "width", at(width));
  set(box, "height", at(height));
  set(box, "fill", fill);
  return box;
}

/// Its number is written in it where there is room; a browser also shows it to who points at it.
void append_bar(pugi::xml_node svg, const Timeline& timeline, const Bar& bar, const Grid& grid, double top) {
  constexpr double kDigitWidth = 6.4;  // at font size 11
  constexpr double kTextHeight = 11;
  const double x = grid.x(bar.begin);
  const double width = grid.x(bar.end) - x;
  const double y = top + bar.row * grid.row_height;
  pugi::xml_node box = append_box(svg, x + 0.5, y + 0.5, std::max(width - 1.0, 0.5), grid.row_height - 1.0,
                                  kFills.at(static_cast<std::size_t>(bar.name) % kFills.size()));
  append_element(box, "title", "",
                 fmt::format("{} {}: {} {}, {}s {} to {}", timeline.bar, bar.name, timeline.y_label, bar.row,
                             timeline.x_label, format_number(bar.begin), format_number(bar.end)));
  const std::string name = std::to_string(bar.name);
  if (static_cast<double>(name.size()) * kDigitWidth + 2 > width || grid.row_height < kTextHeight) return;
  append_label(svg, x + width / 2, y + grid.row_height / 2 + 4, "middle", name, kInk, "11");
}

void append_panel(pugi::xml_node svg, const Timeline& timeline, const TimelinePanel& panel, const Grid& grid,
                  double heading) {
  const double top = heading + kHeading;
  const double bottom = top + grid.panel_height();
  const double end = grid.x(end_of(panel.bars));
  pugi::xml_node label = append_label(svg, kLeft, heading + 20, "start", panel.label, kInk, "14");
  set(label, "font-weight", "600");
  append_label(svg, kRight, heading + 20, "end", summary(timeline, panel, grid.n_rows), kInk);
  for (int row = 0; row < grid.n_rows; ++row) {
    append_box(svg, kLeft, top + row * grid.row_height + 0.5, end - kLeft, grid.row_height - 1.0, kEmpty);
    // Few numbers when rows are low.
    const int every = grid.row_height >= 12 ? 1 : 8;
    if (row % every == 0)
      append_label(svg, kLeft - 10, top + (row + 0.5) * grid.row_height + 4, "end", std::to_string(row),
                   kMuted, "12");
  }
  for (const double tick : grid.ticks())
    append_rule(svg, grid.x(tick), top, grid.x(tick), bottom, "#ffffff", "1");
  for (const Bar& bar : panel.bars) append_bar(svg, timeline, bar, grid, top);
  append_rule(svg, end, top - 4, end, bottom + 4, kInk, "1.5");
  pugi::xml_node y_label = append_label(svg, 0, 0, "middle", timeline.y_label, kInk);
  set(y_label, "transform", fmt::format("translate(30 {:.1f}) rotate(-90)", (top + bottom) / 2));
}

void append_axis(pugi::xml_node svg, const Timeline& timeline, const Grid& grid, double y) {
  for (const double tick : grid.ticks()) {
    append_rule(svg, grid.x(tick), y, grid.x(tick), y + 5, kMuted, "1");
    append_label(svg, grid.x(tick), y + 21, "middle", format_number(tick));
  }
  append_rule(svg, kLeft, y, kRight, y, kMuted, "1");
  append_label(svg, (kLeft + kRight) / 2, y + 44, "middle", timeline.x_label, kInk);
}

std::string description(const Timeline& timeline, const std::vector<TimelinePanel>& panels, int n_rows) {
  std::string text;
  for (const TimelinePanel& panel : panels)
    text += fmt::format("{}{}: {}.", text.empty() ? "" : " ", panel.label, summary(timeline, panel, n_rows));
  return text;
}

}  // namespace

std::vector<Bar> drawable(const TimelinePanel& panel) {
  std::vector<Bar> kept;
  std::copy_if(panel.bars.begin(), panel.bars.end(), std::back_inserter(kept), [](const Bar& bar) {
    return bar.row >= 0 && bar.row <= kMaxRow && bar.name >= 0 && bar.begin >= 0 && bar.end > bar.begin &&
           bar.end <= kMaxTime;
  });
  return kept;
}

double busy_share(const std::vector<Bar>& bars, int n_rows) {
  double busy = 0.0;
  for (const Bar& bar : bars) busy += bar.end - bar.begin;
  return bars.empty() ? 0.0 : busy / (n_rows * end_of(bars));
}

void append_timeline(pugi::xml_node parent, const Timeline& timeline) {
  std::vector<TimelinePanel> panels;
  for (const TimelinePanel& panel : timeline.panels) {
    panels.push_back({panel.label, drawable(panel)});
    if (panels.back().bars.empty()) panels.pop_back();
  }
  const Grid grid = make_grid(panels);
  const double panel_height = kHeading + grid.panel_height() + kBetween;
  const double bottom = kTop + static_cast<double>(panels.size()) * panel_height - kBetween + 6;
  pugi::xml_node svg = append_svg(parent, timeline.title, description(timeline, panels, grid.n_rows),
                                  {kWidth, bottom + kAxis});
  pugi::xml_node title = append_label(svg, kLeft, 28, "start", timeline.title, kInk, "16");
  set(title, "font-weight", "600");
  if (panels.empty()) return;
  append_box(svg, kLeft, 44, 22, 14, kEmpty);
  append_label(svg, kLeft + 30, 56, "start", "empty " + timeline.y_label, kInk);
  append_box(svg, kLeft + 130, 44, 22, 14, kFills[0]);
  append_label(svg, kLeft + 141, 55.5, "middle", "0", kInk, "11");
  append_label(svg, kLeft + 160, 56, "start",
               fmt::format("one {}: its number is in it; the same colour in all panels", timeline.bar), kInk);
  for (std::size_t i = 0; i < panels.size(); ++i)
    append_panel(svg, timeline, panels[i], grid, kTop + static_cast<double>(i) * panel_height);
  append_axis(svg, timeline, grid, bottom);
}

}  // namespace grader
