#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <span>

#include "known_distribution.h"

/// Do counts follow a distribution? A test that a right program fails once in a million runs.
namespace lab06_tests {

/// The rate at which right programs are called wrong: of a million gradings, one.
constexpr double kFalseAlarmRate = 1e-6;

/// P(X >= statistic) for X of a chi-square distribution, by the regularised upper incomplete gamma function
/// Q(degrees_of_freedom / 2, statistic / 2). Relative error below 1e-10 down to 1e-300.
double chi_square_tail(double statistic, int degrees_of_freedom);

struct GoodnessOfFit {
  double statistic = 0.0;  ///< 2 sum of observed * ln(observed / expected)
  int degrees_of_freedom = 0;
  double p_value = 1.0;
  std::int64_t n_samples = 0;
};

/// The likelihood-ratio chi-square test of counts against probabilities, both [n_cells]. Cells that expect
/// fewer than 20 are pooled, the rarest first. A count where the probability is 0 makes the p-value 0. (Why
/// not Pearson's sum of (observed - expected)^2 / expected: far out its tail is not chi-square's. A cell that
/// expects 20 goes beyond 4.9 standard deviations, nominally once in a million, 12 times as often, and one
/// that expects 5 69 times. The likelihood ratio keeps to the nominal rate.)
GoodnessOfFit goodness_of_fit(std::span<const std::int64_t> counts, std::span<const double> probabilities);

/// Passes when the p-value is at least kFalseAlarmRate. A failure says the statistic, the p-value and the
/// cell that is farthest off, and names the first of `mistakes` whose distribution the counts do follow.
testing::AssertionResult follows(std::span<const std::int64_t> counts, std::span<const double> probabilities,
                                 std::span<const KnownDistribution> mistakes = {});

}  // namespace lab06_tests
