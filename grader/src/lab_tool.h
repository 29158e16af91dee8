#pragma once

#include <string>
#include <vector>

#include "commands.h"

namespace grader {

/// A program in the tools/ of a lab, linked with the student's or the solution's library.
struct LabTool {
  std::string lab;     ///< "lab02"
  std::string folder;  ///< "lab02_kv_cache"
  std::string name;    ///< "generate": the target is lab02_generate_<student|solution>
};

/// Builds the tool and becomes it: terminal, signals and exit status are then the tool's own, so this does
/// not return. `impl` is "student" or "solutions". Throws UsageError when there are no solutions here, and
/// InfrastructureError when the tool does not build or cannot be run.
[[noreturn]] void become_lab_tool(const Context& context, const LabTool& tool, const std::string& impl,
                                  std::vector<std::string> arguments);

}  // namespace grader
