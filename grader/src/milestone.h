#pragma once

#include "grader/results.h"
#include "grader/rubric.h"

namespace grader {

/// A figure from the series that a test recorded. Nothing when the test ended before it recorded any.
std::optional<Figure> draw(const RubricFigure& figure, const TestResult& test);

/// A milestone from its test: the value, what it is held against, and the figure, all read from what the kit
/// recorded.
MilestoneResult milestone_result(const Rubric& lab, const RubricMilestone& milestone, TestResult test);

}  // namespace grader
