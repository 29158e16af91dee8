#pragma once

#include <limits>
#include <span>

/// Lab 05, task 1: the softmax's maximum and sum in one pass over the scores.
/// Source: Milakov, Gimelshein 2018, "Online normalizer calculation for softmax", Algorithm 3 (lines 1 to 6:
/// update_statistics; lines 7 to 9: the second pass of online_softmax).
///
/// A score of -infinity is a masked key: it adds nothing, wherever it stands, and its probability is 0. No
/// finite number may stand for it: scores of -1e30 are scores.
namespace lab05 {

/// What one pass keeps of all scores seen so far, however many: two numbers.
struct SoftmaxStatistics {
  float m = -std::numeric_limits<float>::infinity();  ///< the largest score; -infinity: none but masked ones
  float l = 0.0F;                                     ///< sum of exp(score - m), so at least 1, or 0: none
};

/// The statistics of all scores so far and `scores`, which are the next ones. `scores` may have any length, 0
/// included, so a caller that has one score at a time, or a tile of them, never needs to keep the others.
/// When a score exceeds m, what was summed is rescaled by exp(old m - new m). exp is the natural one, sums
/// may be in float or double. m is exact. Throws kit::Error that names index and value of the first score
/// that is NaN or +infinity, and when so_far cannot be: m NaN or +infinity, l negative, NaN or infinite, l =
/// 0 with a finite m, l > 0 with none.
SoftmaxStatistics update_statistics(const SoftmaxStatistics& so_far, std::span<const float> scores);

/// probabilities[i] = exp(scores[i] - m) / l, in two passes over the scores: one for m and l, one that
/// writes. (With the maximum in a pass of its own it takes three.) If all scores are masked, all
/// probabilities are 0. scores, probabilities: [n], n may be 0; they do not overlap. Throws kit::Error on
/// lengths that differ, and on a score as above.
void online_softmax(std::span<const float> scores, std::span<float> probabilities);

}  // namespace lab05
