#include "lab02/generate.h"

#include "lab02/kv_cache.h"

namespace lab02 {

std::vector<int> generate_without_cache(kit::Model& model, std::span<const int> prompt,
                                        const kit::SamplingConfig& config, kit::Rng& rng,
                                        const kit::OnToken& on_token) {
  std::vector<int> sequence(prompt.begin(), prompt.end());
  std::vector<int> tokens;
  KIT_CHECK(!prompt.empty() && config.max_new_tokens >= 0 &&
                static_cast<int>(prompt.size()) + config.max_new_tokens - 1 <= model.config().max_seq_len,
            "a prompt of {} and {} tokens", prompt.size(), config.max_new_tokens);
  while (static_cast<int>(tokens.size()) < config.max_new_tokens) {
    tokens.push_back(kit::sample(model.forward(sequence).span(), config.temperature, rng));
    sequence.push_back(tokens.back());
    if (on_token) on_token(tokens.back());
    if (model.config().is_eos(tokens.back())) break;
  }
  return tokens;
}

std::vector<int> generate_with_cache(kit::Model& model, std::span<const int> prompt,
                                     const kit::SamplingConfig& config, kit::Rng& rng,
                                     const kit::OnToken& on_token) {
  const std::vector<int> tokens = generate_without_cache(model, prompt, config, rng, {});
  const auto cache =
      make_kv_cache(model.config().kv_cache_config(static_cast<int>(prompt.size()) + config.max_new_tokens));
  (void)model.forward(prompt, *cache);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (on_token) on_token(tokens[i]);
    if (i + 1 < tokens.size()) (void)model.forward(std::span(tokens).subspan(i, 1), *cache);
  }
  return tokens;
}

}  // namespace lab02
