#include "kit/sampling.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "kit/check.h"

namespace kit {
namespace {

int largest(std::span<const float> logits) {
  // max_element returns the first of equal elements.
  return static_cast<int>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

}  // namespace

int sample(std::span<const float> logits, float temperature, Rng& rng) {
  KIT_CHECK(!logits.empty(), "no logits to sample from");
  KIT_CHECK(temperature >= 0.0F, "temperature {} must not be negative", temperature);
  const auto nan = std::find_if(logits.begin(), logits.end(), [](float logit) { return std::isnan(logit); });
  KIT_CHECK(nan == logits.end(), "logit {} is NaN", nan - logits.begin());
  const int best = largest(logits);
  if (temperature == 0.0F) return best;
  KIT_CHECK(std::isfinite(logits[best]), "the largest logit, {}, is {}: no softmax", best, logits[best]);

  std::vector<double> cumulative(logits.size());
  double total = 0.0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    total += std::exp((static_cast<double>(logits[i]) - logits[best]) / temperature);
    cumulative[i] = total;
  }
  // The first token whose cumulative probability exceeds u, so that a token of probability 0 is never taken.
  const double u = rng.uniform() * total;
  const auto chosen = std::upper_bound(cumulative.begin(), cumulative.end(), u);
  if (chosen != cumulative.end()) return static_cast<int>(chosen - cumulative.begin());
  // u rounded up to the total: the last token of positive probability.
  return static_cast<int>(std::lower_bound(cumulative.begin(), cumulative.end(), total) - cumulative.begin());
}

}  // namespace kit
