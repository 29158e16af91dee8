#include <benchmark/benchmark.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <numeric>
#include <vector>

#include "kit/check.h"
#include "kit/interleaved.h"
#include "kit/llama.h"
#include "kit/model_quality.h"
#include "kit/reference.h"
#include "kit/step_executor.h"
#include "kit/testing.h"
#include "lab06/batched.h"
#include "lab06/speculative_decoder.h"
#include "lab06/speedup_model.h"

// What speculation gains in a batch, always against plain batched decoding (gamma 0) in the same run. The
// more sequences a target run serves, the more it costs to verify gamma tokens of each. Ratios are medians
// over pairs that run in turns (kit/interleaved.h); the time of a benchmark is that of all its pairs.

namespace {

constexpr int kTextPairs = 9;
constexpr int kRunPairs = 25;  // of single runs, which are short
constexpr int kGamma = 4;
constexpr int kRequests = 16;  // in batches of n_seqs: every n_seqs writes the same texts
constexpr int kPromptLen = 16;
constexpr int kNewTokens = 64;
constexpr int kContextLen = kPromptLen + kNewTokens / 2;  // where single runs are timed
constexpr int kBlockSize = 16;
constexpr int kBlocksPerSequence = (kPromptLen + kNewTokens) / kBlockSize;
constexpr double kPairTokensPerRun = 2.76;  // of the shipped pair alone (models/README.md)

struct LoadedModel {
  kit::ModelConfig config;
  std::shared_ptr<const kit::LlamaWeights> weights;
};

/// An end of text ends nothing, so that plain and speculative decoding write equally much.
LoadedModel shipped_model(const char* name) {
  const std::filesystem::path folder = kit::testing::models_dir() / name;
  kit::ModelConfig config = kit::load_config(folder);
  config.eos_token_ids.clear();
  return {config, std::make_shared<const kit::LlamaWeights>(kit::load_llama_weights(folder, config))};
}

const LoadedModel& target_model() {
  static const LoadedModel model = shipped_model("target");
  return model;
}
const LoadedModel& draft_model() {
  static const LoadedModel model = shipped_model("draft");
  return model;
}

/// Prompts that the target wrote.
const std::vector<lab06::BatchedRequest>& requests() {
  static std::vector<lab06::BatchedRequest> all;
  if (!all.empty()) return all;
  kit::Rng rng(1);
  for (const std::vector<int>& prompt :
       kit::sample_texts(target_model().config, target_model().weights, kRequests, kPromptLen, rng))
    all.push_back({.prompt = prompt, .max_new_tokens = kNewTokens, .seed = all.size()});
  return all;
}

std::unique_ptr<kit::StepExecutor> make_executor(const LoadedModel& model, int n_seqs) {
  const kit::ModelConfig& c = model.config;
  return kit::make_llama_executor(
      c, model.weights, {c.n_layers, c.n_kv_heads, c.head_dim, kBlockSize, n_seqs * kBlocksPerSequence},
      kit::gathered_paged_attention);
}

/// Time of `work` over that of `baseline`.
double time_ratio(int n_pairs, const std::function<void()>& work, const std::function<void()>& baseline) {
  return kit::compare_speed(baseline, work, 1.0, {.n_pairs = n_pairs, .max_rounds = 1, .now_s = {}}).median;
}

/// n_tokens of each of n_seqs sequences in blocks of their own.
std::vector<kit::StepSequence> step(int n_seqs, int first_pos, int n_tokens) {
  std::vector<kit::StepSequence> batch;
  for (int i = 0; i < n_seqs; ++i) {
    std::vector<int> blocks(kBlocksPerSequence);
    std::iota(blocks.begin(), blocks.end(), i * kBlocksPerSequence);
    batch.push_back({std::vector<int>(static_cast<std::size_t>(n_tokens), i + 1), first_pos, blocks});
  }
  return batch;
}

/// A target run over n_seqs * (gamma + 1) tokens beside one over n_seqs tokens.
double verify_cost(kit::StepExecutor& target, int n_seqs) {
  target.run(step(n_seqs, 0, kContextLen));
  return time_ratio(
      kRunPairs, [&] { target.run(step(n_seqs, kContextLen, kGamma + 1), kit::Logits::kAll); },
      [&] { target.run(step(n_seqs, kContextLen, 1)); });
}

struct Written {
  std::vector<lab06::BatchedResult> results;
  int n_target_runs = 0;
};

Written write_all(kit::StepExecutor& target, kit::StepExecutor& draft, int n_seqs, int gamma) {
  const auto target_blocks = kit::make_reference_block_allocator(target.kv_config().n_blocks);
  const auto draft_blocks = kit::make_reference_block_allocator(draft.kv_config().n_blocks);
  Written written;
  target.reset_stats();
  for (auto first = requests().begin(); first != requests().end(); first += n_seqs) {
    for (const lab06::BatchedResult& result :
         lab06::batched_speculation(target, *target_blocks, draft, *draft_blocks, {first, first + n_seqs},
                                    {.gamma = gamma, .rule = {.temperature = 1.0}}))
      written.results.push_back(result);
  }
  written.n_target_runs = static_cast<int>(target.steps().size());
  return written;
}

/// Share of the tested draft tokens that were accepted. A batch does not count the tested ones; each request
/// alone does, and writes the same tokens.
double acceptance(const std::vector<lab06::BatchedResult>& results) {
  const auto make = [](const LoadedModel& model) {
    return kit::make_llama(model.config, model.weights, kit::gathered_attention_ops());
  };
  const auto target = make(target_model());
  const auto draft = make(draft_model());
  double n_tested = 0;
  double n_accepted = 0;
  for (std::size_t i = 0; i < requests().size(); ++i) {
    const int room = kPromptLen + kNewTokens;
    const auto target_cache = kit::make_reference_kv_cache(target->config().kv_cache_config(room));
    const auto draft_cache = kit::make_reference_kv_cache(draft->config().kv_cache_config(room));
    kit::Rng rng(requests()[i].seed);
    const lab06::SpeculativeResult alone = lab06::speculative_generate(
        *target, *target_cache, *draft, *draft_cache, requests()[i].prompt,
        {.gamma = kGamma, .rule = {.temperature = 1.0}, .max_new_tokens = kNewTokens}, rng);
    KIT_CHECK(alone.tokens == results[i].tokens, "request {} has other tokens alone than in its batch", i);
    n_tested += static_cast<double>(alone.n_tested);
    n_accepted += static_cast<double>(alone.n_accepted);
  }
  return n_accepted / n_tested;
}

void batch_sizes(benchmark::internal::Benchmark* bench) {
  bench->Arg(1)->Arg(4)->Arg(16)->UseRealTime()->Iterations(1)->Unit(benchmark::kSecond);
}

/// The shipped pair. state.range(0): n_seqs.
void batched(benchmark::State& state) {
  const int n_seqs = static_cast<int>(state.range(0));
  auto& counters = state.counters;
  try {
    const auto target = make_executor(target_model(), n_seqs);
    const auto draft = make_executor(draft_model(), n_seqs);
    Written plain;
    Written speculative;
    for (auto _ : state) {
      counters["speedup"] = time_ratio(
          kTextPairs, [&] { plain = write_all(*target, *draft, n_seqs, 0); },
          [&] { speculative = write_all(*target, *draft, n_seqs, kGamma); });
      counters["verify_cost"] = verify_cost(*target, n_seqs);
      counters["draft_cost"] = time_ratio(
          kRunPairs, [&] { draft->run(step(n_seqs, kContextLen, 1)); },
          [&] { target->run(step(n_seqs, kContextLen, 1)); });
    }
    KIT_CHECK(plain.n_target_runs == kRequests / n_seqs * kNewTokens, "{} plain runs", plain.n_target_runs);
    double n_rounds = 0;  // of all sequences
    for (const lab06::BatchedResult& r : speculative.results) n_rounds += r.n_rounds;
    counters["tokens_per_run_and_sequence"] = kRequests * kNewTokens / n_rounds;
    counters["sequences_per_run"] = n_rounds / speculative.n_target_runs;
    counters["acceptance"] = acceptance(speculative.results);
    counters["speedup_by_formula"] =
        lab06::speedup(counters["acceptance"], kGamma, counters["draft_cost"], counters["verify_cost"]);
  } catch (const std::exception& error) {
    state.SkipWithError(error.what());
  }
}
BENCHMARK(batched)->Apply(batch_sizes);

/// The layer stack does not fit into a cache: up to which batch does it verify drafts for nothing?
/// state.range(0): n_seqs.
void verify_layer_stack(benchmark::State& state) {
  kit::Rng rng(1);
  const kit::ModelConfig config = kit::layer_stack_config();
  static const LoadedModel layer_stack = {
      config, std::make_shared<const kit::LlamaWeights>(kit::random_llama_weights(config, rng))};
  const int n_seqs = static_cast<int>(state.range(0));
  const auto target = make_executor(layer_stack, n_seqs);
  for (auto _ : state) {
    state.counters["verify_cost"] = verify_cost(*target, n_seqs);
    // If drafts cost nothing. Where it is below 1, speculation cannot pay.
    state.counters["speedup_with_free_drafts"] = kPairTokensPerRun / state.counters["verify_cost"];
  }
}
BENCHMARK(verify_layer_stack)->Name("verify_cost/layer_stack")->Apply(batch_sizes);

}  // namespace
