#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kit/llama.h"
#include "kit/tokenizer.h"
#include "lab02/attention.h"
#include "lab02/attention_with_cache.h"
#include "lab02/generate.h"

// Tells a story with the implementation it is linked with: lab02_generate_student or lab02_generate_solution.
// `./kit generate` builds and runs it.

namespace {

struct Options {
  std::filesystem::path model;
  std::string prompt = "Once upon a time";
  std::vector<int> prompt_ids;
  kit::SamplingConfig sampling{.max_new_tokens = 200, .temperature = 0.8F};
  std::uint64_t seed = 1;
  bool no_cache = false;
  bool print_ids = false;
};

const CLI::Validator kNotNegative(
    [](const std::string& text) { return text.starts_with('-') ? text + " is negative" : std::string(); },
    "");

void add_options(CLI::App& app, Options& options) {
  app.add_option("--model", options.model, "Model directory: config.json, model.safetensors, tokenizer.json")
      ->required();
  auto* prompt = app.add_option("--prompt", options.prompt, "Text to continue")->capture_default_str();
  app.add_option("--prompt-ids", options.prompt_ids,
                 "Token ids to continue, 1,2,3: for a model without a tokenizer")
      ->delimiter(',')
      ->excludes(prompt);
  app.add_option("-n,--max-new-tokens", options.sampling.max_new_tokens, "Tokens to generate at most")
      ->check(kNotNegative)
      ->capture_default_str();
  app.add_option("--temperature", options.sampling.temperature, "0 is greedy")
      ->check(kNotNegative)
      ->capture_default_str();
  app.add_option("--seed", options.seed, "Seed of the random numbers")->capture_default_str();
  app.add_flag("--no-cache", options.no_cache, "Use generate_without_cache");
  app.add_flag("--print-ids", options.print_ids, "Print token ids instead of text");
}

void print(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);  // a story is read as it is written
}

std::optional<kit::Tokenizer> load_tokenizer(const Options& options) {
  const auto file = options.model / "tokenizer.json";
  if (std::filesystem::exists(file)) return kit::Tokenizer::load(file);
  KIT_CHECK(!options.prompt_ids.empty(), "{} has no tokenizer.json: give the prompt as --prompt-ids 1,2,3",
            options.model.string());
  return std::nullopt;
}

/// Prints tokens as they come, as text where the model has a tokenizer.
class Printer {
 public:
  Printer(const std::optional<kit::Tokenizer>& tokenizer, bool ids) : ids_(ids || !tokenizer) {
    if (!ids_) decoder_.emplace(*tokenizer);
  }
  void token(int id) {
    print(ids_ ? fmt::format("{}{}", std::exchange(first_, false) ? "" : ",", id) : decoder_->push(id));
  }
  void prompt(const Options& options, const std::vector<int>& ids,
              const std::optional<kit::Tokenizer>& tokenizer) {
    if (ids_) return;  // ids are for other programs: the new tokens alone
    print(options.prompt_ids.empty() ? options.prompt : tokenizer->decode(ids));
  }
  void finish() {
    if (!ids_) print(decoder_->finish());
    print("\n");
  }

 private:
  bool ids_;
  bool first_ = true;
  std::optional<kit::StreamDecoder> decoder_;
};

int run(const Options& options) {
  const auto tokenizer = load_tokenizer(options);
  const auto model = kit::load_llama(
      options.model, {.attention = lab02::attention, .attention_with_cache = lab02::attention_with_cache});
  const std::vector<int> prompt =
      options.prompt_ids.empty() ? tokenizer->encode(options.prompt) : options.prompt_ids;

  Printer printer(tokenizer, options.print_ids);
  kit::Rng rng(options.seed);
  const auto generate = options.no_cache ? lab02::generate_without_cache : lab02::generate_with_cache;
  bool first = true;
  const auto start = std::chrono::steady_clock::now();
  const auto tokens = generate(*model, prompt, options.sampling, rng, [&](int id) {
    if (std::exchange(first, false))
      printer.prompt(options, prompt, tokenizer);  // not before the request is checked
    printer.token(id);
  });
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  printer.finish();

  // The summary goes to stderr, so that the story alone can be piped.
  fmt::print(stderr,
             "\n{} cache: {} tokens from a prompt of {} in {:.2f} s, {:.1f} tokens/s; {} tokens processed by "
             "the model\n",
             options.no_cache ? "without a" : "with the", tokens.size(), prompt.size(), seconds.count(),
             static_cast<double>(tokens.size()) / seconds.count(), model->tokens_processed());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Continue a text with the lab's generation loop, cache and attention", "generate");
  Options options;
  add_options(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  try {
    return run(options);
  } catch (const kit::NotImplemented& error) {
    fmt::print(stderr, "\n{}\nWrite it first (./kit grade shows where), or try --impl solutions.\n",
               error.what());
  } catch (const std::exception& error) {
    fmt::print(stderr, "\nerror: {}\n", error.what());
  }
  return 1;
}
