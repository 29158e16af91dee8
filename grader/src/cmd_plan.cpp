#include <array>
#include <map>
#include <memory>

#include "commands.h"
#include "lab_tool.h"

namespace grader {

namespace {

const LabTool kTool = {"lab01", "lab01_memory_bandwidth", "plan"};

struct PlanOption {
  const char* name;
  const char* help;
};
// The tool's own options, in the order in which it gets them. Values are the tool's to check.
constexpr std::array<PlanOption, 9> kOptions = {{
    {"--model", "A model of the table, or a directory with a config.json (default: llama2-70b)"},
    {"--device", "A device of the table, or this-machine, which is then measured (default: a100-40gb)"},
    {"--batch", "Sequences at a time (default: 1)"},
    {"--seq", "Tokens of each sequence (default: all positions of the model)"},
    {"--dtype", "Weights: fp32, fp16, bf16, fp8, int8 or int4 (default: fp16)"},
    {"--kv-dtype", "Keys and values (default: as the activations)"},
    {"--group-size", "Weights that share an fp16 scale, for int8 and int4 (default: 128)"},
    {"--devices", "Devices that share the model, tensor parallel (default: 1)"},
    {"--json", "Write the plan to this file, too"},
}};

/// What the user gave.
struct Options {
  std::string impl = "student";
  std::map<std::string, std::string> values;  ///< by option name
  bool operations = false;
};

int run_plan(const CLI::App& command, const Options& options, const Context& context) {
  std::vector<std::string> arguments;
  for (const PlanOption& option : kOptions) {
    if (command.count(option.name) == 0) continue;
    arguments.emplace_back(option.name);
    arguments.push_back(options.values.at(option.name));
  }
  if (options.operations) arguments.emplace_back("--operations");
  become_lab_tool(context, kTool, options.impl, std::move(arguments));
}

}  // namespace

void add_plan_command(CLI::App& app, Context& context) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "plan", "Does a model fit on a device, how fast can it be, what to change: by your code");
  command->add_option("--impl", options->impl, "Whose code: student (src/) or solutions")
      ->check(CLI::IsMember({"student", "solutions"}))
      ->capture_default_str();
  for (const PlanOption& option : kOptions)
    command->add_option(option.name, options->values[option.name], option.help);
  command->add_flag("--operations", options->operations,
                    "Also show what holds each operation of a step back");
  command->callback([command, options, &context] {
    context.run = [command, options, &context] { return run_plan(*command, *options, context); };
  });
}

}  // namespace grader
