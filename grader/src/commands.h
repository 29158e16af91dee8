#pragma once

#include <CLI/CLI.hpp>

#include <filesystem>
#include <functional>

/// The subcommands, one file each. A command adds its options to the app and, when the user names it, leaves
/// in `context.run` what to do once the command line is understood.
namespace grader {

struct Context {
  std::filesystem::path root;       ///< top of the source tree
  std::filesystem::path build_dir;  ///< configured build folder
  std::function<int()> run;         ///< returns the exit status
};

void add_grade_command(CLI::App& app, Context& context);
void add_list_command(CLI::App& app, Context& context);
void add_doctor_command(CLI::App& app, Context& context);
void add_generate_command(CLI::App& app, Context& context);
void add_gpu_command(CLI::App& app, Context& context);
void add_kernel_command(CLI::App& app, Context& context);
void add_plan_command(CLI::App& app, Context& context);
void add_record_command(CLI::App& app, Context& context);
void add_quantize_command(CLI::App& app, Context& context);
void add_serve_command(CLI::App& app, Context& context);
void add_speculate_command(CLI::App& app, Context& context);

}  // namespace grader
