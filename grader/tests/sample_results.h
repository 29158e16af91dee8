#pragma once

#include "grader/results.h"

namespace grader_tests {

/// One lab with a passed task, a failed one whose message is hostile to every format, and a milestone with a
/// figure.
grader::Results sample_results();

/// A run of record without a sandbox: a lab that does not compile, one with a task of every verdict that is
/// the student's own doing, files that were refused and stubs.
grader::Results sample_record();

/// The same with a task that is inconclusive and one that met an infrastructure error, 10 points each.
grader::Results sample_undecided_record();

}  // namespace grader_tests
