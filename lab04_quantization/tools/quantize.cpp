#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kit/step_executor.h"
#include "kit/tokenizer.h"
#include "quantize_schemes.h"

// Quantizes a model with the implementation it is linked with (lab04_quantize_student or _solution) and
// measures what that costs. `./kit quantize` builds and runs it.

namespace {

using kit::ModelQuality;
using kit::Tensor;
using lab04_tools::Model;
using lab04_tools::Quantized;
using lab04_tools::Scheme;

struct Options {
  std::filesystem::path model;
  std::vector<std::string> methods;
  std::filesystem::path text;
  int n_texts = 16;
  int n_tokens = 192;
  int outliers = 0;
  bool asymmetric = false;
  bool json = false;
  lab04_tools::Options scheme;
};

void add_options(CLI::App& app, Options& options) {
  std::vector<std::string> names;
  for (const Scheme& scheme : lab04_tools::schemes()) names.push_back(scheme.name);
  app.add_option("--model", options.model, "Model directory: config.json, model.safetensors")->required();
  app.add_option("--method", options.methods, "Ways to quantize; all of them when none is given")
      ->delimiter(',')
      ->check(CLI::IsMember(names));
  app.add_option("--bits", options.scheme.grid.bits, "Of rtn, gptq and awq")
      ->check(CLI::Range(2, 8))
      ->capture_default_str();
  app.add_option("--group-size", options.scheme.grid.group_size,
                 "Weights that share a scale; 0 is a whole row")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_flag("--asymmetric", options.asymmetric, "Grids with a zero point");
  app.add_flag("--act-order", options.scheme.act_order, "GPTQ: columns with large inputs first");
  app.add_option("--alpha", options.scheme.alpha, "SmoothQuant's exponent")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_option(
         "--outliers", options.outliers,
         "Make this many channels of every norm's output 30 times as large, without changing the model")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--text", options.text, "Measure on this text, too: KL and perplexity")
      ->check(CLI::ExistingFile);
  app.add_option("--texts", options.n_texts, "Texts that the model writes to be measured on")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--tokens", options.n_tokens, "Tokens of each")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
  app.add_option("--seed", options.scheme.seed, "Of texts and calibration")->capture_default_str();
  app.add_flag("--json", options.json, "Print JSON");
}

/// A text in pieces that the model can read.
kit::TokenSequences read_text(const Options& options, const kit::ModelConfig& config) {
  std::ifstream file(options.text, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  KIT_CHECK(!file.bad(), "cannot read {}", options.text.string());
  const std::vector<int> tokens = kit::Tokenizer::load(options.model / "tokenizer.json").encode(text);
  KIT_CHECK(tokens.size() >= 2, "{} has {} tokens; at least 2 are needed", options.text.string(),
            tokens.size());
  kit::TokenSequences pieces;
  const auto length = static_cast<std::size_t>(config.max_seq_len);
  for (std::size_t begin = 0; begin + 1 < tokens.size(); begin += length) {
    const std::size_t end = std::min(tokens.size(), begin + length);
    pieces.emplace_back(tokens.begin() + static_cast<std::ptrdiff_t>(begin),
                        tokens.begin() + static_cast<std::ptrdiff_t>(end));
  }
  return pieces;
}

/// What the original says about some texts.
struct Measure {
  std::string name;
  kit::TokenSequences texts;
  std::vector<Tensor<float>> reference;

  Measure(std::string what, kit::TokenSequences sequences, const Model& model)
      : name(std::move(what)), texts(std::move(sequences)) {
    const auto llama = kit::make_llama(model.config, model.weights, kit::gathered_attention_ops());
    reference = kit::all_logits(*llama, texts);
  }

  ModelQuality operator()(const Model& model, const Quantized& q) const {
    const auto llama = kit::make_llama(model.config, q.weights, kit::gathered_attention_ops(), q.linear);
    if (!q.make_cache) return kit::model_quality(texts, reference, kit::all_logits(*llama, texts));
    std::vector<Tensor<float>> logits;
    for (const std::vector<int>& text : texts) {
      const auto cache = q.make_cache(model.config.kv_cache_config(static_cast<int>(text.size())));
      logits.push_back(llama->forward(text, *cache, kit::Logits::kAll));
    }
    return kit::model_quality(texts, reference, logits);
  }
};

struct Row {
  std::string name;
  std::string what;
  double bits_per_weight = 32.0;
  std::vector<ModelQuality> quality;  // one for each Measure
};

std::int64_t n_weights(const Model& model) {
  std::int64_t n = 0;
  for (const kit::LinearId id : kit::linears_of(model.config)) n += kit::weight_of(*model.weights, id).size();
  return n;
}

Row measure(const Scheme& scheme, const Model& model, const Options& options,
            const std::vector<Measure>& measures) {
  const Quantized q = scheme.quantize(model, options.scheme);
  Row row{.name = scheme.name, .what = scheme.what, .bits_per_weight = 32.0, .quality = {}};
  if (scheme.has_grid) {
    const lab04::GroupConfig& grid = options.scheme.grid;
    const std::string of = grid.group_size == 0 ? "rows" : std::to_string(grid.group_size);
    row.what =
        fmt::format("{} of {}, {} bits{}", scheme.what, of, grid.bits, grid.symmetric ? "" : ", asymmetric");
  }
  if (q.n_bytes > 0) {
    row.bits_per_weight = 8.0 * static_cast<double>(q.n_bytes) / static_cast<double>(n_weights(model));
  }
  for (const Measure& each : measures) row.quality.push_back(each(model, q));
  return row;
}

void print_table(const std::vector<Measure>& measures, const std::vector<Row>& rows) {
  for (std::size_t m = 0; m < measures.size(); ++m) {
    const ModelQuality& first = rows.front().quality[m];
    fmt::print("\n{}: {} tokens; perplexity in float {:.3f}\n", measures[m].name, first.n_tokens,
               std::exp(first.reference_nll));
    fmt::print("{:<12} {:>5}  {:>9}  {:>7}  {:>7}  {:>10}  {}\n", "method", "bits", "KL", "+-", "top-1",
               "perplexity", "what");
    for (const Row& row : rows) {
      const ModelQuality& q = row.quality[m];
      fmt::print("{:<12} {:>5.2f}  {:>9.3g}  {:>7.1g}  {:>6.2f}%  {:>10.3f}  {}\n", row.name,
                 row.bits_per_weight, q.kl, q.kl_standard_error, 100.0 * q.top1_agreement, std::exp(q.nll),
                 row.what);
    }
  }
}

void print_json(const std::vector<Measure>& measures, const std::vector<Row>& rows) {
  nlohmann::ordered_json json = {{"schema", "memory-wall-labs/quantize/1"},
                                 {"rows", nlohmann::json::array()}};
  for (const Row& row : rows) {
    for (std::size_t m = 0; m < measures.size(); ++m) {
      const ModelQuality& q = row.quality[m];
      json["rows"].push_back({{"method", row.name},
                              {"what", row.what},
                              {"text", measures[m].name},
                              {"bits_per_weight", row.bits_per_weight},
                              {"n_tokens", q.n_tokens},
                              {"kl", q.kl},
                              {"kl_standard_error", q.kl_standard_error},
                              {"top1_agreement", q.top1_agreement},
                              {"nll", q.nll},
                              {"reference_nll", q.reference_nll}});
    }
  }
  fmt::print("{}\n", json.dump(2));
}

int run(Options options) {
  options.scheme.grid.symmetric = !options.asymmetric;
  const kit::ModelConfig config = kit::load_config(options.model);
  Model model{config,
              std::make_shared<const kit::LlamaWeights>(kit::load_llama_weights(options.model, config))};
  if (options.outliers > 0) {
    kit::Rng rng(options.scheme.seed, 4);
    model.weights = std::make_shared<const kit::LlamaWeights>(
        kit::with_outliers(*model.weights, options.outliers, 30.0F, rng));
  }
  kit::Rng rng(options.scheme.seed, 1);
  std::vector<Measure> measures;
  measures.emplace_back("texts that the model wrote",
                        kit::sample_texts(config, model.weights, options.n_texts, options.n_tokens, rng),
                        model);
  if (!options.text.empty()) {
    measures.emplace_back(options.text.filename().string(), read_text(options, config), model);
  }
  std::vector<Row> rows;
  for (const Scheme& scheme : lab04_tools::schemes()) {
    const bool is_wanted =
        options.methods.empty() ||
        std::find(options.methods.begin(), options.methods.end(), scheme.name) != options.methods.end();
    if (is_wanted) rows.push_back(measure(scheme, model, options, measures));
  }
  if (options.json) {
    print_json(measures, rows);
  } else {
    fmt::print(
        "{}: {} weights in the linears of {} layers. bits: a weight's, scales included. KL: nats a token.\n",
        options.model.string(), n_weights(model), config.n_layers);
    print_table(measures, rows);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Quantizes a model in many ways and measures what each costs", "quantize");
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
