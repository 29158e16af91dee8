#include "lab02/generate.h"

#include "lab02/kv_cache.h"

namespace lab02 {

std::vector<int> generate_without_cache(kit::Model& model, std::span<const int> prompt,
                                        const kit::SamplingConfig& config, kit::Rng& rng,
                                        const kit::OnToken& on_token) {
  KIT_CHECK(!prompt.empty() && config.max_new_tokens >= 0, "bad request");
  KIT_CHECK(static_cast<long>(prompt.size()) + config.max_new_tokens - 1 <= model.config().max_seq_len,
            "too long");
  std::vector<int> all(prompt.begin(), prompt.end());
  std::vector<int> result;
  bool done = config.max_new_tokens == 0;
  while (!done) {
    const auto logits = model.forward(all, kit::Logits::kAll);
    result.push_back(kit::sample(logits.row(logits.dim(0) - 1), config.temperature, rng));
    all.push_back(result.back());
    if (on_token) on_token(result.back());
    done = model.config().is_eos(result.back()) || static_cast<int>(result.size()) == config.max_new_tokens;
  }
  return result;
}

std::vector<int> generate_with_cache(kit::Model& model, std::span<const int> prompt,
                                     const kit::SamplingConfig& config, kit::Rng& rng,
                                     const kit::OnToken& on_token) {
  KIT_CHECK(!prompt.empty() && config.max_new_tokens >= 0, "bad request");
  KIT_CHECK(static_cast<long>(prompt.size()) + config.max_new_tokens - 1 <= model.config().max_seq_len,
            "too long");
  std::vector<int> result;
  if (config.max_new_tokens == 0) return result;
  const auto cache = make_kv_cache(model.config().kv_cache_config(model.config().max_seq_len));
  auto logits = model.forward(prompt, *cache);
  for (;;) {
    const int token = kit::sample(logits.span(), config.temperature, rng);
    result.push_back(token);
    if (on_token) on_token(token);
    if (model.config().is_eos(token) || static_cast<int>(result.size()) == config.max_new_tokens)
      return result;
    logits = model.forward(std::span(&token, 1), *cache);
  }
}

}  // namespace lab02
