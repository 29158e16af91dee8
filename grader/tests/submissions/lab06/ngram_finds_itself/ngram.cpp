#include "lab06/ngram.h"

#include <algorithm>
#include <cstddef>

#include "kit/check.h"

namespace lab06 {

namespace {

void check(const NgramConfig& config) {
  KIT_CHECK(config.min_n >= 1 && config.max_n >= config.min_n,
            "min_n is {} and max_n {}, want 1 <= min_n <= max_n", config.min_n, config.max_n);
  KIT_CHECK(config.gamma >= 0, "gamma is {}, must not be negative", config.gamma);
}

void check_room(const kit::Model& target, const kit::KvCache& cache, std::span<const int> prompt,
                int max_new_tokens) {
  KIT_CHECK(!prompt.empty(), "no prompt");
  KIT_CHECK(max_new_tokens >= 1, "max_new_tokens is {}, must be at least 1", max_new_tokens);
  KIT_CHECK(cache.length(0) == 0, "the cache holds {} tokens already", cache.length(0));
  // The last new token is never fed back.
  const std::int64_t n_positions = static_cast<std::int64_t>(prompt.size()) + max_new_tokens - 1;
  const int room = std::min(target.config().max_seq_len, cache.config().max_len);
  KIT_CHECK(n_positions <= room, "{} positions are needed, model and cache have {}", n_positions, room);
}

/// A round's draft: no longer than what may still be written before the target's own token, and nothing
/// behind an end of text.
std::vector<int> draft_for(std::span<const int> tokens, std::size_t end, const NgramConfig& config,
                           const kit::ModelConfig& model) {
  NgramConfig limited = config;
  limited.gamma = std::min(config.gamma, static_cast<int>(end - tokens.size()) - 1);
  std::vector<int> draft = ngram_draft(tokens, limited);
  const auto eos = std::ranges::find_if(draft, [&](int token) { return model.is_eos(token); });
  if (eos != draft.end()) draft.erase(eos + 1, draft.end());
  return draft;
}

/// p after the draft was wrong about `token`: max(0, p - q), where q is 1 at `token`, renormalised.
void take_out(std::vector<double>& p, int token) {
  p[static_cast<std::size_t>(token)] = 0.0;
  double sum = 0.0;
  for (const double x : p) sum += x;
  for (double& x : p) x /= sum;
}

}  // namespace

std::vector<int> ngram_draft(std::span<const int> context, const NgramConfig& config) {
  check(config);
  const std::size_t size = context.size();
  if (size == 0) return {};
  for (std::size_t n = std::min(static_cast<std::size_t>(config.max_n), size - 1);
       n >= static_cast<std::size_t>(config.min_n); --n) {
    const std::span<const int> suffix = context.last(n);
    // The last place but that of the suffix itself, then backwards: the most recent occurrence is met first.
    for (std::size_t begin = size - n + 1; begin-- > 0;) {
      if (!std::ranges::equal(context.subspan(begin, n), suffix)) continue;
      const std::span<const int> rest = context.subspan(begin + n);
      const std::span<const int> draft =
          rest.first(std::min(rest.size(), static_cast<std::size_t>(config.gamma)));
      return {draft.begin(), draft.end()};
    }
  }
  return {};
}

NgramResult ngram_generate(kit::Model& target, kit::KvCache& cache, std::span<const int> prompt,
                           const NgramConfig& config, const SamplingRule& rule, int max_new_tokens,
                           kit::Rng& rng) {
  check(config);
  check_room(target, cache, prompt, max_new_tokens);
  NgramResult result;
  std::vector<int> tokens(prompt.begin(), prompt.end());
  const std::size_t end = prompt.size() + static_cast<std::size_t>(max_new_tokens);
  const auto is_over = [&] { return target.config().is_eos(tokens.back()) || tokens.size() == end; };
  do {
    const std::vector<int> draft = draft_for(tokens, end, config, target.config());
    std::vector<int> input(tokens.begin() + cache.length(0), tokens.end());
    input.insert(input.end(), draft.begin(), draft.end());
    const kit::Tensor<float> logits = target.forward(input, cache, kit::Logits::kAll);

    // Greedy distributions are one-hot: every u in [0, 1) decides alike, and none is drawn.
    std::vector<double> uniforms(draft.size() + 1);
    if (rule.temperature != 0.0) std::ranges::generate(uniforms, [&] { return rng.uniform(); });
    const std::size_t first_row = input.size() - draft.size() - 1;
    std::vector<double> p = to_distribution(logits.row(first_row), rule);
    std::size_t n_accepted = 0;
    while (n_accepted < draft.size() &&
           uniforms[n_accepted] < p[static_cast<std::size_t>(draft[n_accepted])]) {
      tokens.push_back(draft[n_accepted++]);
      p = to_distribution(logits.row(first_row + n_accepted), rule);
    }
    if (n_accepted < draft.size()) take_out(p, draft[n_accepted]);
    if (n_accepted == 0 || !is_over()) tokens.push_back(sample(p, uniforms.back()));
    cache.truncate(static_cast<int>(tokens.size()) - 1);
    result.n_rounds += 1;
    result.n_drafted += static_cast<int>(draft.size());
    result.n_accepted += static_cast<int>(n_accepted);
  } while (!is_over());
  result.tokens.assign(tokens.begin() + static_cast<std::ptrdiff_t>(prompt.size()), tokens.end());
  return result;
}

}  // namespace lab06
