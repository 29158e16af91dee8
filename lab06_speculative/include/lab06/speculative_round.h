#pragma once

#include <span>
#include <vector>

#include "kit/model.h"
#include "kit/rng.h"
#include "lab06/distribution.h"

/// Lab 06, task 3: one round of speculative decoding.
/// The draft proposes up to gamma tokens, one forward pass each; the target judges all of them in ONE forward
/// pass, which costs hardly more than one token where weights are what is read; what comes out has exactly
/// the target's distribution.
/// Source: Leviathan, Kalman, Matias 2022, "Fast Inference from Transformers via Speculative Decoding",
/// Algorithm 1 (SpeculativeDecodingStep).
namespace lab06 {

struct RoundResult {
  /// The accepted draft tokens, then the correction (after a rejection) or the bonus token (all accepted).
  /// An accepted end-of-text token is the last: no bonus follows it.
  std::vector<int> tokens;
  int n_drafted = 0;   ///< draft tokens proposed, 0 to gamma
  int n_accepted = 0;  ///< of them accepted; neither correction nor bonus counts

  bool operator==(const RoundResult&) const = default;
};

/// One round behind `context`, all tokens so far ([n], n >= 1).
///
/// The caches hold the first target_cache.length(0) and draft_cache.length(0) tokens of the context, at least
/// its last token excepted: none before the first round, whose passes then process the prompt too.
///
/// 1. Draft. n_drafted = gamma, but at most what room allows: the target ends with context.size() + n_drafted
///    positions, the draft with one less, each within its cache's max_len and its model's max_seq_len. Draft
///    token i is sampled from q[i] = to_distribution(draft's logits, rule). The first pass takes all tokens
///    that the draft's cache lacks, each later one the draft token before: n_drafted calls of draft.forward,
///    never more. An end-of-text token (of the target's) ends drafting: nothing can follow it.
/// 2. Verify. ONE call of target.forward, Logits::kAll: the tokens that the target's cache lacks, then all
///    draft tokens. Its last n_drafted + 1 rows of logits are p[0] .. p[n_drafted], by the same rule.
/// 3. Accept the longest prefix, and sample what follows it: lab06::accept_draft.
/// 4. Roll back (KvCache::truncate). With L = context.size() and k = tokens.size(), the target's cache holds
///    L + k - 1 tokens, all but the last, which no pass has seen. So does the draft's, but after n_drafted
///    accepted ones and a bonus token: it holds L + n_drafted - 1, as it never saw its last draft token. The
///    next round's first draft pass then takes two tokens. With n_drafted = 0 the draft is not called.
///
/// Random numbers, `rng.uniform()`: one for each draft token (lab06::sample), then n_drafted + 1 for
/// accept_draft, whatever is accepted. At temperature 0 none is drawn at all: every uniform is 0.
///
/// Throws kit::Error, having called neither model, on an empty context, gamma < 0, different vocabularies, a
/// cache that holds the whole context or more, and when the target has no room for the context.
RoundResult speculative_round(kit::Model& target, kit::KvCache& target_cache, kit::Model& draft,
                              kit::KvCache& draft_cache, std::span<const int> context, int gamma,
                              const SamplingRule& rule, kit::Rng& rng);

}  // namespace lab06
