#pragma once

#include <functional>
#include <string>

/// Comparing two speeds on a machine that also does other things.
namespace kit {

enum class SpeedOutcome { kReached, kMissed, kInconclusive };

struct SpeedRatio {
  SpeedOutcome outcome = SpeedOutcome::kInconclusive;
  double median =
      0.0;  ///< of time of the reference / time of the candidate: above 1, the candidate is faster
  double spread = 0.0;  ///< half the distance between the quartiles of the ratios
  int n_pairs = 0;      ///< of the last round
  int n_rounds = 0;     ///< rounds that it took

  /// "0.97 +- 0.02 of the reference (median and half the distance of the quartiles, 9 pairs, round 1)".
  std::string to_string() const;
};

struct InterleavedOptions {
  int n_pairs = 9;                ///< at least 9
  int max_rounds = 3;             ///< a noisy round is tried again
  double max_spread = 0.1;        ///< a round with more is noisy
  std::function<double()> now_s;  ///< the clock; by default kit::work_seconds. Tests bring their own
};

/// Does `candidate` reach `bar` times the speed of `reference`? After one call of each to warm up, both run
/// in turns, in the order ABBA, so that a machine that gets slower or faster does it to both. The median over
/// pairs is held against the bar. A round is noisy when the ratios spread by more than max_spread, or by so
/// much that the bar lies within median +- spread. When the last round is noisy, too, the outcome is
/// kInconclusive: it is no failure of the candidate. Throws kit::Error on fewer than 9 pairs, no rounds, or a
/// bar that is not positive.
SpeedRatio compare_speed(const std::function<void()>& candidate, const std::function<void()>& reference,
                         double bar, const InterleavedOptions& options = {});

}  // namespace kit
