#include "lab06/speculative_round.h"

#include <algorithm>

#include "lab06/acceptance.h"

namespace lab06 {

namespace {

int count(std::span<const int> tokens) {
  return static_cast<int>(tokens.size());
}

int room(const kit::Model& model, const kit::KvCache& cache) {
  return std::min(model.config().max_seq_len, cache.config().max_len);
}

void check_arguments(const kit::Model& target, const kit::KvCache& target_cache, const kit::Model& draft,
                     const kit::KvCache& draft_cache, std::span<const int> context, int gamma) {
  KIT_CHECK(!context.empty(), "a round needs a context of one token at least");
  KIT_CHECK(gamma >= 0, "gamma is {}, must not be negative", gamma);
  KIT_CHECK(target.config().vocab_size == draft.config().vocab_size,
            "the target has a vocabulary of {}, the draft one of {}", target.config().vocab_size,
            draft.config().vocab_size);
  KIT_CHECK(target_cache.length(0) < count(context) && draft_cache.length(0) < count(context),
            "the caches hold {} (target) and {} (draft) tokens, the context has {}: its last must be new",
            target_cache.length(0), draft_cache.length(0), context.size());
  KIT_CHECK(room(target, target_cache) >= count(context),
            "a context of {} tokens, the target has room for {}", context.size(), room(target, target_cache));
}

/// Both models catch up in the same way, whatever they lack: a prompt, the last token, or two of them.
kit::Tensor<float> forward_new(kit::Model& model, kit::KvCache& cache, std::span<const int> tokens,
                               kit::Logits which) {
  return model.forward(tokens.subspan(static_cast<std::size_t>(cache.length(0))), cache, which);
}

void truncate_to(kit::KvCache& cache, int length) {
  if (cache.length(0) > length) cache.truncate(length);
}

}  // namespace

RoundResult speculative_round(kit::Model& target, kit::KvCache& target_cache, kit::Model& draft,
                              kit::KvCache& draft_cache, std::span<const int> context, int gamma,
                              const SamplingRule& rule, kit::Rng& rng) {
  check_arguments(target, target_cache, draft, draft_cache, context, gamma);
  const auto uniform = [&] { return rule.temperature == 0 ? 0.0 : rng.uniform(); };
  const std::int64_t vocab_size = target.config().vocab_size;
  const int len = count(context);
  const int n_most =
      std::clamp(std::min(room(target, target_cache), room(draft, draft_cache) + 1) - len, 0, gamma);

  std::vector<int> tokens(context.begin(), context.end());  // the context, then the draft tokens
  kit::Tensor<double> q({n_most, vocab_size});
  while (count(tokens) < len + n_most && (count(tokens) == len || !target.config().is_eos(tokens.back()))) {
    const kit::Tensor<float> logits = forward_new(draft, draft_cache, tokens, kit::Logits::kLast);
    const std::vector<double> row = to_distribution(logits.span(), rule);
    std::ranges::copy(row, q.row(count(tokens) - len).begin());
    tokens.push_back(sample(row, uniform()));
  }
  const std::span<const int> draft_tokens = std::span(tokens).subspan(context.size());
  const int n_drafted = count(draft_tokens);

  const kit::Tensor<float> logits = forward_new(target, target_cache, tokens, kit::Logits::kAll);
  kit::Tensor<double> p({n_drafted + 1, vocab_size});
  for (std::int64_t i = 0; i <= n_drafted; ++i) {
    // The prompt's rows come first.
    std::ranges::copy(to_distribution(logits.row(logits.dim(0) - n_drafted - 1 + i), rule), p.row(i).begin());
  }

  std::vector<double> uniforms;
  for (int i = 0; i <= n_drafted; ++i) uniforms.push_back(uniform());
  const AcceptedTokens accepted =
      accept_draft(p, {q.data(), {n_drafted, vocab_size}}, draft_tokens, uniforms);

  const auto prefix = draft_tokens.first(static_cast<std::size_t>(accepted.n_accepted));
  RoundResult result{{prefix.begin(), prefix.end()}, n_drafted, accepted.n_accepted};
  if (n_drafted == 0 || accepted.n_accepted < n_drafted)
    if (prefix.empty() || !target.config().is_eos(prefix.back())) result.tokens.push_back(accepted.token);
  // The last token is nobody's yet: the next round's passes begin with it.
  const int n_seen = len + count(result.tokens) - 1;
  truncate_to(target_cache, n_seen);
  truncate_to(draft_cache, n_seen);
  return result;
}

}  // namespace lab06
