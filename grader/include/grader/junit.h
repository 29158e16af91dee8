#pragma once

#include <string>

#include "grader/results.h"

namespace grader {

/// JUnit XML as CI systems read it: one <testsuite> a task or milestone, with the verdict in each failure's
/// type.
std::string to_junit(const Results& results);

}  // namespace grader
