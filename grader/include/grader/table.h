#pragma once

#include <string>
#include <vector>

#include "grader/results.h"
#include "grader/rubric.h"

/// What the terminal shows at the end.
namespace grader {

/// True when `stream` is a terminal and NO_COLOR is not set (https://no-color.org).
bool wants_color(std::FILE* stream);

/// The table by task with points, then for everything not passed the reason and what to open, then the total.
std::string results_table(const Results& results, bool color);

/// The labs with their tasks, milestones and tests, for `grader list`.
std::string labs_table(const std::vector<Rubric>& labs, bool color);

/// Benchmarks, student beside solution; "" when there are none.
std::string bench_table(const std::vector<BenchResult>& bench, bool color);

}  // namespace grader
