#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "commands.h"
#include "grader/build.h"
#include "grader/error.h"
#include "grader/process.h"

namespace grader {

namespace {

// The lab whose tool tells the story, and the model it tells it with.
constexpr const char* kLab = "lab02";
constexpr const char* kFolder = "lab02_kv_cache";
constexpr const char* kModel = "models/target";

/// What the user gave, each under the name that the tool knows. Values are the tool's to check.
struct Options {
  std::string impl = "student";
  std::string model;
  std::string prompt;
  std::string prompt_ids;
  std::string n;
  std::string temperature;
  std::string seed;
  bool no_cache = false;
  bool print_ids = false;
};

std::vector<std::string> forwarded(const CLI::App& command, const Options& options, const Context& context) {
  std::vector<std::string> arguments = {
      "--model", options.model.empty() ? (context.root / kModel).string() : options.model};
  const auto forward = [&](const char* name, const std::string& value) {
    if (command.count(name) == 0) return;
    arguments.emplace_back(name);
    arguments.push_back(value);
  };
  forward("--prompt", options.prompt);
  forward("--prompt-ids", options.prompt_ids);
  forward("-n", options.n);
  forward("--temperature", options.temperature);
  forward("--seed", options.seed);
  if (options.no_cache) arguments.emplace_back("--no-cache");
  if (options.print_ids) arguments.emplace_back("--print-ids");
  return arguments;
}

std::filesystem::path build_tool(const Context& context, const std::string& impl) {
  const BuildTree tree(context.root, context.build_dir);
  if (impl == "solutions" && !std::filesystem::is_directory(context.root / "solutions" / kFolder)) {
    throw UsageError(
        fmt::format("there is no solutions/{} here: this copy has the student's part only", kFolder));
  }
  const std::string target =
      fmt::format("{}_generate_{}", kLab, impl == "solutions" ? "solution" : "student");
  const InterruptGuard guard;
  // A line that goes away again on a terminal; elsewhere nothing, since the story is all that was asked for.
  Progress silent;
  TerminalProgress line(stderr);
  Progress& progress = ::isatty(STDERR_FILENO) == 1 ? static_cast<Progress&>(line) : silent;
  progress.stage("building " + target);
  const BuildTree::Outcome outcome = tree.build({target}, progress);
  line.clear();
  if (outcome.ok) return context.build_dir / kFolder / target;
  fmt::print(stderr, "{}\n", outcome.output);
  throw InfrastructureError(fmt::format("{} does not build (above)", target));
}

int run_generate(const CLI::App& command, const Options& options, const Context& context) {
  const std::filesystem::path tool = build_tool(context, options.impl);
  std::vector<std::string> arguments = forwarded(command, options, context);
  arguments.insert(arguments.begin(), tool.string());
  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  std::fflush(nullptr);
  // Becoming the tool leaves the terminal, signals and exit status all its own.
  ::execv(tool.c_str(), argv.data());
  throw InfrastructureError(fmt::format("cannot run {}: {}", tool.string(), std::strerror(errno)));
}

}  // namespace

void add_generate_command(CLI::App& app, Context& context) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("generate", "Let a model continue a text with your code");
  command->add_option("--impl", options->impl, "Whose code: student (src/) or solutions")
      ->check(CLI::IsMember({"student", "solutions"}))
      ->capture_default_str();
  command->add_option("--model", options->model, "Model directory (default: models/target)");
  command->add_option("--prompt", options->prompt, "Text to continue (default: Once upon a time)");
  command->add_option("--prompt-ids", options->prompt_ids,
                      "Token ids to continue, 1,2,3: for a model without a tokenizer");
  command->add_option("-n,--max-new-tokens", options->n, "Tokens to generate at most (default: 200)");
  command->add_option("--temperature", options->temperature, "0 is greedy (default: 0.8)");
  command->add_option("--seed", options->seed, "Seed of the random numbers (default: 1)");
  command->add_flag("--no-cache", options->no_cache, "Generate without the cache");
  command->add_flag("--print-ids", options->print_ids, "Print token ids instead of text");
  command->callback([command, options, &context] {
    context.run = [command, options, &context] { return run_generate(*command, *options, context); };
  });
}

}  // namespace grader
