#include "lab02/generate.h"

#include "lab02/kv_cache.h"

namespace lab02 {

namespace {

void check(const kit::Model& model, std::span<const int> prompt, const kit::SamplingConfig& config) {
  KIT_CHECK(!prompt.empty(), "empty prompt");
  KIT_CHECK(config.max_new_tokens >= 0, "max_new_tokens {}", config.max_new_tokens);
  const auto last = static_cast<std::int64_t>(prompt.size()) + config.max_new_tokens - 1;
  KIT_CHECK(last <= model.config().max_seq_len, "{} positions", last);
}

/// Feeds `tokens` in chunks of four; the logits of the last one.
kit::Tensor<float> feed(kit::Model& model, std::span<const int> tokens, kit::KvCache& cache) {
  while (tokens.size() > 4) {
    (void)model.forward(tokens.first(4), cache);
    tokens = tokens.subspan(4);
  }
  return model.forward(tokens, cache);
}

}  // namespace

std::vector<int> generate_without_cache(kit::Model& model, std::span<const int> prompt,
                                        const kit::SamplingConfig& config, kit::Rng& rng,
                                        const kit::OnToken& on_token) {
  check(model, prompt, config);
  std::vector<int> text(prompt.begin(), prompt.end());
  while (text.size() < prompt.size() + static_cast<std::size_t>(config.max_new_tokens)) {
    text.push_back(kit::sample(model.forward(text).span(), config.temperature, rng));
    if (on_token) on_token(text.back());
    if (model.config().is_eos(text.back())) break;
  }
  text.erase(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(prompt.size()));
  return text;
}

std::vector<int> generate_with_cache(kit::Model& model, std::span<const int> prompt,
                                     const kit::SamplingConfig& config, kit::Rng& rng,
                                     const kit::OnToken& on_token) {
  check(model, prompt, config);
  const auto cache = make_kv_cache(model.config().kv_cache_config(model.config().max_seq_len));
  std::vector<int> next(prompt.begin(), prompt.end());
  std::vector<int> result;
  for (int i = 0; i < config.max_new_tokens; ++i) {
    next = {kit::sample(feed(model, next, *cache).span(), config.temperature, rng)};
    result.push_back(next[0]);
    if (on_token) on_token(next[0]);
    if (model.config().is_eos(next[0])) break;
  }
  return result;
}

}  // namespace lab02
