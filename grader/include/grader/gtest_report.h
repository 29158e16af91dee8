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

/// False for half a file.
bool is_complete_report(const std::string& json);

}  // namespace grader
