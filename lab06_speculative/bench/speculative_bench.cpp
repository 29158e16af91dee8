#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <memory>
#include <vector>

#include "kit/llama.h"
#include "kit/reference.h"
#include "kit/step_executor.h"
#include "kit/testing.h"
#include "lab06/speculative_decoder.h"
#include "lab06/speedup_model.h"

// What speculation gains in time, always against plain decoding (gamma 0) in the same run. The shipped target
// fits into a cache: there a pass over 5 tokens costs much more than one, and little is gained. The layer
// stack (722 MB) has to be read from memory: there a pass over 5 tokens costs hardly more than one.

namespace {

using Clock = std::chrono::steady_clock;
using Weights = std::shared_ptr<const kit::LlamaWeights>;

constexpr int kPasses = 3;

template <class Work>
double best_seconds(const Work& work) {
  double best = std::numeric_limits<double>::infinity();
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto start = Clock::now();
    work();
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best;
}

struct Timed {
  double seconds = 0.0;
  lab06::SpeculativeResult result;
};

Timed generate(kit::Model& target, kit::Model& draft, const std::vector<int>& prompt,
               const lab06::SpeculativeConfig& config) {
  Timed timed;
  timed.seconds = best_seconds([&] {
    const int room = static_cast<int>(prompt.size()) + config.max_new_tokens;
    const auto target_cache = kit::make_reference_kv_cache(target.config().kv_cache_config(room));
    const auto draft_cache = kit::make_reference_kv_cache(draft.config().kv_cache_config(room));
    kit::Rng rng(7);
    timed.result =
        lab06::speculative_generate(target, *target_cache, draft, *draft_cache, prompt, config, rng);
  });
  return timed;
}

void report(benchmark::State& state, const Timed& plain, const Timed& speculative) {
  const auto n_rounds = static_cast<double>(speculative.result.n_rounds);
  const auto n_tokens = static_cast<double>(speculative.result.tokens.size());
  state.counters["tokens_per_target_call"] = n_tokens / n_rounds;
  state.counters["acceptance"] = static_cast<double>(speculative.result.n_accepted) /
                                 static_cast<double>(std::max<std::int64_t>(speculative.result.n_tested, 1));
  state.counters["tokens_per_s"] = n_tokens / speculative.seconds;
  // Plain decoding writes as many tokens.
  state.counters["speedup"] = plain.seconds / speculative.seconds;
}

/// state.range(0): gamma; state.range(1): 0 greedy, 1 temperature 1.
void shipped_pair(benchmark::State& state) {
  const auto load = [](const char* name) {
    return kit::load_llama(kit::testing::models_dir() / name, kit::gathered_attention_ops());
  };
  const auto target = load("target");
  const auto draft = load("draft");
  const std::vector<int> prompt = {0, 500, 611, 300, 7, 42};
  lab06::SpeculativeConfig config{.gamma = 0, .rule = {}, .max_new_tokens = 128};
  config.rule.temperature = static_cast<double>(state.range(1));
  for (auto _ : state) {
    config.gamma = 0;
    const Timed plain = generate(*target, *draft, prompt, config);
    config.gamma = static_cast<int>(state.range(0));
    const Timed speculative = generate(*target, *draft, prompt, config);
    state.SetIterationTime(speculative.seconds);
    report(state, plain, speculative);
  }
}
BENCHMARK(shipped_pair)
    ->ArgNames({"gamma", "temperature"})
    ->ArgsProduct({{1, 2, 4, 8}, {0, 1}})
    ->UseManualTime()
    ->Iterations(1)
    ->Unit(benchmark::kMillisecond);

/// A draft of a real size that says what the target will say with a rate that is SET: random weights agree
/// with nothing. It runs its own forward pass (honest cost), and then puts all weight on the target's known
/// greedy continuation, or on another token. Which tokens it gets wrong is drawn once a position.
class SetDraft final : public kit::Model {
 public:
  SetDraft(std::unique_ptr<kit::Model> model, std::vector<int> text, double alpha)
      : model_(std::move(model)), text_(std::move(text)) {
    kit::Rng rng(11);
    for (std::size_t i = 0; i < text_.size(); ++i) right_.push_back(rng.uniform() < alpha);
  }
  const kit::ModelConfig& config() const override { return model_->config(); }

 protected:
  kit::Tensor<float> run(std::span<const int> tokens, kit::KvCache* cache, kit::Logits which) override {
    kit::Tensor<float> logits = model_->forward(tokens, *cache, which);
    const auto pos = static_cast<std::size_t>(cache->length(0));  // of the next token
    const int token = text_.at(pos);
    std::ranges::fill(logits.span(), 0.0F);
    logits(logits.dim(0) - 1, right_[pos] ? token : (token + 1) % config().vocab_size) = 1.0F;
    return logits;
  }

 private:
  std::unique_ptr<kit::Model> model_;
  std::vector<int> text_;
  std::vector<bool> right_;
};

kit::ModelConfig small_config(const kit::ModelConfig& target) {
  kit::ModelConfig config = target;
  config.n_layers = 1;
  config.dim = 512;
  config.hidden_dim = 1408;
  config.n_heads = 8;
  config.n_kv_heads = 1;
  return config;
}

Weights random_weights(const kit::ModelConfig& config) {
  kit::Rng rng(1);
  return std::make_shared<const kit::LlamaWeights>(kit::random_llama_weights(config, rng));
}

/// state.range(0): gamma; state.range(1): acceptance in percent.
void layer_stack(benchmark::State& state) {
  static const Weights target_weights = random_weights(kit::layer_stack_config());
  const kit::ModelConfig target_config = kit::layer_stack_config();
  const kit::ModelConfig draft_config = small_config(target_config);
  static const Weights draft_weights = random_weights(draft_config);
  const auto target = kit::make_llama(target_config, target_weights, kit::gathered_attention_ops());
  auto own = kit::make_llama(draft_config, draft_weights, kit::gathered_attention_ops());
  const int gamma = static_cast<int>(state.range(0));
  const double alpha = static_cast<double>(state.range(1)) / 100.0;
  constexpr int kTokens = 48;
  const std::vector<int> prompt = {1, 2, 3, 4};
  lab06::SpeculativeConfig config{.gamma = 0, .rule = {.temperature = 0.0}, .max_new_tokens = kTokens};
  for (auto _ : state) {
    const Timed plain = generate(*target, *own, prompt, config);
    std::vector<int> text = prompt;
    text.insert(text.end(), plain.result.tokens.begin(), plain.result.tokens.end());
    text.resize(text.size() + static_cast<std::size_t>(gamma) + 1, 0);
    SetDraft draft(kit::make_llama(draft_config, draft_weights, kit::gathered_attention_ops()), text, alpha);
    config.gamma = gamma;
    const Timed speculative = generate(*target, draft, prompt, config);
    state.SetIterationTime(speculative.seconds);
    report(state, plain, speculative);
    // The formula with this run's own costs: a draft pass, and a target pass over gamma + 1 tokens.
    const auto step = [&](kit::Model& model, int n_tokens) {
      const std::vector<int> tokens(static_cast<std::size_t>(n_tokens), 5);
      return best_seconds([&] {
        const auto cache = kit::make_reference_kv_cache(model.config().kv_cache_config(n_tokens));
        benchmark::DoNotOptimize(model.forward(tokens, *cache, kit::Logits::kAll));
      });
    };
    const double one = step(*target, 1);
    const double c = step(*own, 1) / one;
    const double verify = step(*target, gamma + 1) / one;
    state.counters["draft_cost"] = c;
    state.counters["verify_cost"] = verify;
    state.counters["speedup_by_formula"] = lab06::speedup(state.counters["acceptance"], gamma, c, verify);
    config.gamma = 0;
  }
}
BENCHMARK(layer_stack)
    ->ArgNames({"gamma", "acceptance_percent"})
    ->ArgsProduct({{1, 2, 4, 8}, {50, 70, 90}})
    ->UseManualTime()
    ->Iterations(1)
    ->Unit(benchmark::kMillisecond);

}  // namespace
