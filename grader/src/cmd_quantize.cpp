#include <memory>

#include "commands.h"
#include "lab_tool.h"

namespace grader {

namespace {

// The lab whose tool quantizes, and the model it takes.
const LabTool kTool = {"lab04", "lab04_quantization", "quantize"};
constexpr const char* kModel = "models/target";

/// An option that the tool knows by the same name. Values are the tool's to check.
struct Forwarded {
  const char* name;
  const char* help;
  std::string value = {};
};

struct Options {
  std::string impl = "student";
  std::string model;
  std::vector<Forwarded> values = {
      {"--method", "Ways to quantize, by commas: int8, rtn, gptq, awq, ... (default: all)"},
      {"--bits", "Of rtn, gptq and awq (default: 4)"},
      {"--group-size", "Weights that share a scale; 0 is a whole row (default: 64)"},
      {"--alpha", "SmoothQuant's exponent (default: 0.5)"},
      {"--outliers", "Channels of every norm's output to make 30 times as large (default: 0)"},
      {"--text", "A file to measure on, too: KL and perplexity"},
      {"--texts", "Texts that the model writes to be measured on (default: 16)"},
      {"--tokens", "Tokens of each (default: 192)"},
      {"--seed", "Of texts and calibration (default: 1)"}};
  bool asymmetric = false;
  bool act_order = false;
  bool json = false;
};

std::vector<std::string> forwarded(const CLI::App& command, const Options& options, const Context& context) {
  std::vector<std::string> arguments = {
      "--model", options.model.empty() ? (context.root / kModel).string() : options.model};
  for (const Forwarded& option : options.values) {
    if (command.count(option.name) == 0) continue;
    arguments.emplace_back(option.name);
    arguments.push_back(option.value);
  }
  if (options.asymmetric) arguments.emplace_back("--asymmetric");
  if (options.act_order) arguments.emplace_back("--act-order");
  if (options.json) arguments.emplace_back("--json");
  return arguments;
}

}  // namespace

void add_quantize_command(CLI::App& app, Context& context) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "quantize", "Quantize a model with your code in many ways, and measure KL, bytes and perplexity");
  command->add_option("--impl", options->impl, "Whose code: student (src/) or solutions")
      ->check(CLI::IsMember({"student", "solutions"}))
      ->capture_default_str();
  command->add_option("--model", options->model, "Model directory (default: models/target)");
  for (Forwarded& option : options->values) command->add_option(option.name, option.value, option.help);
  command->add_flag("--asymmetric", options->asymmetric, "Grids with a zero point");
  command->add_flag("--act-order", options->act_order, "GPTQ: columns with large inputs first");
  command->add_flag("--json", options->json, "Print JSON");
  command->callback([command, options, &context] {
    context.run = [command, options, &context]() -> int {
      become_lab_tool(context, kTool, options->impl, forwarded(*command, *options, context));
    };
  });
}

}  // namespace grader
