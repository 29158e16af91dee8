#pragma once

#include <span>
#include <vector>

#include "kit/tensor.h"

/// Lab 06, task 2: which draft tokens the target keeps, and what it says instead of the first that it does
/// not keep. p is the target's distribution of the next token, q the draft's; gamma draft tokens a round.
/// Source: Leviathan, Kalman, Matias 2022, "Fast Inference from Transformers via Speculative Decoding",
/// section 2.3, Algorithm 1; exactness: appendix A.1. The same found independently: Chen et al. 2023,
/// "Accelerating Large Language Model Decoding with Speculative Sampling", Algorithm 2.
namespace lab06 {

/// Probability with which a token drawn from q is kept: min(1, p[token] / q[token]).
/// p, q: [vocab_size]. Throws kit::Error on p and q of different length, a token outside the vocabulary, and
/// on q[token] = 0: the draft cannot have drawn it.
double acceptance_probability(std::span<const double> p, std::span<const double> q, int token);

/// The distribution to draw from after a rejection: max(0, p - q) over the whole vocabulary, divided by its
/// sum. Where p == q nothing is left (and nothing is ever rejected): p itself.
/// p, q: [vocab_size]; returns [vocab_size]. Throws kit::Error on p and q of different length or empty.
std::vector<double> residual_distribution(std::span<const double> p, std::span<const double> q);

struct AcceptedTokens {
  int n_accepted = 0;  ///< draft tokens that are kept: the first n_accepted, 0 to gamma
  int token = 0;       ///< what follows them: the correction, or the bonus token when all are kept

  bool operator==(const AcceptedTokens&) const = default;
};

/// Tests the draft tokens from left to right: token i is kept when
/// uniforms[i] < acceptance_probability(p[i], q[i], draft_tokens[i]), and the first that is not ends it, at
/// i = n_accepted. `token` is then sampled, with uniforms[gamma] (always the last one, see lab06::sample),
/// from
///   residual_distribution(p[n_accepted], q[n_accepted])   after a rejection,
///   p[gamma]                                              when all were kept.
/// What stands behind the first rejection has no influence: those rows of p and q are distributions of what
/// would have followed a token that was not kept.
///   p: [gamma + 1, vocab_size], row i: the target's distribution after i draft tokens
///   q: [gamma, vocab_size], row i: what draft token i was drawn from
///   draft_tokens: [gamma]; uniforms: [gamma + 1], each in [0, 1): gamma tests, then one sample. gamma may be
///   0.
/// Throws kit::Error on shapes that do not fit, on a uniform outside [0, 1), on a draft token outside the
/// vocabulary, and on one of q = 0; also where these stand behind the first rejection.
AcceptedTokens accept_draft(kit::TensorView<const double> p, kit::TensorView<const double> q,
                            std::span<const int> draft_tokens, std::span<const double> uniforms);

}  // namespace lab06
