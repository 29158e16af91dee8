#pragma once

#include <nlohmann/json_fwd.hpp>

#include "grader/results.h"

namespace grader {

/// results.json as Gradescope's autograder reads it: one test a task or milestone, the total as their sum.
///
/// When points are undecided (inconclusive, infrastructure_error) there is no right number. Gradescope has no
/// way to say so in the file: a test without a score would count as nothing beside others that have one. What
/// its documentation promises is that without a valid results.json it shows "The autograder failed to execute
/// correctly" and no score, and that the instructor sees the standard output of the run. So this throws
/// InfrastructureError, naming the points, and no file is to be written.
nlohmann::ordered_json to_gradescope(const Results& results);

}  // namespace grader
