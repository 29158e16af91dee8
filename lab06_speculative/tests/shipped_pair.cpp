#include "shipped_pair.h"

#include "kit/llama.h"
#include "kit/model_quality.h"
#include "kit/reference.h"
#include "kit/step_executor.h"
#include "kit/testing.h"

namespace lab06_tests {

namespace {

struct Loaded {
  kit::ModelConfig config;
  std::shared_ptr<const kit::LlamaWeights> weights;
};

const Loaded& loaded(const char* name) {
  const auto load = [](const char* folder) {
    Loaded model;
    model.config = kit::load_config(kit::testing::models_dir() / folder);
    model.weights = std::make_shared<const kit::LlamaWeights>(
        kit::load_llama_weights(kit::testing::models_dir() / folder, model.config));
    model.config.eos_token_ids.clear();
    return model;
  };
  static const Loaded target = load("target");
  static const Loaded draft = load("draft");
  return std::string(name) == "target" ? target : draft;
}

std::unique_ptr<kit::Model> make_model(const char* name) {
  return kit::make_llama(loaded(name).config, loaded(name).weights, kit::gathered_attention_ops());
}

}  // namespace

ShippedPair shipped_pair() {
  return {make_model("target"), make_model("draft")};
}

std::vector<std::vector<int>> pair_prompts(int n_prompts, int n_tokens, std::uint64_t stream) {
  kit::Rng rng = kit::testing::make_rng(stream);
  return kit::sample_texts(loaded("target").config, loaded("target").weights, n_prompts, n_tokens, rng);
}

PairRun run_pair(ShippedPair& pair, const std::vector<std::vector<int>>& prompts,
                 const lab06::SpeculativeConfig& config, std::uint64_t stream) {
  PairRun run;
  run.all.plausible = run.full.plausible = true;
  kit::Rng rng = kit::testing::make_rng(stream);
  for (const std::vector<int>& prompt : prompts) {
    const int prompt_len = static_cast<int>(prompt.size());
    const int room = prompt_len + config.max_new_tokens;
    const auto target_cache = kit::make_reference_kv_cache(pair.target->config().kv_cache_config(room));
    const auto draft_cache = kit::make_reference_kv_cache(pair.draft->config().kv_cache_config(room));
    pair.target->reset_stats();
    pair.draft->reset_stats();
    const lab06::SpeculativeResult result = lab06::speculative_generate(
        *pair.target, *target_cache, *pair.draft, *draft_cache, prompt, config, rng);
    const int n_new = static_cast<int>(result.tokens.size());
    run.complete = run.complete && n_new == config.max_new_tokens;
    run.all += counted_run(*pair.target, prompt_len, n_new);
    run.full += counted_run(*pair.target, prompt_len, n_new, config.gamma);
    run.texts.push_back(result.tokens);
  }
  return run;
}

}  // namespace lab06_tests
