#include <memory>

#include "commands.h"
#include "lab_tool.h"

namespace grader {

namespace {

// The lab whose tool tells the story, and the model it tells it with.
const LabTool kTool = {"lab02", "lab02_kv_cache", "generate"};
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

int run_generate(const CLI::App& command, const Options& options, const Context& context) {
  become_lab_tool(context, kTool, options.impl, forwarded(command, options, context));
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
