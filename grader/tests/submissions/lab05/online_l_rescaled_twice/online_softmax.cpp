#include "lab05/online_softmax.h"

#include <cmath>

#include "kit/check.h"

// Task 1.

namespace lab05 {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

void check_statistics(const SoftmaxStatistics& s) {
  KIT_CHECK(s.m < kInfinity, "m is {}, must be finite or -infinity", s.m);  // false for a NaN, too
  KIT_CHECK(s.l >= 0.0F && s.l < kInfinity, "l is {}, must be finite and not negative", s.l);
  KIT_CHECK((s.l == 0.0F) == (s.m == -kInfinity),
            "l is {} with m = {}: without keys they are 0 and -infinity", s.l, s.m);
}

}  // namespace

SoftmaxStatistics update_statistics(const SoftmaxStatistics& so_far, std::span<const float> scores) {
  check_statistics(so_far);
  float m = so_far.m;
  double l = so_far.l;  // a float would stop growing after 2^24 equal scores
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const float score = scores[i];
    KIT_CHECK(score < kInfinity, "scores[{}] is {}, must be finite or -infinity", i, score);
    if (score > m) {
      l = l * double{std::exp(m - score)} * double{std::exp(m - score)} +
          1.0;  // exp(-infinity) = 0: the first score meets an l of 0
      m = score;
    } else if (score > -kInfinity) {  // -infinity - -infinity, if all were masked so far, would be a NaN
      l += double{std::exp(score - m)};
    }
  }
  return {.m = m, .l = static_cast<float>(l)};
}

void online_softmax(std::span<const float> scores, std::span<float> probabilities) {
  KIT_CHECK(scores.size() == probabilities.size(), "{} scores, {} probabilities", scores.size(),
            probabilities.size());
  const SoftmaxStatistics statistics = update_statistics({}, scores);
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const bool masked = scores[i] == -kInfinity;
    probabilities[i] = masked ? 0.0F : std::exp(scores[i] - statistics.m) / statistics.l;
  }
}

}  // namespace lab05
