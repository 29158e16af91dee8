#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kit/llama.h"
#include "kit/step_executor.h"
#include "kit/tokenizer.h"
#include "lab06/ngram.h"
#include "lab06/rollback.h"
#include "lab06/speculative_decoder.h"

// Tells a story with speculation by the implementation it is linked with (lab06_speculate_student or
// _solution), and shows which tokens were the draft's. `./kit speculate` builds and runs it.

namespace {

struct Options {
  std::filesystem::path model;
  std::filesystem::path draft;
  std::string prompt = "Once upon a time";
  int gamma = 4;
  int ngram = 0;
  int max_new_tokens = 120;
  std::uint64_t seed = 1;
  lab06::SamplingRule rule;
  std::filesystem::path html;
  std::filesystem::path svg;
};

/// Passes everything on to a model, and remembers what it was asked: the evidence of what was drafted.
class RecordedModel final : public kit::Model {
 public:
  struct Call {
    int first_pos = 0;
    std::vector<int> tokens;
  };

  explicit RecordedModel(std::unique_ptr<kit::Model> inner) : inner_(std::move(inner)) {}
  const kit::ModelConfig& config() const override { return inner_->config(); }
  const std::vector<Call>& recorded() const { return recorded_; }

 protected:
  kit::Tensor<float> run(std::span<const int> tokens, kit::KvCache* cache, kit::Logits which) override {
    recorded_.push_back({cache == nullptr ? 0 : cache->length(0), {tokens.begin(), tokens.end()}});
    return cache == nullptr ? inner_->forward(tokens, which) : inner_->forward(tokens, *cache, which);
  }

 private:
  std::unique_ptr<kit::Model> inner_;
  std::vector<Call> recorded_;
};

enum class Origin { kPrompt, kAccepted, kTarget, kRejected };

/// A piece of the story. Rejected tokens stand before the token that took their place.
struct Piece {
  Origin origin = Origin::kPrompt;
  std::string text;
};

/// Draft tokens of a round.
struct RoundCounts {
  int n_drafted = 0;
  int n_accepted = 0;
};

struct Story {
  std::vector<Piece> pieces;
  std::vector<RoundCounts> rounds;
  int n_tokens = 0;
  int n_draft_calls = 0;
};

/// Tells accepted, rejected and the target's own tokens from the calls of the target: a call runs tokens that
/// are known, then the draft; of the draft those were accepted that are in the text.
Story read_story(const std::vector<int>& prompt, const std::vector<int>& written, const RecordedModel& target,
                 const kit::Tokenizer& tokenizer) {
  std::vector<int> text = prompt;
  text.insert(text.end(), written.begin(), written.end());
  const auto decode = [&](int token) { return tokenizer.decode(std::vector<int>{token}, true); };
  Story story{.pieces = {{Origin::kPrompt, tokenizer.decode(prompt)}},
              .rounds = {},
              .n_tokens = static_cast<int>(written.size())};
  std::size_t known = prompt.size();
  for (const RecordedModel::Call& call : target.recorded()) {
    RoundCounts counts;
    const std::size_t n_before = known - static_cast<std::size_t>(call.first_pos);
    bool is_right = true;
    std::string rejected;
    for (std::size_t i = n_before; i < call.tokens.size(); ++i) {
      counts.n_drafted += 1;
      is_right = is_right && known < text.size() && text[known] == call.tokens[i];
      if (is_right) {
        counts.n_accepted += 1;
        story.pieces.push_back({Origin::kAccepted, decode(text[known++])});
      } else {
        // A line break that was not kept is shown, not made.
        for (const char c : decode(call.tokens[i]))
          rejected += c == '\n' ? std::string("\u21b5") : std::string(1, c);
      }
    }
    if (!rejected.empty()) story.pieces.push_back({Origin::kRejected, rejected});
    if (known < text.size()) story.pieces.push_back({Origin::kTarget, decode(text[known++])});
    story.rounds.push_back(counts);
  }
  return story;
}

void print_story(const Story& story, bool in_colour) {
  // Not by colour alone: accepted tokens are underlined, rejected ones struck out, in plain text in brackets.
  for (const Piece& piece : story.pieces) {
    const char* begin = "";
    const char* end = in_colour ? "\033[0m" : "";
    switch (piece.origin) {
      case Origin::kPrompt:
        begin = in_colour ? "\033[2m" : "";
        break;
      case Origin::kAccepted:
        begin = in_colour ? "\033[4;32m" : "";
        break;
      case Origin::kTarget:
        begin = in_colour ? "\033[1;34m" : "";
        break;
      case Origin::kRejected:
        begin = in_colour ? "\033[9;31m" : "[-";
        end = in_colour ? "\033[0m" : "-]";
        break;
    }
    fmt::print("{}{}{}", begin, piece.text, end);
  }
  fmt::print("\n");
}

std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    if (c == '&') {
      result += "&amp;";
    } else if (c == '<') {
      result += "&lt;";
    } else if (c == '>') {
      result += "&gt;";
    } else {
      result += c;
    }
  }
  return result;
}

const char* css_class(Origin origin) {
  switch (origin) {
    case Origin::kAccepted:
      return "a";
    case Origin::kTarget:
      return "t";
    case Origin::kRejected:
      return "r";
    case Origin::kPrompt:
      break;
  }
  return "p";
}

// Okabe and Ito's colours, which colour-blind readers can tell apart; and each kind has a shape of its own.
constexpr const char* kStyle =
    ".p{fill:#666;color:#666}.a{fill:#009E73;color:#009E73;text-decoration:underline}"
    ".t{fill:#0072B2;color:#0072B2;font-weight:bold}.r{fill:#D55E00;color:#D55E00;text-decoration:line-"
    "through}";

void open_for_writing(std::ofstream& file, const std::filesystem::path& path) {
  file.open(path);
  KIT_CHECK(file.good(), "cannot write {}", path.string());
}

void write_html(const Story& story, const std::filesystem::path& path) {
  std::ofstream file;
  open_for_writing(file, path);
  file << "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>A story, "
          "speculated</title>\n<style>"
       << kStyle << " body{max-width:42em;margin:2em auto;font:18px/1.6 serif}</style>\n<p>";
  for (const Piece& piece : story.pieces)
    file << "<span class=\"" << css_class(piece.origin) << "\">" << escaped(piece.text) << "</span>";
  file << "</p>\n<p><span class=\"a\">accepted</span>, <span class=\"r\">rejected</span>, "
          "<span class=\"t\">the target's own</span>, <span class=\"p\">prompt</span></p>\n</html>\n";
}

/// Characters of UTF-8.
std::size_t n_characters(const std::string& text) {
  return static_cast<std::size_t>(
      std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

void write_svg(const Story& story, const std::filesystem::path& path) {
  constexpr double char_width = 8.43;  // of a monospaced font of 14 px
  constexpr int line_height = 24;
  constexpr std::size_t n_columns = 90;
  std::string body;
  std::size_t column = 0;
  int line = 0;
  const auto put = [&](Origin origin, const std::string& text) {
    body += fmt::format(
        "<text class=\"{}\" x=\"{:.1f}\" y=\"{}\" textLength=\"{:.1f}\" xml:space=\"preserve\">{}</text>\n",
        css_class(origin), 16 + static_cast<double>(column) * char_width, 32 + line * line_height,
        static_cast<double>(n_characters(text)) * char_width, escaped(text));
    column += n_characters(text);
  };
  for (const Piece& piece : story.pieces) {
    // Words, so that lines break between them; a token may hold a line break of its own.
    std::string word;
    const auto flush = [&] {
      if (column + n_characters(word) > n_columns) {
        column = 0;
        ++line;
      }
      if (!word.empty()) put(piece.origin, word);
      word.clear();
    };
    for (const char c : piece.text) {
      if (c == ' ' || c == '\n') flush();
      if (c != '\n') word += c;
      if (c != '\n') continue;
      column = 0;
      ++line;
    }
    flush();
  }
  column = 0;
  line += 2;
  for (const auto& [origin, label] :
       {std::pair{Origin::kAccepted, "accepted"}, std::pair{Origin::kRejected, "rejected"},
        std::pair{Origin::kTarget, "the target's own"}, std::pair{Origin::kPrompt, "prompt"}}) {
    put(origin, label);
    column += 3;
  }
  std::ofstream file;
  open_for_writing(file, path);
  const int height = 48 + line * line_height;
  file << fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 800 {0}\" role=\"img\" "
      "font-family=\"monospace\" "
      "font-size=\"14\">\n<title>A story, speculated</title>\n<desc>{1} tokens in {2} calls of the target. "
      "Accepted draft tokens are underlined, rejected ones struck out, the target's own bold.</desc>\n"
      "<style>{3}</style>\n<rect width=\"800\" height=\"{0}\" fill=\"#fff\"/>\n{4}</svg>\n",
      height, story.n_tokens, story.rounds.size(), kStyle, body);
}

/// Counted from the calls of the models, not by the implementation.
void print_statistics(const Story& story, const Options& options) {
  int n_drafted = 0;
  int n_accepted = 0;
  int n_tested = 0;  // up to the first rejection of each round
  for (const RoundCounts& counts : story.rounds) {
    n_drafted += counts.n_drafted;
    n_accepted += counts.n_accepted;
    n_tested += std::min(counts.n_accepted + 1, counts.n_drafted);
  }
  const auto n_calls = static_cast<double>(story.rounds.size());
  fmt::print("\n  tokens                    {}\n", story.n_tokens);
  fmt::print("  target calls              {}\n", story.rounds.size());
  if (options.ngram == 0) fmt::print("  draft calls               {}\n", story.n_draft_calls);
  fmt::print("  draft tokens              {}, {} of them accepted\n", n_drafted, n_accepted);
  fmt::print("  tokens per target call    {:.2f}\n", story.n_tokens / n_calls);
  if (n_tested == 0) return;
  const double alpha = static_cast<double>(n_accepted) / n_tested;
  fmt::print("  acceptance rate           {:.3f} of {} tokens that were tested\n", alpha, n_tested);
  if (options.ngram > 0) return;
  double expected = 0.0;
  for (int i = 0; i <= options.gamma; ++i) expected += std::pow(alpha, i);
  fmt::print("  by the formula            {:.2f} a call at this rate and gamma {}\n", expected,
             options.gamma);
}

int run(const Options& options) {
  const kit::Tokenizer tokenizer = kit::Tokenizer::load(options.model / "tokenizer.json");
  const std::vector<int> prompt = tokenizer.encode(options.prompt);
  KIT_CHECK(!prompt.empty(), "the prompt is empty");
  RecordedModel target(kit::load_llama(options.model, kit::gathered_attention_ops()));
  const auto cache_of = [](const kit::Model& model) {
    return lab06::make_contiguous_cache(model.config().kv_cache_config(model.config().max_seq_len));
  };
  const auto target_cache = cache_of(target);
  kit::Rng rng(options.seed);
  std::vector<int> written;
  int n_draft_calls = 0;
  if (options.ngram > 0) {
    const lab06::NgramConfig config{.min_n = 1, .max_n = options.ngram, .gamma = options.gamma};
    written = lab06::ngram_generate(target, *target_cache, prompt, config, options.rule,
                                    options.max_new_tokens, rng)
                  .tokens;
  } else {
    const auto draft = kit::load_llama(options.draft, kit::gathered_attention_ops());
    const auto draft_cache = cache_of(*draft);
    const lab06::SpeculativeConfig config{
        .gamma = options.gamma, .rule = options.rule, .max_new_tokens = options.max_new_tokens};
    written =
        lab06::speculative_generate(target, *target_cache, *draft, *draft_cache, prompt, config, rng).tokens;
    n_draft_calls = static_cast<int>(draft->calls().size());
  }
  Story story = read_story(prompt, written, target, tokenizer);
  story.n_draft_calls = n_draft_calls;
  const char* no_colour = std::getenv("NO_COLOR");
  print_story(story, no_colour == nullptr || *no_colour == '\0');
  print_statistics(story, options);
  if (!options.html.empty()) write_html(story, options.html);
  if (!options.svg.empty()) write_svg(story, options.svg);
  return 0;
}

void add_options(CLI::App& app, Options& options) {
  app.add_option("--model", options.model, "The target: config.json, model.safetensors, tokenizer.json")
      ->required();
  app.add_option("--draft", options.draft, "The draft model: config.json, model.safetensors")->required();
  app.add_option("--prompt", options.prompt, "Text to continue")->capture_default_str();
  app.add_option("--gamma", options.gamma, "Draft tokens a round")
      ->check(CLI::Range(0, 64))
      ->capture_default_str();
  app.add_option("--ngram", options.ngram,
                 "No draft model: look up suffixes of up to N tokens in the text so far")
      ->check(CLI::Range(1, 64));
  app.add_option("-n,--max-new-tokens", options.max_new_tokens, "Tokens to write at most")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--temperature", options.rule.temperature, "0 is greedy")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  app.add_option("--top-k", options.rule.top_k, "The k likeliest tokens only; 0 is all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--top-p", options.rule.top_p, "The likeliest tokens that make up p; 1 is all")
      ->check(CLI::Range(1e-9, 1.0))
      ->capture_default_str();
  app.add_option("--seed", options.seed, "Seed of the random numbers")->capture_default_str();
  app.add_option("--html", options.html, "Write the coloured story as a page, too");
  app.add_option("--svg", options.svg, "Write the coloured story as a picture, too");
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Tells a story with speculative decoding, and shows whose tokens it is made of", "speculate");
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
