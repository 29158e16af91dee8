#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "kit/llama.h"
#include "kit/reference.h"
#include "kit/request_times.h"
#include "kit/rng.h"
#include "kit/step_executor.h"
#include "kit/tokenizer.h"
#include "lab03/engine.h"
#include "lab03/metrics.h"
#include "lab03/scheduler.h"

// Serves one small workload with two configurations of the same engine, with the implementation it is linked
// with: lab03_serve_student or lab03_serve_solution. `./kit serve` builds and runs it.

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kBlockSize = 16;
constexpr std::array kBeginnings = {"Once upon a time",
                                    "The old house stood at the end of the lane, and",
                                    "\"I do not believe it,\" said the captain,",
                                    "It was a cold morning in November when",
                                    "My dear sister, you will hardly",
                                    "The door opened, and there stood",
                                    "Nobody in the village had ever seen",
                                    "When the ship came into the harbour,",
                                    "He had lost everything but",
                                    "\"Tell me,\" said the doctor, \"what"};

struct Options {
  std::filesystem::path model;
  int n_requests = 24;
  int max_num_seqs = 0;     // 0: what the configuration says
  int max_new_tokens = 96;  // of the longest story
  double gap_ms = 5.0;
  std::uint64_t seed = 1;
  bool chatbot = false;
  bool offline = false;
};

struct Configuration {
  const char* name;
  const char* idea;
  int max_num_seqs;
  int max_num_batched_tokens;
};
constexpr Configuration kChatbot{"chatbot", "few at a time: each text flows quickly, the others queue", 4,
                                 32};
constexpr Configuration kOffline{
    "offline", "many at a time: the most tokens a second, each text flows more slowly", 32, 512};

struct Model {
  explicit Model(const std::filesystem::path& directory)
      : config(kit::load_config(directory)),
        weights(std::make_shared<const kit::LlamaWeights>(kit::load_llama_weights(directory, config))),
        tokenizer(kit::Tokenizer::load(directory / "tokenizer.json")) {}

  kit::ModelConfig config;
  std::shared_ptr<const kit::LlamaWeights> weights;
  kit::Tokenizer tokenizer;
};

struct Arrival {
  kit::GenerationRequest request;
  double ms = 0.0;
};

/// Beginnings of stories, which arrive at random times, want random lengths, and have seeds of their own.
std::vector<Arrival> make_workload(const Options& options, const kit::Tokenizer& tokenizer) {
  kit::Rng rng(options.seed);
  std::vector<Arrival> arrivals;
  double now_ms = 0.0;
  for (int i = 0; i < options.n_requests; ++i) {
    const int shortest = (options.max_new_tokens + 3) / 4;
    const int spread = options.max_new_tokens - shortest + 1;
    kit::GenerationRequest request;
    request.id = i;
    request.prompt = tokenizer.encode(kBeginnings[static_cast<std::size_t>(i) % kBeginnings.size()]);
    request.max_new_tokens = shortest + static_cast<int>(rng.below(static_cast<std::uint32_t>(spread)));
    request.temperature = 0.8F;
    request.seed = options.seed * 1000 + static_cast<std::uint64_t>(i);
    arrivals.push_back({std::move(request), now_ms});
    now_ms += -options.gap_ms * std::log(1.0 - rng.uniform());  // exponential gaps: a Poisson process
  }
  return arrivals;
}

/// What came of a workload.
struct Served {
  lab03::ServingSummary summary;
  double utilisation = 0.0;
  double tokens_per_step = 0.0;
  std::vector<std::vector<int>> stories;  ///< prompt and text, by request
};

/// One run of the engine against the clock on the wall.
class Server {
 public:
  Server(const Model& model, const Configuration& configuration)
      : tokenizer_(&model.tokenizer), max_num_seqs_(configuration.max_num_seqs) {
    const kit::ModelConfig& c = model.config;
    const int n_blocks = 2 * configuration.max_num_seqs * (c.max_seq_len / kBlockSize) / 3 + 1;
    executor_ = kit::make_llama_executor(c, model.weights,
                                         {c.n_layers, c.n_kv_heads, c.head_dim, kBlockSize, n_blocks},
                                         kit::gathered_paged_attention);
    scheduler_ = lab03::make_scheduler({.block_size = kBlockSize,
                                        .max_num_seqs = configuration.max_num_seqs,
                                        .max_num_batched_tokens = configuration.max_num_batched_tokens,
                                        .watermark_blocks = 1},
                                       kit::make_reference_block_allocator(n_blocks));
    engine_ = lab03::make_engine(executor_, scheduler_);
  }

  Served serve(const std::vector<Arrival>& arrivals) {
    served_.stories.resize(arrivals.size());
    start_ = Clock::now();
    std::size_t next = 0;
    while (next < arrivals.size() || engine_->has_work()) {
      if (!engine_->has_work())
        std::this_thread::sleep_until(start_ + std::chrono::duration<double, std::milli>(arrivals[next].ms));
      for (; next < arrivals.size() && arrivals[next].ms <= now_ms(); ++next) arrive(arrivals[next]);
      if (engine_->has_work()) step();
    }
    std::vector<kit::RequestTimes> times;
    for (const auto& [id, t] : times_) times.push_back(t);
    served_.summary = lab03::summarize(times);
    const auto n_steps = static_cast<std::int64_t>(executor_->steps().size());
    std::int64_t busy = 0;
    for (const kit::StepRecord& record : executor_->steps()) busy += record.n_sequences;
    served_.utilisation = lab03::utilisation(busy, max_num_seqs_, n_steps);
    served_.tokens_per_step =
        static_cast<double>(executor_->tokens_processed()) / static_cast<double>(n_steps);
    return std::move(served_);
  }

 private:
  double now_ms() const { return std::chrono::duration<double, std::milli>(Clock::now() - start_).count(); }

  void arrive(const Arrival& arrival) {
    const kit::GenerationRequest& request = arrival.request;
    engine_->submit(request);
    times_[request.id] = {.id = request.id,
                          .arrival_ms = arrival.ms,
                          .scheduled_ms = -1.0,
                          .prompt_len = static_cast<int>(request.prompt.size())};
    served_.stories[static_cast<std::size_t>(request.id)] = request.prompt;
  }

  void step() {
    const double begin_ms = now_ms();
    const std::vector<kit::TokenEvent> events = engine_->step();
    const double end_ms = now_ms();
    // Who runs now and did not before has begun in this step; a single step may have been all of it.
    for (const int id : scheduler_->running()) begin(id, begin_ms);
    for (const kit::TokenEvent& event : events) {
      begin(event.request, begin_ms);
      kit::RequestTimes& t = times_.at(event.request);
      if (t.output_len++ == 0) t.first_token_ms = end_ms;
      served_.stories[static_cast<std::size_t>(event.request)].push_back(event.token);
      if (event.finish == kit::FinishReason::kNone) continue;
      t.finished_ms = end_ms;
      show(t);
    }
  }

  void begin(int id, double ms) {
    kit::RequestTimes& t = times_.at(id);
    if (t.scheduled_ms < 0.0) t.scheduled_ms = ms;
  }

  void show(const kit::RequestTimes& t) const {
    std::string text = tokenizer_->decode(served_.stories[static_cast<std::size_t>(t.id)]);
    for (char& c : text)
      if (c == '\n') c = ' ';
    // The end of the story, cut between characters.
    std::size_t from = text.size() > 60 ? text.size() - 60 : 0;
    while (from < text.size() && (static_cast<unsigned char>(text[from]) & 0xC0U) == 0x80U) ++from;
    fmt::print("  {:6.0f} ms  request {:2}  {:3} tokens  ...{}\n", t.finished_ms, t.id, t.output_len,
               text.substr(from));
    std::fflush(stdout);
  }

  const kit::Tokenizer* tokenizer_;
  int max_num_seqs_;
  std::shared_ptr<kit::StepExecutor> executor_;
  std::shared_ptr<kit::Scheduler> scheduler_;
  std::unique_ptr<kit::Engine> engine_;
  Clock::time_point start_;
  std::map<int, kit::RequestTimes> times_;  // by request
  Served served_;
};

/// A row of the table: one number of every run.
template <class Number>
void print_row(const char* label, const char* unit, const std::vector<Served>& runs, const Number& number) {
  fmt::print("  {:<34}", label);
  for (const Served& run : runs) fmt::print("{:>12.1f}", number(run));
  fmt::print("  {}\n", unit);
}

void print_table(const std::vector<Configuration>& configurations, const std::vector<Served>& runs) {
  fmt::print("\n  {:<34}", "measured");
  for (const Configuration& c : configurations) fmt::print("{:>12}", c.name);
  fmt::print("\n");
  const auto row = [&](const char* label, const char* unit, auto number) {
    print_row(label, unit, runs, number);
  };
  row("tokens written", "tokens/s", [](const Served& r) { return r.summary.output_tokens_per_s; });
  row("requests ended", "/s", [](const Served& r) { return r.summary.requests_per_s; });
  row("time to first token, median", "ms",
      [](const Served& r) { return r.summary.p50_time_to_first_token_ms; });
  row("time to first token, p99", "ms", [](const Served& r) { return r.summary.p99_time_to_first_token_ms; });
  row("  of it waiting, mean", "ms", [](const Served& r) { return r.summary.mean_queue_ms; });
  row("time per token, median", "ms", [](const Served& r) { return r.summary.p50_time_per_output_token_ms; });
  row("time per token, p99", "ms", [](const Served& r) { return r.summary.p99_time_per_output_token_ms; });
  row("end to end, p99", "ms", [](const Served& r) { return r.summary.p99_end_to_end_ms; });
  row("tokens run in a step, mean", "", [](const Served& r) { return r.tokens_per_step; });
  row("slots in use", "%", [](const Served& r) { return 100.0 * r.utilisation; });
}

int run(const Options& options) {
  const Model model(options.model);
  const std::vector<Arrival> arrivals = make_workload(options, model.tokenizer);
  std::vector<Configuration> configurations;
  if (options.chatbot || !options.offline) configurations.push_back(kChatbot);
  if (options.offline || !options.chatbot) configurations.push_back(kOffline);
  std::vector<Served> runs;
  for (Configuration& c : configurations) {
    if (options.max_num_seqs > 0) c.max_num_seqs = options.max_num_seqs;
    c.max_num_batched_tokens = std::max(c.max_num_batched_tokens, c.max_num_seqs);
    fmt::print("{}: at most {} sequences and {} tokens a step; {}\n", c.name, c.max_num_seqs,
               c.max_num_batched_tokens, c.idea);
    runs.push_back(Server(model, c).serve(arrivals));
  }
  print_table(configurations, runs);
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const std::vector<int>& story = runs[i].stories[i % runs[i].stories.size()];
    fmt::print("\nrequest {}, {}:\n{}\n", i % runs[i].stories.size(), configurations[i].name,
               model.tokenizer.decode(story));
  }
  if (runs.size() == 2) {
    const bool same = runs[0].stories == runs[1].stories;
    fmt::print(
        "\nThe stories of both runs are {}.\n",
        same ? "the same, token by token" : "NOT the same: a request's text depends on its neighbours");
    return same ? 0 : 1;
  }
  return 0;
}

void add_options(CLI::App& app, Options& options) {
  app.add_option("--model", options.model, "Model directory: config.json, model.safetensors, tokenizer.json")
      ->required();
  app.add_option("--requests", options.n_requests, "Requests of the workload")
      ->check(CLI::Range(1, 10'000))
      ->capture_default_str();
  app.add_option("--max-num-seqs", options.max_num_seqs, "Running requests, at most, in every configuration")
      ->check(CLI::Range(1, 1'000));
  app.add_option("-n,--max-new-tokens", options.max_new_tokens, "Tokens of the longest story")
      ->check(CLI::Range(1, 400))
      ->capture_default_str();
  app.add_option("--gap", options.gap_ms, "Mean time between two arrivals, ms")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  app.add_option("--seed", options.seed, "Seed of the workload")->capture_default_str();
  app.add_flag("--chatbot", options.chatbot, "Only the chatbot's configuration");
  app.add_flag("--offline", options.offline, "Only the offline job's configuration");
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Serve a small workload with the lab's scheduler, engine and metrics", "serve");
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
