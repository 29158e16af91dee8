#include "known_distribution.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace lab06_tests {

namespace {

// Beyond the tolerance: a wrong formula may be rounded in more than one way.
constexpr double kWider = 1e-12;
constexpr double kWiderRelative = 1e-6;

bool near(double got, double expected, double absolute, double relative) {
  if (got == expected) return true;  // infinities too
  return std::abs(got - expected) <= absolute + relative * std::abs(expected);
}

bool all_near(std::span<const double> got, std::span<const double> expected, double absolute,
              double relative) {
  return std::ranges::equal(got, expected, [&](double a, double b) {
    return near(a, b, absolute, relative) || (std::isnan(a) && std::isnan(b));
  });
}

}  // namespace

testing::AssertionResult matches_distribution(std::span<const double> got, std::span<const double> expected,
                                              double absolute, double relative,
                                              std::span<const KnownDistribution> mistakes) {
  if (got.size() != expected.size()) {
    return testing::AssertionFailure()
           << fmt::format("{} probabilities, expected {}", got.size(), expected.size());
  }
  std::string message;
  int n_wrong = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (near(got[i], expected[i], absolute, relative)) continue;
    if (++n_wrong > 4) continue;  // the first few are enough to see
    message += fmt::format("\n  [{}]: got {:.17g}, expected {:.17g}, a difference of {:.3g}", i, got[i],
                           expected[i], got[i] - expected[i]);
  }
  if (n_wrong == 0) return testing::AssertionSuccess();
  message = fmt::format("{} of {} numbers are wrong (tolerance {} + {} relative):{}", n_wrong, got.size(),
                        absolute, relative, message);
  for (const KnownDistribution& mistake : mistakes) {
    if (!all_near(got, mistake.probabilities, absolute + kWider, relative + kWiderRelative)) continue;
    if (all_near(expected, mistake.probabilities, absolute, relative)) continue;
    message += fmt::format("\nLikely cause: the result matches {}.", mistake.cause);
    break;
  }
  return testing::AssertionFailure() << message;
}

testing::AssertionResult all_match(std::span<const Case> cases, double absolute, double relative) {
  const auto is_right = [&](const Case& c) {
    return bool(matches_distribution(c.got, c.expected, absolute, relative));
  };
  const auto first = std::ranges::find_if_not(cases, is_right);
  if (first == cases.end()) return testing::AssertionSuccess();
  std::vector<KnownDistribution> explanations = first->mistakes();
  for (const Case& c : cases) {
    const std::vector<KnownDistribution> mistakes = c.mistakes();
    std::erase_if(explanations, [&](const KnownDistribution& x) {
      const auto here = std::ranges::find(mistakes, x.cause, &KnownDistribution::cause);
      return here == mistakes.end() ||
             !all_near(c.got, here->probabilities, absolute + kWider, relative + kWiderRelative);
    });
  }
  return testing::AssertionFailure()
         << fmt::format("{} of {} cases are wrong; the first: {}\n",
                        cases.size() - static_cast<std::size_t>(std::ranges::count_if(cases, is_right)),
                        cases.size(), first->what)
         << matches_distribution(first->got, first->expected, absolute, relative, explanations).message();
}

}  // namespace lab06_tests
