#pragma once

#include <span>

/// Lab 06, task 6: what speculation gains, on paper. The model: every draft token that is tested is accepted
/// with the same probability alpha, independently of the others.
/// Source: Leviathan, Kalman, Matias 2022, "Fast Inference from Transformers via Speculative Decoding",
/// section 3.1 (equation 1), 3.3 (theorem 3.8), 3.5.
///
/// Costs are in units of one decode step of the target (one token, one sequence or one batch):
///   draft_cost: one decode step of the draft, the paper's c
///   verify_cost: the target's one forward over gamma + 1 positions. 1 while the target is limited by the
///                memory that its weights need, more when it is not.
namespace lab06 {

/// Tokens that a round emits on average, 1 + alpha + alpha^2 + ... + alpha^gamma
///   = (1 - alpha^(gamma + 1)) / (1 - alpha), and gamma + 1 for alpha = 1.
/// The correction or bonus token is among them: it is the 1. Relative error at most 1e-7 for every alpha,
/// also at 1 and just below. Throws kit::Error on an alpha outside [0, 1] (NaN too) or gamma < 0.
double expected_tokens(double alpha, int gamma);

/// How many times as fast as plain decoding: expected_tokens / (gamma * draft_cost + verify_cost).
/// Below 1 speculation loses. Throws kit::Error as expected_tokens, on a draft_cost that is negative or not
/// finite, and on a verify_cost that is not positive and finite.
double speedup(double alpha, int gamma, double draft_cost, double verify_cost = 1.0);

/// The gamma of 0 .. max_gamma with the largest speedup at verify_cost 1; the smallest of equal ones. 0: do
/// not speculate. Throws kit::Error as speedup, and on max_gamma < 0.
int best_gamma(double alpha, double draft_cost, int max_gamma);

/// The same where verifying costs more than a step. verify_costs: [max_gamma + 1], [gamma] is the cost of a
/// forward over gamma + 1 positions, [0] that of a plain step (1, or what was measured). Throws kit::Error as
/// speedup, and on no costs at all.
int best_gamma_for_costs(double alpha, double draft_cost, std::span<const double> verify_costs);

/// The roofline's verify cost for a batch. A forward over n tokens takes as long as max(n, ridge_tokens): up
/// to ridge_tokens (a machine's FLOP/s over its bytes/s, times the bytes of a weight, over 2) the weights'
/// way from memory, beyond it arithmetic. Returns, for n_seqs sequences that verify gamma drafts each,
///   max(n_seqs * (gamma + 1), ridge_tokens) / max(n_seqs, ridge_tokens).
/// Throws kit::Error on n_seqs < 1, gamma < 0, and on ridge_tokens that is not positive and finite.
double roofline_verify_cost(int n_seqs, int gamma, double ridge_tokens);

/// What one round of a decoder counted.
struct RoundCounts {
  int n_drafted = 0;   ///< draft tokens that were handed to the target
  int n_accepted = 0;  ///< of these, kept; the correction or bonus token is not among them
};

/// The maximum-likelihood estimate of alpha: accepted / tested, summed over all rounds. A round tests its
/// drafts up to the first rejection and no further; what stands behind that was drafted and never tested:
///   tested = min(n_accepted + 1, n_drafted).
/// Throws kit::Error when no token was tested, on a negative count, and on n_accepted > n_drafted.
double acceptance_rate(std::span<const RoundCounts> rounds);

}  // namespace lab06
