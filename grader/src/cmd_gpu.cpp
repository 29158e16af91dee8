#include <fmt/format.h>
#include <unistd.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "grader/build.h"
#include "grader/error.h"
#include "grader/exit_status.h"
#include "grader/files.h"
#include "grader/gpu.h"
#include "grader/process.h"

namespace grader {

namespace {

struct Options {
  std::string json_file;
  std::string architectures = "native";
  std::string folder = "build-cuda";
};

/// Configures preset cuda for the card that is here, once; another card or nvcc needs a fresh folder.
void configure(const Context& context, const std::filesystem::path& folder, const GpuTools& tools,
               const Options& options) {
  Command command;
  command.argv = {"cmake", "--preset",      "cuda",
                  "-B",    folder.string(), "-DCMAKE_CUDA_ARCHITECTURES=" + options.architectures};
  command.environment = {{"CUDACXX", tools.nvcc.string()}};
  command.folder = context.root.string();
  const ProcessResult result = run_process(command);
  if (result.succeeded()) return;
  fmt::print(stderr, "{}\n", result.output);
  throw InfrastructureError("cmake --preset cuda failed (above)");
}

void build(const BuildTree& tree, Progress& progress) {
  progress.stage("building the GPU programs");
  const BuildTree::Outcome outcome = tree.build({"gpu"}, progress);
  // What did not build is named in the table; a student's kernel must not keep the others from running.
  if (!outcome.ok)
    fmt::print(stderr, "grader: not everything builds:\n{}\n", first_errors(outcome.output, tree.root()));
}

int run_gpu(const Options& options, const Context& context) {
  const GpuTools tools = find_gpu_tools(ToolPlaces::of_this_machine());
  if (const std::string missing = missing_for_gpu(tools); !missing.empty())
    throw InfrastructureError(fmt::format("./kit gpu needs the CUDA Toolkit and a GPU\n{}", missing));
  const InterruptGuard guard;
  Progress silent;
  TerminalProgress line(stderr);
  Progress& progress = ::isatty(STDERR_FILENO) == 1 ? static_cast<Progress&>(line) : silent;
  const std::filesystem::path folder = context.root / options.folder;
  progress.stage("configuring " + folder.string());
  configure(context, folder, tools, options);
  build(BuildTree(context.root, folder), progress);
  const GpuResults results = run_on_gpu(folder, tools, progress);
  line.clear();
  const std::filesystem::path json =
      options.json_file.empty() ? folder / "gpu_results.json" : std::filesystem::path(options.json_file);
  write_file(json, to_json(results).dump(1) + "\n");
  fmt::print("{}\nresults: {}\n", gpu_table(results), json.string());
  return results.all_well() ? kExitGraded : kExitUnderThreshold;
}

}  // namespace

void add_gpu_command(CLI::App& app, Context& context) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "gpu",
      "Everything that needs a GPU: build for it, all CUDA tests and benchmarks, ncu, compute-sanitizer");
  command->add_option("--json", options->json_file,
                      "Write the results here (default: gpu_results.json where it builds)");
  command->add_option("--architectures", options->architectures, "CMAKE_CUDA_ARCHITECTURES")
      ->capture_default_str();
  command->add_option("--folder", options->folder, "Where to build, in the source tree")
      ->capture_default_str();
  command->callback(
      [options, &context] { context.run = [options, &context] { return run_gpu(*options, context); }; });
}

}  // namespace grader
