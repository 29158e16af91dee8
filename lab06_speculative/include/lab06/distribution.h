#pragma once

#include <span>
#include <vector>

/// Lab 06, task 1: from logits to a distribution, and from a distribution to a token.
/// Speculative decoding compares two distributions, so both models' logits go through the same rule and stay
/// distributions: p (target) and q (draft) below are what `to_distribution` returns.
/// Sources: top-k: Fan, Lewis, Dauphin 2018, "Hierarchical Neural Story Generation", section 5.1. Top-p:
/// Holtzman et al. 2019, "The Curious Case of Neural Text Degeneration", section 3.1. Why the rule belongs
/// into p and q: Leviathan, Kalman, Matias 2022, "Fast Inference from Transformers via Speculative
/// Decoding", section 2.2.
namespace lab06 {

struct SamplingRule {
  double temperature = 1.0;  ///< 0: greedy, whatever top_k and top_p say
  int top_k = 0;             ///< 0: all tokens; more than there are: all tokens
  double top_p = 1.0;        ///< 1: all tokens

  bool operator==(const SamplingRule&) const = default;
};

/// The distribution of the next token, [vocab_size], in double; sums to 1 up to rounding. In this order:
///   1. temperature T > 0: weights exp((logit - largest logit) / T). The logit -inf is a token that cannot
///      occur: probability 0. T = 0: all mass on the largest logit, on the lowest id of equal ones; done.
///   2. top_k: of all tokens the k with the largest logits stay. Equal logits: the lower id comes first.
///      Exactly k tokens stay (fewer where all others have probability 0), also when the cut falls between
///      equal ones.
///   3. top_p: of what step 2 left, renormalised and sorted as there (equal logits: lower id first), the
///      shortest prefix stays whose sum is at least top_p. The token that crosses top_p stays; so at least
///      one does. top_p = 1 drops nothing.
///   4. What stayed is divided by its sum; everything else is exactly 0.
/// logits: [vocab_size], natural logarithms up to a constant.
/// Throws kit::Error on no logits, on a NaN or +inf (naming its index), when all logits are -inf, on a
/// temperature that is negative or not finite, on top_k < 0, and on top_p outside (0, 1].
std::vector<double> to_distribution(std::span<const float> logits, const SamplingRule& rule);

/// Inverse CDF: the first token i with u < p[0] + ... + p[i], summed from the left. A token of probability 0
/// is never returned; where rounding leaves u at or beyond the sum of all, the last token of positive
/// probability is. p: [vocab_size], must sum to 1 up to rounding, which is not checked; u in [0, 1).
/// Throws kit::Error on an empty p, on a u outside [0, 1) (NaN too), on a p[i] that is negative or not finite
/// (naming i), and when no p[i] is positive.
int sample(std::span<const double> p, double u);

}  // namespace lab06
