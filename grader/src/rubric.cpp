#include "grader/rubric.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "grader/error.h"
#include "grader/rubric_reader.h"

namespace grader {

namespace {

AxisScale read_scale(RubricReader& reader, const std::string& key) {
  return reader.one_of(key, {"linear", "log"}) == "log" ? AxisScale::kLog : AxisScale::kLinear;
}

RubricLine read_line(RubricReader& reader) {
  RubricLine line;
  line.series = reader.text("series");
  line.label = reader.text("label");
  line.formula = reader.text_or("formula", "");
  line.x = reader.text_or("x", "");
  line.style = reader.one_of("style", {"line", "points"}) == "points" ? LineStyle::kPoints : LineStyle::kLine;
  line.marks = reader.text_or("marks", "");
  reader.refuse_unknown_keys();
  return line;
}

RubricPanel read_panel(RubricReader& reader) {
  RubricPanel panel{reader.text("label"), reader.text("row"), reader.text("name"), reader.text("begin"),
                    reader.text("end")};
  reader.refuse_unknown_keys();
  return panel;
}

/// Keys that figures of tasks and of milestones have.
RubricFigure read_figure(RubricReader& reader) {
  RubricFigure figure;
  figure.title = reader.text("title");
  figure.x_label = reader.text("x_label");
  figure.y_label = reader.text("y_label");
  if (reader.one_of("kind", {"lines", "timeline"}) == "timeline") {
    figure.kind = FigureKind::kTimeline;
    figure.bar = reader.text("bar");
    for (RubricReader& panel : reader.tables("panel")) figure.panels.push_back(read_panel(panel));
    return figure;
  }
  figure.x = reader.text("x");
  figure.x_scale = read_scale(reader, "x_scale");
  figure.y_scale = read_scale(reader, "y_scale");
  for (RubricReader& line : reader.tables("line")) figure.lines.push_back(read_line(line));
  return figure;
}

RubricTask read_task(RubricReader reader) {
  RubricTask task;
  task.id = reader.text("id");
  task.number = reader.positive("number");
  task.title = reader.text("title");
  task.points = reader.positive("points");
  task.stretch = reader.flag("stretch");
  task.open = reader.text("open");
  task.tests = reader.texts("tests");
  task.alone = reader.flag("alone");
  task.slow = reader.flag("slow");
  if (std::optional<RubricReader> figure = reader.table_if("figure")) {
    task.figure = read_figure(*figure);
    task.figure->test = figure->text("test");
    if (std::find(task.tests.begin(), task.tests.end(), task.figure->test) == task.tests.end())
      figure->fail("test", fmt::format("'{}' is not a test of this task", task.figure->test));
    figure->refuse_unknown_keys();
  }
  reader.refuse_unknown_keys();
  return task;
}

RubricMilestone read_milestone(RubricReader reader) {
  RubricMilestone milestone;
  milestone.id = reader.text("id");
  milestone.title = reader.text("title");
  milestone.points = reader.positive("points");
  milestone.open = reader.text("open");
  milestone.test = reader.text("test");
  milestone.unit = reader.text("unit");
  milestone.value_key = reader.text("value_key");
  milestone.threshold_key = reader.text("threshold_key");
  milestone.alone = reader.flag("alone");
  milestone.slow = reader.flag("slow");
  if (std::optional<RubricReader> figure = reader.table_if("figure")) {
    milestone.figure = read_figure(*figure);
    figure->refuse_unknown_keys();
  }
  reader.refuse_unknown_keys();
  return milestone;
}

/// A test that decides two things would give or cost points twice.
void check_no_duplicates(const Rubric& rubric, const RubricReader& reader) {
  std::set<std::string> ids;
  std::set<std::string> tests;
  std::set<int> numbers;
  for (const RubricTask& task : rubric.tasks) {
    if (!ids.insert(task.id).second) reader.fail("id", fmt::format("'{}' is used twice", task.id));
    if (!numbers.insert(task.number).second)
      reader.fail("number", fmt::format("{} is used twice", task.number));
    for (const std::string& test : task.tests) {
      if (!tests.insert(test).second) reader.fail("tests", fmt::format("'{}' is listed twice", test));
    }
  }
  for (const RubricMilestone& milestone : rubric.milestones) {
    if (!ids.insert(milestone.id).second) reader.fail("id", fmt::format("'{}' is used twice", milestone.id));
    if (!tests.insert(milestone.test).second) {
      reader.fail("test", fmt::format("'{}' is listed twice", milestone.test));
    }
  }
}

/// 2 from "lab02", "02", "2" or "lab02_kv_cache"; nothing from anything else.
std::optional<int> lab_number(std::string_view name, const std::string& folder) {
  if (name == folder) name = name.substr(0, name.find('_'));
  if (name.starts_with("lab")) name.remove_prefix(3);
  int number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error != std::errc() || end != name.data() + name.size() || name.size() > 2) return std::nullopt;
  return number;
}

bool is_named(const Rubric& lab, const std::string& name) {
  const std::optional<int> wanted = lab_number(name, lab.folder);
  return wanted && wanted == lab_number(lab.id, lab.folder);
}

}  // namespace

int Rubric::max_points() const {
  int total = 0;
  for (const RubricTask& task : tasks) total += task.stretch ? 0 : task.points;
  for (const RubricMilestone& milestone : milestones) total += milestone.points;
  return total;
}

Rubric load_rubric(const std::filesystem::path& file) {
  const RubricDocument document(file);
  RubricReader reader = document.root();
  RubricReader lab = reader.table("lab");
  Rubric rubric;
  rubric.id = lab.text("id");
  rubric.title = lab.text("title");
  rubric.chapter = lab.text("chapter");
  rubric.folder = lab.text("folder");
  lab.refuse_unknown_keys();

  const std::string folder = file.parent_path().filename().string();
  if (rubric.folder != folder) lab.fail("folder", fmt::format("'{}' should be '{}'", rubric.folder, folder));
  if (!folder.starts_with(rubric.id + "_")) {
    lab.fail("id", fmt::format("'{}' does not begin the folder's name '{}'", rubric.id, folder));
  }

  for (const RubricReader& task : reader.tables("task")) rubric.tasks.push_back(read_task(task));
  for (const RubricReader& milestone : reader.tables_if("milestone")) {
    rubric.milestones.push_back(read_milestone(milestone));
  }
  reader.refuse_unknown_keys();
  check_no_duplicates(rubric, reader);
  std::sort(rubric.tasks.begin(), rubric.tasks.end(),
            [](const RubricTask& a, const RubricTask& b) { return a.number < b.number; });
  return rubric;
}

std::vector<Rubric> load_labs(const std::filesystem::path& root) {
  std::vector<Rubric> labs;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(root, error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with("lab") || !std::filesystem::exists(entry.path() / "rubric.toml")) continue;
    labs.push_back(load_rubric(entry.path() / "rubric.toml"));
  }
  if (labs.empty())
    throw InfrastructureError(fmt::format("no lab (labNN_*/rubric.toml) under '{}'", root.string()));
  std::sort(labs.begin(), labs.end(), [](const Rubric& a, const Rubric& b) { return a.id < b.id; });
  return labs;
}

std::vector<Rubric> select_labs(const std::vector<Rubric>& labs, const std::vector<std::string>& names) {
  if (names.empty()) return labs;
  for (const std::string& name : names) {
    if (std::any_of(labs.begin(), labs.end(), [&](const Rubric& lab) { return is_named(lab, name); }))
      continue;
    std::string known;
    for (const Rubric& lab : labs)
      known += fmt::format("{}{} ({})", known.empty() ? "" : ", ", lab.id, lab.title);
    throw UsageError(fmt::format("there is no lab '{}'; the labs are: {}", name, known));
  }
  std::vector<Rubric> selected;
  for (const Rubric& lab : labs) {
    if (std::any_of(names.begin(), names.end(),
                    [&](const std::string& name) { return is_named(lab, name); })) {
      selected.push_back(lab);
    }
  }
  return selected;
}

}  // namespace grader
