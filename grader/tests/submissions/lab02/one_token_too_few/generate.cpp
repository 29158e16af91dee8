#include "lab02/generate.h"

#include <algorithm>
#include <functional>

#include "lab02/kv_cache.h"

namespace lab02 {

namespace {

void check_request(const kit::ModelConfig& model, std::span<const int> prompt,
                   const kit::SamplingConfig& config) {
  KIT_CHECK(!prompt.empty(), "the prompt is empty: there is nothing to continue");
  KIT_CHECK(config.max_new_tokens >= 0, "max_new_tokens is {}, must not be negative", config.max_new_tokens);
  const auto n_prompt = static_cast<std::int64_t>(prompt.size());
  KIT_CHECK(n_prompt + config.max_new_tokens - 1 <= model.max_seq_len,
            "a prompt of {} and {} new tokens need {} positions, the model has {}: ask for at most {} tokens",
            n_prompt, config.max_new_tokens, n_prompt + config.max_new_tokens - 1, model.max_seq_len,
            std::max<std::int64_t>(0, model.max_seq_len - n_prompt + 1));
}

/// Calls next_logits(sequence so far) and samples until done. Both functions differ in next_logits alone.
std::vector<int> generate(
    const kit::ModelConfig& model, std::span<const int> prompt, const kit::SamplingConfig& config,
    kit::Rng& rng, const kit::OnToken& on_token,
    const std::function<kit::Tensor<float>(std::span<const int> sequence)>& next_logits) {
  check_request(model, prompt, config);
  std::vector<int> sequence(prompt.begin(), prompt.end());
  for (int i = 0; i + 1 < config.max_new_tokens; ++i) {
    const int token = kit::sample(next_logits(sequence).span(), config.temperature, rng);
    sequence.push_back(token);
    if (on_token) on_token(token);
    if (model.is_eos(token)) break;
  }
  return {sequence.begin() + static_cast<std::ptrdiff_t>(prompt.size()), sequence.end()};
}

}  // namespace

std::vector<int> generate_without_cache(kit::Model& model, std::span<const int> prompt,
                                        const kit::SamplingConfig& config, kit::Rng& rng,
                                        const kit::OnToken& on_token) {
  return generate(model.config(), prompt, config, rng, on_token,
                  [&](std::span<const int> sequence) { return model.forward(sequence); });
}

std::vector<int> generate_with_cache(kit::Model& model, std::span<const int> prompt,
                                     const kit::SamplingConfig& config, kit::Rng& rng,
                                     const kit::OnToken& on_token) {
  check_request(model.config(), prompt, config);
  // The last token is sampled but never fed back, hence not + 1; at least one position, so that the cache is
  // valid.
  const int capacity = std::max(1, static_cast<int>(prompt.size()) + config.max_new_tokens - 1);
  const auto cache = make_kv_cache(model.config().kv_cache_config(capacity));
  return generate(model.config(), prompt, config, rng, on_token, [&](std::span<const int> sequence) {
    // Whatever the cache has not seen: the whole prompt at first, then the one new token.
    return model.forward(sequence.subspan(static_cast<std::size_t>(cache->length(0))), *cache);
  });
}

}  // namespace lab02
