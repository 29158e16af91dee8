#include <memory>

#include "commands.h"
#include "lab_tool.h"

namespace grader {

namespace {

// The lab whose tool serves, and the model it serves.
const LabTool kTool = {"lab03", "lab03_batching", "serve"};
constexpr const char* kModel = "models/target";

/// What the user gave, each under the name that the tool knows. Values are the tool's to check.
struct Options {
  std::string impl = "student";
  std::string model;
  std::string requests;
  std::string max_num_seqs;
  std::string n;
  std::string gap;
  std::string seed;
  bool chatbot = false;
  bool offline = false;
};

std::vector<std::string> forwarded(const CLI::App& command, const Options& options, const Context& context) {
  std::vector<std::string> arguments = {
      "--model", options.model.empty() ? (context.root / kModel).string() : options.model};
  const auto forward = [&](const char* name, const std::string& value) {
    if (command.count(name) == 0) return;
    arguments.emplace_back(name);
    arguments.push_back(value);
  };
  forward("--requests", options.requests);
  forward("--max-num-seqs", options.max_num_seqs);
  forward("-n", options.n);
  forward("--gap", options.gap);
  forward("--seed", options.seed);
  if (options.chatbot) arguments.emplace_back("--chatbot");
  if (options.offline) arguments.emplace_back("--offline");
  return arguments;
}

}  // namespace

void add_serve_command(CLI::App& app, Context& context) {
  const auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("serve", "Serve many requests at once with your engine, as a chatbot and offline");
  command->add_option("--impl", options->impl, "Whose code: student (src/) or solutions")
      ->check(CLI::IsMember({"student", "solutions"}))
      ->capture_default_str();
  command->add_option("--model", options->model, "Model directory (default: models/target)");
  command->add_option("--requests", options->requests, "Requests of the workload (default: 24)");
  command->add_option("--max-num-seqs", options->max_num_seqs,
                      "Running requests, at most (default: 4 as a chatbot, 32 offline)");
  command->add_option("-n,--max-new-tokens", options->n, "Tokens of the longest story (default: 96)");
  command->add_option("--gap", options->gap, "Mean time between two arrivals, ms (default: 5)");
  command->add_option("--seed", options->seed, "Seed of the workload (default: 1)");
  command->add_flag("--chatbot", options->chatbot, "Only the chatbot's configuration");
  command->add_flag("--offline", options->offline, "Only the offline job's configuration");
  command->callback([command, options, &context] {
    context.run = [command, options, &context]() -> int {
      become_lab_tool(context, kTool, options->impl, forwarded(*command, *options, context));
    };
  });
}

}  // namespace grader
