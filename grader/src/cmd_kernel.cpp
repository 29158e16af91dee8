#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "commands.h"
#include "grader/build.h"
#include "grader/error.h"
#include "grader/exit_status.h"
#include "grader/files.h"
#include "grader/kernel_report.h"
#include "grader/process.h"
#include "grader/rubric.h"

namespace grader {

namespace {

struct Options {
  std::string test;
  std::string lab;
  std::string impl = "student";
  std::string device = "a100-80gb";
  std::string json_file;
  bool annotate = false;
};

bool has_kernels(const std::filesystem::path& folder) {
  const auto is_kernel = [](const auto& entry) { return entry.path().extension() == ".cu"; };
  std::error_code error;
  const std::filesystem::directory_iterator files(folder / "src", error);
  return !error && std::any_of(begin(files), end(files), is_kernel);
}

/// The labs whose kernels are asked for.
std::vector<Rubric> labs_with_kernels(const Options& options, const Context& context) {
  std::vector<Rubric> labs = load_labs(context.root);
  if (!options.lab.empty()) labs = select_labs(labs, {options.lab});
  std::erase_if(labs, [&](const Rubric& lab) { return !has_kernels(context.root / lab.folder); });
  if (labs.empty()) throw UsageError("no lab here has CUDA kernels");
  return labs;
}

/// Runs the lab's CUDA tests and returns what they reported. A test that fails still shows what its launches
/// did.
std::string run_tests(const Rubric& lab, const Options& options, const Context& context, Progress& progress) {
  const std::string variant = options.impl == "solutions" ? "solution" : "student";
  if (options.impl == "solutions" &&
      !std::filesystem::is_directory(context.root / "solutions" / lab.folder)) {
    throw UsageError(
        fmt::format("there is no solutions/{} here: this copy has the student's part only", lab.folder));
  }
  const std::string target = fmt::format("{}_tests_{}", lab.id, variant);
  const BuildTree tree(context.root, context.build_dir);
  progress.stage("building " + target);
  const BuildTree::Outcome outcome = tree.build({target}, progress);
  if (!outcome.ok) {
    throw InfrastructureError(
        fmt::format("{} does not build:\n{}", target, first_errors(outcome.output, context.root)));
  }
  progress.stage("running the CUDA tests of " + lab.id);
  const ScratchFolder scratch(context.build_dir / "kernel");
  const std::filesystem::path report = scratch.path() / "report";
  Command command;
  command.argv = {(context.build_dir / lab.folder / target).string(),
                  "--gtest_filter=" + (options.test.empty() ? std::string("*Cuda*") : options.test)};
  command.environment = {{"KIT_KERNEL_REPORT", report.string()}};
  command.limits.wall_seconds = 600;
  const ProcessResult result = run_process(command);
  if (!std::filesystem::exists(report)) {
    if (result.succeeded()) return "";
    throw InfrastructureError(fmt::format("{} ended without a report:\n{}", target, result.output));
  }
  if (!result.succeeded()) fmt::print(stderr, "{}\n", result.output);
  return read_file(report);
}

int run_kernel(const Options& options, const Context& context) {
  const kit::Device& device = kit::find_device(options.device);
  const InterruptGuard guard;
  Progress silent;
  TerminalProgress line(stderr);
  Progress& progress = ::isatty(STDERR_FILENO) == 1 ? static_cast<Progress&>(line) : silent;
  std::string report;
  for (const Rubric& lab : labs_with_kernels(options, context))
    report += run_tests(lab, options, context, progress);
  line.clear();
  const std::vector<KernelLaunches> kernels = parse_kernel_report(report);
  if (kernels.empty()) {
    fmt::print(stderr, "grader: no CUDA test {}launched a kernel\n",
               options.test.empty() ? "" : fmt::format("matching '{}' ", options.test));
    return kExitUsage;
  }
  if (!options.json_file.empty()) write_file(options.json_file, kernel_json(kernels));
  fmt::print("{}", options.annotate ? annotate_source(kernels) : kernel_table(kernels, device));
  return kExitGraded;
}

}  // namespace

void add_kernel_command(CLI::App& app, Context& context) {
  const auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("kernel", "What your CUDA kernels cost: sectors, bank conflicts, by line");
  command->add_option("test", options->test,
                      "Tests, with wildcards: 'TransposeCuda.*' (default: all CUDA tests)");
  command->add_option("--lab", options->lab, "A lab (default: all that have kernels)");
  command->add_option("--impl", options->impl, "Whose code: student (src/) or solutions")
      ->check(CLI::IsMember({"student", "solutions"}))
      ->capture_default_str();
  command->add_option("--device", options->device, "For whose bandwidth the floor is computed")
      ->capture_default_str();
  command->add_flag("--annotate", options->annotate,
                    "The source with each line's costs, instead of the table");
  command->add_option("--json", options->json_file, "Write the counts to this file, too");
  command->callback(
      [options, &context] { context.run = [options, &context] { return run_kernel(*options, context); }; });
}

}  // namespace grader
