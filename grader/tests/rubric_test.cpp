#include "grader/rubric.h"

#include <gtest/gtest.h>

#include "grader/error.h"
#include "grader/files.h"
#include "kit/check.h"

namespace {

constexpr const char* kGood = R"(
[lab]
id = "lab07"
title = "A lab"
chapter = "docs/07.md"
folder = "lab07_thing"

[[task]]
id = "second"
number = 2
title = "The second"
points = 5
open = "lab07_thing/src/b.cpp"
tests = ["B.One"]

[[task]]
id = "first"
number = 1
title = "The first"
points = 15
open = "lab07_thing/src/a.cpp"
tests = ["A.One", "A.Two"]

[[milestone]]
id = "fast"
title = "Fast"
points = 10
open = "lab07_thing/src/a.cpp"
test = "Fast.Enough"
unit = "tokens"
value_key = "value"
threshold_key = "bar"
)";

class RubricTest : public ::testing::Test {
 protected:
  std::filesystem::path file() const { return folder_.path() / "lab07_thing" / "rubric.toml"; }

  grader::Rubric load(const std::string& text) const {
    grader::write_file(file(), text);
    return grader::load_rubric(file());
  }

  /// The complaint about the good rubric with `from` replaced by `to`.
  std::string complaint(const std::string& from, const std::string& to) const {
    std::string text = kGood;
    text.replace(text.find(from), from.size(), to);
    try {
      load(text);
    } catch (const kit::Error& error) {
      const std::string message = error.what();
      EXPECT_EQ(message.find(file().string()), 0U) << message;
      return message.substr(file().string().size());
    }
    ADD_FAILURE() << "accepted " << to;
    return "";
  }

  grader::ScratchFolder folder_{std::filesystem::temp_directory_path()};
};

TEST_F(RubricTest, TasksAndMilestonesMayBeSlow) {
  std::string text = kGood;
  const std::string of_milestone = "unit = \"tokens\"";
  text.replace(text.find(of_milestone), of_milestone.size(), of_milestone + "\nslow = true");
  const grader::Rubric rubric = load(text);
  EXPECT_FALSE(rubric.tasks.at(0).slow);
  EXPECT_TRUE(rubric.milestones.at(0).slow);
}

TEST_F(RubricTest, StretchTasksAreNoPartOfTheFullScore) {
  std::string text = kGood;
  const std::string points = "points = 15";
  text.replace(text.find(points), points.size(), points + "\nstretch = true");
  const grader::Rubric rubric = load(text);
  EXPECT_EQ(rubric.max_points(), 15);
  EXPECT_EQ(load(kGood).max_points(), 30);
}

TEST_F(RubricTest, FiguresAndFlagsAreChecked) {
  EXPECT_NE(complaint("unit = \"tokens\"", "unit = \"tokens\"\nalone = 1")
                .find("key 'alone' must be true or false"),
            std::string::npos);
  const std::string figure =
      "tests = [\"B.One\"]\n[task.figure]\ntitle = \"t\"\nx = \"x\"\nx_label = \"x\"\ny_label = \"y\"\n";
  const std::string line = "[[task.figure.line]]\nseries = \"s\"\nlabel = \"l\"\n";
  EXPECT_NE(complaint("tests = [\"B.One\"]", figure + "test = \"A.One\"\n" + line)
                .find("'A.One' is not a test of this"),
            std::string::npos);
  EXPECT_NE(complaint("tests = [\"B.One\"]", figure + "test = \"B.One\"\nx_scale = \"cubic\"\n" + line)
                .find("key 'x_scale' is 'cubic', must be one of: linear, log"),
            std::string::npos);
  std::string text = kGood;
  text.replace(text.find("tests = [\"B.One\"]"), 17,
               figure + "test = \"B.One\"\nx_scale = \"log\"\n" + line + "style = \"points\"\nx = \"own\"\n");
  const grader::Rubric rubric = load(text);
  ASSERT_TRUE(rubric.tasks.at(1).figure.has_value());
  EXPECT_EQ(rubric.tasks.at(1).figure->x_scale, grader::AxisScale::kLog);
  EXPECT_EQ(rubric.tasks.at(1).figure->y_scale, grader::AxisScale::kLinear);
  EXPECT_EQ(rubric.tasks.at(1).figure->lines.at(0).style, grader::LineStyle::kPoints);
  EXPECT_EQ(rubric.tasks.at(1).figure->lines.at(0).x, "own");
  EXPECT_FALSE(rubric.tasks.at(1).alone);
}

TEST_F(RubricTest, ReadsTasksInOrderAndAddsPoints) {
  const grader::Rubric rubric = load(kGood);
  EXPECT_EQ(rubric.id, "lab07");
  ASSERT_EQ(rubric.tasks.size(), 2U);
  EXPECT_EQ(rubric.tasks[0].id, "first");
  EXPECT_EQ(rubric.tasks[0].tests, (std::vector<std::string>{"A.One", "A.Two"}));
  ASSERT_EQ(rubric.milestones.size(), 1U);
  EXPECT_EQ(rubric.milestones[0].value_key, "value");
  EXPECT_EQ(rubric.max_points(), 30);
}

TEST_F(RubricTest, ReadsAFigure) {
  const grader::Rubric rubric = load(std::string(kGood) + R"(
[milestone.figure]
title = "T"
x = "step"
x_label = "X"
y_label = "Y"
[[milestone.figure.line]]
series = "a"
label = "A"
formula = "N"
)");
  ASSERT_TRUE(rubric.milestones[0].figure.has_value());
  EXPECT_EQ(rubric.milestones[0].figure->lines.at(0).formula, "N");
}

TEST_F(RubricTest, ReadsATimeline) {
  const std::string figure = std::string(kGood) +
                             "\n[milestone.figure]\nkind = \"timeline\"\ntitle = \"T\"\nx_label = \"step\"\n"
                             "y_label = \"slot\"\nbar = \"request\"\n";
  const std::string panel =
      "[[milestone.figure.panel]]\nlabel = \"A\"\nrow = \"r\"\nname = \"n\"\nbegin = \"b\"\nend = \"e\"\n";
  const grader::Rubric rubric = load(figure + panel);
  ASSERT_TRUE(rubric.milestones[0].figure.has_value());
  EXPECT_EQ(rubric.milestones[0].figure->kind, grader::FigureKind::kTimeline);
  EXPECT_EQ(rubric.milestones[0].figure->bar, "request");
  EXPECT_EQ(rubric.milestones[0].figure->panels.at(0).end, "e");
  const auto refused = [&](const std::string& text, const std::string& problem) {
    try {
      load(text);
    } catch (const kit::Error& error) {
      return std::string(error.what()).find(problem) != std::string::npos;
    }
    return false;
  };
  EXPECT_TRUE(refused(figure, "key 'panel' is missing"));
  EXPECT_TRUE(
      refused(figure + panel + "colour = \"red\"\n", "key 'colour' is not a key that a rubric has here"));
  EXPECT_TRUE(refused(figure + "x_scale = \"log\"\n" + panel, "key 'x_scale' is not a key"));
  EXPECT_TRUE(refused(std::string(kGood) + "\n[milestone.figure]\nkind = \"pie\"\ntitle = \"T\"\n"
                                           "x_label = \"x\"\ny_label = \"y\"\n",
                      "must be one of: lines, timeline"));
}

TEST_F(RubricTest, ErrorsNameFileLineTableAndKey) {
  EXPECT_EQ(complaint("points = 5", "points = \"5\""), ":12: task 1, key 'points' must be a whole number");
  EXPECT_EQ(complaint("points = 5", "points = 0"),
            ":12: task 1, key 'points' is 0, must be between 1 and 1000000");
  EXPECT_EQ(complaint("points = 5", "pionts = 5"), ":8: task 1, key 'points' is missing");
  EXPECT_EQ(complaint("points = 5", "points = 5\nhint = 1"),
            ":13: task 1, key 'hint' is not a key that a rubric has here");
  EXPECT_EQ(complaint("[\"B.One\"]", "[]"),
            ":14: task 1, key 'tests' must be a list of strings, at least one");
  EXPECT_EQ(complaint("title = \"A lab\"", "title = \"\""),
            ":4: lab, key 'title' must be a string that is not empty");
  EXPECT_EQ(complaint("unit = \"tokens\"", "unit = 3"),
            ":30: milestone 1, key 'unit' must be a string that is not empty");
}

TEST_F(RubricTest, RefusesWhatCountsTwice) {
  EXPECT_NE(complaint("B.One", "A.One").find("'A.One' is listed twice"), std::string::npos);
  EXPECT_NE(complaint("Fast.Enough", "A.One").find("'A.One' is listed twice"), std::string::npos);
  EXPECT_NE(complaint("number = 2", "number = 1").find("1 is used twice"), std::string::npos);
  EXPECT_NE(complaint("id = \"second\"", "id = \"first\"").find("'first' is used twice"), std::string::npos);
}

TEST_F(RubricTest, RefusesAFolderThatIsNotItsOwn) {
  EXPECT_NE(complaint("lab07_thing\"\n\n", "lab08_thing\"\n\n").find("should be 'lab07_thing'"),
            std::string::npos);
  EXPECT_NE(complaint("id = \"lab07\"", "id = \"lab08\"").find("does not begin"), std::string::npos);
}

TEST_F(RubricTest, SyntaxErrorsNameTheLine) {
  EXPECT_EQ(complaint("number = 2", "number = ").find(":10:"), 0U);
}

TEST_F(RubricTest, LabsAreFoundAndSelected) {
  load(kGood);
  const std::vector<grader::Rubric> labs = grader::load_labs(folder_.path());
  ASSERT_EQ(labs.size(), 1U);
  for (const char* name : {"lab07", "07", "7", "lab7", "lab07_thing"}) {
    EXPECT_EQ(grader::select_labs(labs, {name, name}).size(), 1U) << name;
  }
  EXPECT_EQ(grader::select_labs(labs, {}).size(), 1U);
  for (const char* name : {"lab08", "", "lab", "lab07_other", "seven", "7x"}) {
    try {
      grader::select_labs(labs, {name});
      ADD_FAILURE() << "accepted " << name;
    } catch (const grader::UsageError& error) {
      EXPECT_NE(std::string(error.what()).find("the labs are: lab07 (A lab)"), std::string::npos);
    }
  }
}

TEST_F(RubricTest, NoLabsIsAnError) {
  EXPECT_THROW(grader::load_labs(folder_.path()), grader::InfrastructureError);
  EXPECT_THROW(grader::load_labs(folder_.path() / "nowhere"), grader::InfrastructureError);
}

}  // namespace
