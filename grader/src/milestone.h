#pragma once

#include "grader/results.h"
#include "grader/rubric.h"

namespace grader {

/// A milestone from its test: the value, what it is held against, and the figure, all read from what the kit
/// recorded.
MilestoneResult milestone_result(const Rubric& lab, const RubricMilestone& milestone, TestResult test);

}  // namespace grader
