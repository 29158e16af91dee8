#include "lab_tool.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "grader/build.h"
#include "grader/error.h"
#include "grader/process.h"

namespace grader {

namespace {

std::filesystem::path build_tool(const Context& context, const LabTool& tool, const std::string& impl) {
  const BuildTree tree(context.root, context.build_dir);
  if (impl == "solutions" && !std::filesystem::is_directory(context.root / "solutions" / tool.folder)) {
    throw UsageError(
        fmt::format("there is no solutions/{} here: this copy has the student's part only", tool.folder));
  }
  const std::string target =
      fmt::format("{}_{}_{}", tool.lab, tool.name, impl == "solutions" ? "solution" : "student");
  const InterruptGuard guard;
  // A line that goes away again on a terminal; elsewhere nothing, since the tool's output is all that was
  // asked for.
  Progress silent;
  TerminalProgress line(stderr);
  Progress& progress = ::isatty(STDERR_FILENO) == 1 ? static_cast<Progress&>(line) : silent;
  progress.stage("building " + target);
  const BuildTree::Outcome outcome = tree.build({target}, progress);
  line.clear();
  if (outcome.ok) return context.build_dir / tool.folder / target;
  fmt::print(stderr, "{}\n", outcome.output);
  throw InfrastructureError(fmt::format("{} does not build (above)", target));
}

}  // namespace

void become_lab_tool(const Context& context, const LabTool& tool, const std::string& impl,
                     std::vector<std::string> arguments) {
  const std::filesystem::path program = build_tool(context, tool, impl);
  arguments.insert(arguments.begin(), program.string());
  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  std::fflush(nullptr);
  ::execv(program.c_str(), argv.data());
  throw InfrastructureError(fmt::format("cannot run {}: {}", program.string(), std::strerror(errno)));
}

}  // namespace grader
