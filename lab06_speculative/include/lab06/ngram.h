#pragma once

#include <span>
#include <vector>

#include "kit/model.h"
#include "kit/rng.h"
#include "lab06/distribution.h"

/// Lab 06, task 7: speculation without a draft model. What the end of the context said before, it may go on
/// to say again: names, quotations, code that is edited, a document that is summarised. Sources: Saxena 2023,
/// "Prompt Lookup Decoding" (github.com/apoorvumang/prompt-lookup-decoding); Yang et al. 2023, "Inference
/// with Reference: Lossless Acceleration of Large Language Models".
namespace lab06 {

struct NgramConfig {
  int min_n = 1;  ///< tokens of the shortest suffix that is looked up
  int max_n = 3;  ///< of the longest, which is tried first
  int gamma = 4;  ///< draft tokens, at most
};

/// Looks for an earlier occurrence of the context's last n tokens, n = max_n first, then one less, down to
/// min_n; a suffix as long as the context or longer has none. The first n that has one decides, and of its
/// occurrences the most recent. It may overlap the suffix, but is not the suffix itself. The draft are the
/// tokens that follow it: gamma of them, or fewer where the context ends before; empty when nothing was
/// found. context: [n_tokens], the prompt and all tokens so far; may be empty. Returns at most gamma tokens.
/// Throws kit::Error when min_n < 1, max_n < min_n or gamma < 0.
std::vector<int> ngram_draft(std::span<const int> context, const NgramConfig& config);

struct NgramResult {
  std::vector<int> tokens;  ///< the new ones; an end of text is one of them
  int n_rounds = 0;         ///< calls of the target
  int n_drafted = 0;        ///< draft tokens that the target verified
  int n_accepted = 0;       ///< those of them that were kept
};

/// Goes on from `prompt` until max_new_tokens are written or an end of text (ModelConfig::is_eos) is. A
/// round:
///   1. The draft: ngram_draft of all tokens so far, at most as many tokens as are still to be written, less
///      one, for the round's last token is the target's own. It ends with its first end of text: nothing can
///      follow that.
///   2. One target.forward over the tokens that the cache does not hold (at first the prompt; later the last
///      token), then the draft. So there is a distribution p after each draft token, by
///      to_distribution(rule).
///   3. Acceptance as in task 2. The draft is certain of its tokens: q is 1 at the draft token and 0
///   elsewhere.
///      So draft token x is kept when u < p[x], and the residual after a rejection is p without x,
///      renormalised. When all are kept the bonus token is sampled from the last p, unless the last of them
///      was an end of text.
///   4. The cache holds all tokens but the last.
/// Draws from `rng` in a round: a uniform for each draft token's test, also behind the first rejection, then
/// one for sample(); at temperature 0 none.
/// prompt: [n], n >= 1; cache: empty. Throws kit::Error, the model not called, when the prompt is empty,
/// max_new_tokens < 1, the cache is not empty, prompt.size() + max_new_tokens - 1 positions are more than the
/// model or the cache has, or as ngram_draft does; also as to_distribution and forward do.
NgramResult ngram_generate(kit::Model& target, kit::KvCache& cache, std::span<const int> prompt,
                           const NgramConfig& config, const SamplingRule& rule, int max_new_tokens,
                           kit::Rng& rng);

}  // namespace lab06
