#pragma once

#include "grader/results.h"

namespace grader_tests {

/// One lab with a passed task, a failed one whose message is hostile to every format, and a milestone with a
/// figure.
grader::Results sample_results();

}  // namespace grader_tests
