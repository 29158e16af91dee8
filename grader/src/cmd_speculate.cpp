#include <memory>

#include "commands.h"
#include "lab_tool.h"

namespace grader {

namespace {

// The lab whose tool speculates, and the pair of models it takes.
const LabTool kTool = {"lab06", "lab06_speculative", "speculate"};
constexpr const char* kModel = "models/target";
constexpr const char* kDraft = "models/draft";

/// An option that the tool knows by the same name. Values are the tool's to check.
struct Forwarded {
  const char* name;
  const char* help;
  std::string value = {};
};

struct Options {
  std::string impl = "student";
  std::string model;
  std::string draft;
  std::vector<Forwarded> values = {
      {"--prompt", "Text to continue (default: Once upon a time)"},
      {"--gamma", "Draft tokens a round (default: 4)"},
      {"--ngram", "No draft model: look up suffixes of up to N tokens in the text so far"},
      {"-n,--max-new-tokens", "Tokens to write at most (default: 120)"},
      {"--temperature", "0 is greedy (default: 1)"},
      {"--top-k", "The k likeliest tokens only; 0 is all (default: 0)"},
      {"--top-p", "The likeliest tokens that make up p; 1 is all (default: 1)"},
      {"--seed", "Seed of the random numbers (default: 1)"},
      {"--html", "Write the coloured story as a page, too"},
      {"--svg", "Write the coloured story as a picture, too"}};
};

std::vector<std::string> forwarded(const CLI::App& command, const Options& options, const Context& context) {
  std::vector<std::string> arguments = {
      "--model", options.model.empty() ? (context.root / kModel).string() : options.model, "--draft",
      options.draft.empty() ? (context.root / kDraft).string() : options.draft};
  for (const Forwarded& option : options.values) {
    const std::string name = std::string(option.name).substr(std::string(option.name).find(',') + 1);
    if (command.count(name) == 0) continue;
    arguments.push_back(name);
    arguments.push_back(option.value);
  }
  return arguments;
}

}  // namespace

void add_speculate_command(CLI::App& app, Context& context) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "speculate", "Let the shipped pair of models write a story with your speculative decoding");
  command->add_option("--impl", options->impl, "Whose code: student (src/) or solutions")
      ->check(CLI::IsMember({"student", "solutions"}))
      ->capture_default_str();
  command->add_option("--model", options->model, "Directory of the target (default: models/target)");
  command->add_option("--draft", options->draft, "Directory of the draft model (default: models/draft)");
  for (Forwarded& option : options->values) command->add_option(option.name, option.value, option.help);
  command->callback([command, options, &context] {
    context.run = [command, options, &context]() -> int {
      become_lab_tool(context, kTool, options->impl, forwarded(*command, *options, context));
    };
  });
}

}  // namespace grader
