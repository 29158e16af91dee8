#include "chi_square.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "kit/check.h"

namespace lab06_tests {

namespace {

constexpr double kPooledBelow = 20.0;

/// x^a e^-x / Gamma(a), the factor before both of the series below.
double leading_factor(double a, double x) {
  return std::exp(a * std::log(x) - x - std::lgamma(a));
}

/// P(a, x), the lower one, as a power series; for x < a + 1, where it converges fast.
double lower_gamma(double a, double x) {
  double term = 1.0 / a;
  double sum = term;
  for (int n = 1; n < 100000 && term > sum * 1e-17; ++n) sum += term *= x / (a + n);
  return sum * leading_factor(a, x);
}

/// Q(a, x), the upper one, as a continued fraction (Lentz's method); for x >= a + 1.
double upper_gamma(double a, double x) {
  constexpr double kTiny = 1e-300;
  double b = x + 1.0 - a;
  double c = 1.0 / kTiny;
  double d = 1.0 / b;
  double fraction = d;
  for (int n = 1; n < 100000; ++n) {
    const double numerator = -n * (n - a);
    b += 2.0;
    d = 1.0 / std::max(std::abs(numerator * d + b), kTiny) * (numerator * d + b < 0.0 ? -1.0 : 1.0);
    c = b + numerator / c;
    if (std::abs(c) < kTiny) c = kTiny;
    fraction *= c * d;
    if (std::abs(c * d - 1.0) < 1e-16) break;
  }
  return fraction * leading_factor(a, x);
}

struct Cell {
  double expected = 0.0;
  double observed = 0.0;
};

/// The cells, those that expect little pooled from the rarest on. What then is still too little joins the
/// last pool, or the rarest cell of the others.
std::vector<Cell> pooled(std::vector<Cell> cells) {
  std::ranges::stable_sort(cells, {}, &Cell::expected);
  std::vector<Cell> result;
  bool last_is_full = true;
  for (const Cell& cell : cells) {
    if (last_is_full) result.emplace_back();
    result.back().expected += cell.expected;
    result.back().observed += cell.observed;
    last_is_full = result.back().expected >= kPooledBelow;
  }
  if (!last_is_full && result.size() > 1) {
    const Cell rest = result.back();
    result.pop_back();
    result.back().expected += rest.expected;
    result.back().observed += rest.observed;
  }
  return result;
}

}  // namespace

double chi_square_tail(double statistic, int degrees_of_freedom) {
  KIT_CHECK(degrees_of_freedom >= 0 && !std::isnan(statistic), "chi-square {} of {} degrees of freedom",
            statistic, degrees_of_freedom);
  if (statistic <= 0.0 || degrees_of_freedom == 0) return 1.0;
  const double a = degrees_of_freedom / 2.0;
  const double x = statistic / 2.0;
  return x < a + 1.0 ? 1.0 - lower_gamma(a, x) : upper_gamma(a, x);
}

GoodnessOfFit goodness_of_fit(std::span<const std::int64_t> counts, std::span<const double> probabilities) {
  KIT_CHECK(counts.size() == probabilities.size() && !counts.empty(), "{} counts, {} probabilities",
            counts.size(), probabilities.size());
  GoodnessOfFit result;
  result.n_samples = std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
  const double sum = std::accumulate(probabilities.begin(), probabilities.end(), 0.0);
  KIT_CHECK(result.n_samples > 0 && sum > 0.0, "{} samples, probabilities sum to {}", result.n_samples, sum);
  std::vector<Cell> cells;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (probabilities[i] > 0.0) {
      cells.push_back(
          {probabilities[i] / sum * static_cast<double>(result.n_samples), static_cast<double>(counts[i])});
    } else if (counts[i] > 0) {
      result.p_value = 0.0;  // it happened, and cannot
      result.statistic = INFINITY;
    }
  }
  const std::vector<Cell> tested = pooled(cells);
  result.degrees_of_freedom = static_cast<int>(tested.size()) - 1;
  if (result.p_value == 0.0) return result;
  for (const auto& [expected, observed] : tested) {
    if (observed > 0.0) result.statistic += 2.0 * observed * std::log(observed / expected);
  }
  result.p_value = chi_square_tail(result.statistic, result.degrees_of_freedom);
  return result;
}

testing::AssertionResult follows(std::span<const std::int64_t> counts, std::span<const double> probabilities,
                                 std::span<const KnownDistribution> mistakes) {
  const GoodnessOfFit fit = goodness_of_fit(counts, probabilities);
  if (fit.p_value >= kFalseAlarmRate) return testing::AssertionSuccess();
  const double n = static_cast<double>(fit.n_samples);
  std::size_t worst = 0;
  double worst_sigmas = -1.0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const double expected = n * probabilities[i];
    const double sigmas =
        std::abs(static_cast<double>(counts[i]) - expected) / std::sqrt(std::max(expected, 1e-9));
    if (sigmas > worst_sigmas) worst = i, worst_sigmas = sigmas;
  }
  std::string message = fmt::format(
      "{} samples do not follow the distribution: chi-square {:.6g} with {} degrees of freedom, p-value "
      "{:.3g} "
      "(below {}).\n  The farthest off is cell {}: seen {} times, expected {:.6g}",
      fit.n_samples, fit.statistic, fit.degrees_of_freedom, fit.p_value, kFalseAlarmRate, worst,
      counts[worst], n * probabilities[worst]);
  for (const KnownDistribution& mistake : mistakes) {
    if (mistake.probabilities.size() != counts.size()) continue;
    if (goodness_of_fit(counts, mistake.probabilities).p_value < kFalseAlarmRate) continue;
    message += fmt::format("\nLikely cause: the result matches {}.", mistake.cause);
    break;
  }
  return testing::AssertionFailure() << message;
}

}  // namespace lab06_tests
