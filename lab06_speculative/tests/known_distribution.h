#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <span>
#include <string>
#include <vector>

/// Vectors of doubles compared, so that a failure names the classic mistake behind it. (kit/compare.h does
/// the same for floats, whose 24 bits are too few to tell 1e-12.)
namespace lab06_tests {

/// A wrong distribution with a known cause, which completes "the result matches ...".
struct KnownDistribution {
  std::string cause;
  std::vector<double> probabilities;
};

/// |got[i] - expected[i]| <= absolute + relative * |expected[i]| for all i, and the same length. NaN never
/// passes. A failure says the worst element and names the first of `mistakes` that equals `got`, and not
/// `expected`; NaN equals NaN there.
testing::AssertionResult matches_distribution(std::span<const double> got, std::span<const double> expected,
                                              double absolute, double relative,
                                              std::span<const KnownDistribution> mistakes = {});

/// One of several answers of a test.
struct Case {
  std::string what;  ///< which one: "gamma 4, alpha 0.9"
  std::vector<double> got;
  std::vector<double> expected;
  std::function<std::vector<KnownDistribution>()> mistakes;  ///< asked for after a failure only; in all cases
                                                             ///< the same ones, in the same order
};

/// matches_distribution for all cases. A failure shows the first wrong case, and names a mistake only when it
/// explains every answer: in a single case different mistakes often look alike.
testing::AssertionResult all_match(std::span<const Case> cases, double absolute, double relative);

}  // namespace lab06_tests
