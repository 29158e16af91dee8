#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "grader/figure.h"

/// rubric.toml: what a lab's tasks are worth and which tests decide them.
namespace grader {

/// One line of a figure; `series`, `x` and `marks` name what the test recorded under "series.<name>".
struct RubricLine {
  std::string series;
  std::string label;
  std::string formula;
  std::string x;  ///< the line's own horizontal axis; empty: the figure's
  LineStyle style = LineStyle::kLine;
  std::string marks;  ///< numbers to write at the points; may be empty
};

/// One panel of a timeline: four series of one length, an entry a bar.
struct RubricPanel {
  std::string label;
  std::string row;
  std::string name;
  std::string begin;
  std::string end;
};

enum class FigureKind { kLines, kTimeline };

struct RubricFigure {
  FigureKind kind = FigureKind::kLines;
  std::string title;
  std::string x;  ///< series of the horizontal axis; of lines
  std::string x_label;
  std::string y_label;
  AxisScale x_scale = AxisScale::kLinear;
  AxisScale y_scale = AxisScale::kLinear;
  std::vector<RubricLine> lines;    ///< of FigureKind::kLines
  std::string bar;                  ///< what a bar is; of FigureKind::kTimeline
  std::vector<RubricPanel> panels;  ///< of FigureKind::kTimeline
  std::string test;                 ///< of a task: which of its tests records the series
};

struct RubricTask {
  std::string id;
  int number = 0;
  std::string title;
  int points = 0;
  bool stretch = false;  ///< points beyond the lab's full score
  std::string open;      ///< file to open first, from the root of the tree
  std::vector<std::string> tests;
  bool alone = false;  ///< the tests measure time: nothing else runs beside them
  bool slow = false;   ///< the tests run a model many times, and may take kSlowFactor times the usual limits
  std::optional<RubricFigure> figure;
};

struct RubricMilestone {
  std::string id;
  std::string title;
  int points = 0;
  std::string open;
  std::string test;
  std::string unit;
  std::string value_key;      ///< property of the test that holds the measured value
  std::string threshold_key;  ///< property that holds what the value is held against
  bool alone = false;         ///< the test measures time: nothing else runs beside it
  bool slow = false;          ///< as a task's
  std::optional<RubricFigure> figure;
};

struct Rubric {
  std::string id;  ///< "lab02"
  std::string title;
  std::string chapter;
  std::string folder;  ///< "lab02_kv_cache"
  std::vector<RubricTask> tasks;
  std::vector<RubricMilestone> milestones;

  /// The full score: all tasks and milestones but stretch tasks.
  int max_points() const;
};

/// Reads and checks one rubric. Throws kit::Error naming file, line and key: a missing or mistyped key, one
/// that no rubric has, a test listed twice, an id used twice, points that are not positive.
Rubric load_rubric(const std::filesystem::path& file);

/// The labs of a tree: every <root>/labNN_*/rubric.toml, by number. Throws InfrastructureError when there are
/// none.
std::vector<Rubric> load_labs(const std::filesystem::path& root);

/// The labs that `names` ask for, each once, in the order of `labs`; all of them when `names` is empty.
/// "lab02", "02", "2" and "lab02_kv_cache" name the same lab. Throws UsageError, naming the labs there are.
std::vector<Rubric> select_labs(const std::vector<Rubric>& labs, const std::vector<std::string>& names);

}  // namespace grader
