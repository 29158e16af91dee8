#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

/// rubric.toml: what a lab's tasks are worth and which tests decide them.
namespace grader {

struct RubricTask {
  std::string id;
  int number = 0;
  std::string title;
  int points = 0;
  std::string open;  ///< file to open first, from the root of the tree
  std::vector<std::string> tests;
};

/// One line of a milestone's figure; `series` names what the test recorded under "series.<name>".
struct RubricLine {
  std::string series;
  std::string label;
  std::string formula;
};

struct RubricFigure {
  std::string title;
  std::string x;  ///< series of the horizontal axis
  std::string x_label;
  std::string y_label;
  std::vector<RubricLine> lines;
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
  std::optional<RubricFigure> figure;
};

struct Rubric {
  std::string id;  ///< "lab02"
  std::string title;
  std::string chapter;
  std::string folder;  ///< "lab02_kv_cache"
  std::vector<RubricTask> tasks;
  std::vector<RubricMilestone> milestones;

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
