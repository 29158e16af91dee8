#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <exception>

#include "commands.h"
#include "grader/error.h"
#include "grader/exit_status.h"

namespace {

/// An environment variable, or `fallback` where it is unset or empty.
std::filesystem::path from_environment(const char* name, const std::filesystem::path& fallback) {
  const char* value = std::getenv(name);
  return value == nullptr || *value == '\0' ? fallback : std::filesystem::path(value);
}

/// Command-line errors of every kind are exit status 2; --help and --version are 0.
int explain(const CLI::App& app, const CLI::ParseError& error) {
  return app.exit(error) == 0 ? grader::kExitGraded : grader::kExitUsage;
}

int run(const grader::Context& context) {
  try {
    return context.run();
  } catch (const grader::UsageError& error) {
    fmt::print(stderr, "grader: {}\n", error.what());
    return grader::kExitUsage;
  } catch (const std::exception& error) {
    fmt::print(stderr, "grader: {}\n", error.what());
    return grader::kExitInfrastructure;
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Memory Wall Labs: grade the labs, list them, check the machine, tell stories, serve, quantize, "
      "speculate, plan memory",
      "grader");
  grader::Context context;
  // KIT_ROOT and KIT_BUILD_DIR are how ./kit tells where it works; --root is for tests.
  context.root = from_environment("KIT_ROOT", GRADER_SOURCE_ROOT);
  app.add_option("--root", context.root, "Top of the source tree")->group("");
  app.require_subcommand(1);
  app.failure_message(CLI::FailureMessage::simple);
  add_grade_command(app, context);
  add_list_command(app, context);
  add_doctor_command(app, context);
  add_generate_command(app, context);
  add_gpu_command(app, context);
  add_kernel_command(app, context);
  add_plan_command(app, context);
  add_record_command(app, context);
  add_serve_command(app, context);
  add_quantize_command(app, context);
  add_speculate_command(app, context);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return explain(app, error);
  }
  context.root = std::filesystem::absolute(context.root).lexically_normal();
  context.build_dir = std::filesystem::absolute(from_environment("KIT_BUILD_DIR", context.root / "build"));
  return run(context);
}
