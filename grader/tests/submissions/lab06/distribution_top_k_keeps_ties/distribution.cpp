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

/// The tokens that top-k and top-p leave, in falling order of their weights. (Weights of equal logits are
/// equal; different logits whose weights have become equal by rounding must still come in the logits' order.)
std::vector<int> kept_tokens(std::span<const float> logits, std::span<const double> weights,
                             const SamplingRule& rule) {
  const auto before = [&](int a, int b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; };
  std::vector<int> tokens(logits.size());
  std::iota(tokens.begin(), tokens.end(), 0);
  if (rule.top_k > 0 && rule.top_k < std::ssize(tokens)) {
    // Linear: a vocabulary is large and k small, so only what stays gets sorted.
    std::nth_element(tokens.begin(), tokens.begin() + rule.top_k - 1, tokens.end(), before);
    const float last = logits[tokens[rule.top_k - 1]];
    std::erase_if(tokens, [&](int token) { return logits[token] < last; });
  }
  if (rule.top_p == 1.0) return tokens;
  std::sort(tokens.begin(), tokens.end(), before);
  double total = 0.0;
  for (const int token : tokens) total += weights[token];
  double sum = 0.0;
  std::size_t n_kept = 0;
  while (n_kept < tokens.size() && sum < rule.top_p * total) sum += weights[tokens[n_kept++]];
  tokens.resize(n_kept);
  return tokens;
}

}  // namespace

std::vector<double> to_distribution(std::span<const float> logits, const SamplingRule& rule) {
  check_arguments(logits, rule);
  const auto largest = std::ranges::max_element(logits);  // the first of equal ones
  KIT_CHECK(std::isfinite(*largest), "all {} logits are -inf", logits.size());
  std::vector<double> p(logits.size(), 0.0);
  if (rule.temperature == 0.0) {
    p[largest - logits.begin()] = 1.0;
    return p;
  }
  std::vector<double> weights(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i) {
    // The largest weight is 1, so that the sum is neither 0 nor infinite.
    weights[i] = std::exp((static_cast<double>(logits[i]) - *largest) / rule.temperature);
  }
  double total = 0.0;
  for (const int token : kept_tokens(logits, weights, rule)) total += p[token] = weights[token];
  for (double& x : p) x /= total;
  return p;
}

int sample(std::span<const double> p, double u) {
  KIT_CHECK(u >= 0.0 && u < 1.0, "u is {}, must be in [0, 1)", u);
  int last_possible = -1;
  double sum = 0.0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    KIT_CHECK(p[i] >= 0.0 && std::isfinite(p[i]), "p[{}] is {}", i, p[i]);
    sum += p[i];
    if (p[i] > 0.0) last_possible = static_cast<int>(i);
    // Adding 0 leaves the sum as it was, so the first token with u < sum has a positive probability.
    if (u < sum) return last_possible;
  }
  KIT_CHECK(last_possible >= 0, "none of {} tokens has a positive probability", p.size());
  return last_possible;
}

}  // namespace lab06
