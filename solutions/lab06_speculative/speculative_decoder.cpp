#include "lab06/speculative_decoder.h"

#include <algorithm>

#include "lab06/speculative_round.h"

namespace lab06 {

SpeculativeResult speculative_generate(kit::Model& target, kit::KvCache& target_cache, kit::Model& draft,
                                       kit::KvCache& draft_cache, std::span<const int> prompt,
                                       const SpeculativeConfig& config, kit::Rng& rng) {
  KIT_CHECK(!prompt.empty(), "a prompt of one token at least");
  KIT_CHECK(config.gamma >= 0 && config.max_new_tokens >= 0,
            "gamma {} and max_new_tokens {} must not be negative", config.gamma, config.max_new_tokens);
  const int room = std::min(target.config().max_seq_len, target_cache.config().max_len);
  // The last new token takes no position: nothing is computed from it.
  KIT_CHECK(config.max_new_tokens == 0 || std::ssize(prompt) + config.max_new_tokens - 1 <= room,
            "a prompt of {} tokens and {} new ones, the target has {} positions", prompt.size(),
            config.max_new_tokens, room);
  SpeculativeResult result;
  std::vector<int> context(prompt.begin(), prompt.end());
  while (std::ssize(result.tokens) < config.max_new_tokens) {
    const int missing = config.max_new_tokens - static_cast<int>(result.tokens.size());
    const RoundResult round = speculative_round(target, target_cache, draft, draft_cache, context,
                                                std::min(config.gamma, missing - 1), config.rule, rng);
    result.tokens.insert(result.tokens.end(), round.tokens.begin(), round.tokens.end());
    context.insert(context.end(), round.tokens.begin(), round.tokens.end());
    ++result.n_rounds;
    result.n_drafted += round.n_drafted;
    result.n_accepted += round.n_accepted;
    // What stands behind the first rejection was not judged: it says nothing about the draft.
    result.n_tested += round.n_accepted + (round.n_accepted < round.n_drafted ? 1 : 0);
    if (target.config().is_eos(context.back())) break;
  }
  return result;
}

}  // namespace lab06
