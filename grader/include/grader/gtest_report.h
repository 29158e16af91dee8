#pragma once

#include <filesystem>
#include <string>

#include "grader/process.h"
#include "grader/results.h"

/// From what a test process did to a verdict.
namespace grader {

/// Reads the JSON that GoogleTest wrote for one test, and how its process ended, into a verdict, a message
/// and the recorded properties. `json` is empty when the process wrote none.
TestResult classify_test(const std::string& name, const ProcessResult& process, const std::string& json,
                         const Limits& limits);

/// Puts how a process ended, before its test was over, in the place of what the test says: crashed,
/// timed_out, or, when its last words are a stub's, not_implemented.
void classify_end(const ProcessResult& process, const Limits& limits, TestResult& test);

/// False for half a file.
bool is_complete_report(const std::string& json);

}  // namespace grader
