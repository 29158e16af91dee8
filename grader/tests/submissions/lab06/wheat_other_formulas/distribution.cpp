#include "lab06/distribution.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "kit/check.h"

namespace lab06 {

namespace {

void check_arguments(std::span<const float> logits, const SamplingRule& rule) {
  KIT_CHECK(!logits.empty(), "no logits");
  KIT_CHECK(rule.temperature >= 0.0 && std::isfinite(rule.temperature), "temperature is {}",
            rule.temperature);
  KIT_CHECK(rule.top_k >= 0, "top_k is {}", rule.top_k);
  KIT_CHECK(rule.top_p > 0.0 && rule.top_p <= 1.0, "top_p is {}, must be in (0, 1]", rule.top_p);
  for (std::size_t i = 0; i < logits.size(); ++i) {
    KIT_CHECK(!std::isnan(logits[i]) && logits[i] < INFINITY, "logit {} is {}", i, logits[i]);
  }
}

}  // namespace

std::vector<double> to_distribution(std::span<const float> logits, const SamplingRule& rule) {
  check_arguments(logits, rule);
  std::vector<int> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, std::ranges::greater(), [&](int i) { return logits[i]; });
  const double largest = logits[order[0]];
  KIT_CHECK(std::isfinite(largest), "all {} logits are -inf", logits.size());
  std::vector<double> p(logits.size(), 0.0);
  if (rule.temperature == 0.0) {
    p[order[0]] = 1.0;
    return p;
  }
  if (rule.top_k > 0 && rule.top_k < std::ssize(order)) order.resize(static_cast<std::size_t>(rule.top_k));
  // Logarithm of the sum first, and probabilities that sum to 1 from the start.
  const auto log_sum = [&] {
    double sum = 0.0;
    for (const int i : order) sum += std::exp((logits[i] - largest) / rule.temperature);
    return std::log(sum);
  };
  const double log_of_top_k = log_sum();
  double missing = 1.0;  // of the sum of all, what is not kept yet
  std::size_t n_kept = 0;
  while (n_kept < order.size() && (rule.top_p == 1.0 || 1.0 - missing < rule.top_p)) {
    missing -= std::exp((logits[order[n_kept++]] - largest) / rule.temperature - log_of_top_k);
  }
  order.resize(n_kept);
  const double log_of_kept = log_sum();
  for (const int i : order) p[i] = std::exp((logits[i] - largest) / rule.temperature - log_of_kept);
  return p;
}

int sample(std::span<const double> p, double u) {
  KIT_CHECK(u >= 0.0 && u < 1.0, "u is {}, must be in [0, 1)", u);
  int last_possible = -1;
  double left = u;
  for (std::size_t i = 0; i < p.size(); ++i) {
    KIT_CHECK(p[i] >= 0.0 && std::isfinite(p[i]), "p[{}] is {}", i, p[i]);
    left -= p[i];
    if (p[i] > 0.0) last_possible = static_cast<int>(i);
    // Subtracting 0 changes nothing, so the token that makes it negative has a positive probability.
    if (left < 0.0) return last_possible;
  }
  KIT_CHECK(last_possible >= 0, "none of {} tokens has a positive probability", p.size());
  return last_possible;
}

}  // namespace lab06
