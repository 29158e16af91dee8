#include "kit/interleaved.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kit/check.h"
#include "kit/work_clock.h"

namespace kit {

namespace {

/// The value that a share `q` of the sorted values lies below, interpolated.
double quantile(const std::vector<double>& sorted, double q) {
  const double at = q * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<std::size_t>(at);
  const std::size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (at - std::floor(at)) * (sorted[high] - sorted[low]);
}

}  // namespace

std::string SpeedRatio::to_string() const {
  return fmt::format(
      "{:.3f} +- {:.3f} of the reference (median and half the distance of the quartiles, {} pairs, "
      "round {})",
      median, spread, n_pairs, n_rounds);
}

SpeedRatio compare_speed(const std::function<void()>& candidate, const std::function<void()>& reference,
                         double bar, const InterleavedOptions& options) {
  KIT_CHECK(options.n_pairs >= 9, "n_pairs is {}, must be at least 9", options.n_pairs);
  KIT_CHECK(options.max_rounds > 0, "max_rounds is {}, must be positive", options.max_rounds);
  KIT_CHECK(bar > 0 && std::isfinite(bar), "bar is {}, must be positive", bar);
  const std::function<double()> now_s = options.now_s ? options.now_s : work_seconds;
  const auto seconds = [&](const std::function<void()>& work) {
    const double start = now_s();
    work();
    return now_s() - start;
  };

  candidate();
  reference();
  SpeedRatio result;
  result.n_pairs = options.n_pairs;
  while (result.n_rounds < options.max_rounds) {
    ++result.n_rounds;
    std::vector<double> ratios;
    for (int pair = 0; pair < options.n_pairs; ++pair) {
      const bool candidate_first = pair % 2 == 0;
      const double first = seconds(candidate_first ? candidate : reference);
      const double second = seconds(candidate_first ? reference : candidate);
      ratios.push_back(candidate_first ? second / first : first / second);
    }
    std::sort(ratios.begin(), ratios.end());
    result.median = quantile(ratios, 0.5);
    result.spread = (quantile(ratios, 0.75) - quantile(ratios, 0.25)) / 2;
    // Written so that a ratio that is not a number is noise.
    if (!(result.spread <= options.max_spread)) continue;
    if (result.median - result.spread >= bar) result.outcome = SpeedOutcome::kReached;
    if (result.median + result.spread < bar) result.outcome = SpeedOutcome::kMissed;
    if (result.outcome != SpeedOutcome::kInconclusive) break;
  }
  return result;
}

}  // namespace kit
