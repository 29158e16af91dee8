#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kit/model.h"
#include "kit/rng.h"
#include "lab06/distribution.h"

/// Lab 06, task 5: speculative decoding of a whole text, and what it says about itself.
/// Source: Leviathan, Kalman, Matias 2022, "Fast Inference from Transformers via Speculative Decoding",
/// Algorithm 1 in a loop; section 3.1 for what the counts are used for.
namespace lab06 {

struct SpeculativeConfig {
  int gamma = 4;  ///< draft tokens a round; 0 decodes without the draft
  SamplingRule rule;
  int max_new_tokens = 128;
};

struct SpeculativeResult {
  std::vector<int> tokens;      ///< the new ones; an end-of-text token is the last
  std::int64_t n_rounds = 0;    ///< rounds, each with one target forward pass
  std::int64_t n_drafted = 0;   ///< draft tokens proposed
  std::int64_t n_tested = 0;    ///< of them judged: those up to and including each round's first rejection
  std::int64_t n_accepted = 0;  ///< of them accepted; n_accepted / n_tested estimates the acceptance rate

  bool operator==(const SpeculativeResult&) const = default;
};

/// Continues `prompt` ([n], n >= 1) by rounds (lab06::speculative_round) until an end-of-text token of the
/// target has come or there are exactly max_new_tokens. A round that could emit more than is still wanted
/// drafts less: its gamma is at most the number of tokens that are missing, less one. When the target's room
/// (max_len of its cache, max_seq_len) ends before that, kit::Error is thrown before any forward
/// pass: prompt.size() + max_new_tokens - 1 positions are needed.
///
/// The caches are empty, or hold a beginning of the prompt, its last token excepted. Afterwards the target's
/// holds prompt and new tokens but the last; the draft's as speculative_round says. With max_new_tokens = 0
/// nothing is called.
///
/// Throws kit::Error on an empty prompt, gamma < 0 and max_new_tokens < 0; else as speculative_round.
SpeculativeResult speculative_generate(kit::Model& target, kit::KvCache& target_cache, kit::Model& draft,
                                       kit::KvCache& draft_cache, std::span<const int> prompt,
                                       const SpeculativeConfig& config, kit::Rng& rng);

}  // namespace lab06
