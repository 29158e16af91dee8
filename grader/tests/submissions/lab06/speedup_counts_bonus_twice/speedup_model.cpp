#include "lab06/speedup_model.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kit/check.h"

namespace lab06 {

double expected_tokens(double alpha, int gamma) {
  KIT_CHECK(alpha >= 0.0 && alpha <= 1.0, "alpha is {}, must be in [0, 1]", alpha);
  KIT_CHECK(gamma >= 0, "gamma is {}", gamma);
  // The sum itself holds for alpha = 1 too, where the quotient is 0 / 0.
  double expected = 0.0;
  double power = 1.0;  // probability that the first i draft tokens are all accepted
  for (int i = 0; i < gamma; ++i, power *= alpha) expected += power;
  return expected + 1.0;
}

double speedup(double alpha, int gamma, double draft_cost, double verify_cost) {
  KIT_CHECK(draft_cost >= 0.0 && std::isfinite(draft_cost), "draft_cost is {}", draft_cost);
  KIT_CHECK(verify_cost > 0.0 && std::isfinite(verify_cost), "verify_cost is {}", verify_cost);
  return expected_tokens(alpha, gamma) / (gamma * draft_cost + verify_cost);
}

int best_gamma(double alpha, double draft_cost, int max_gamma) {
  KIT_CHECK(max_gamma >= 0, "max_gamma is {}", max_gamma);
  const std::vector<double> verify_costs(static_cast<std::size_t>(max_gamma) + 1, 1.0);
  return best_gamma_for_costs(alpha, draft_cost, verify_costs);
}

int best_gamma_for_costs(double alpha, double draft_cost, std::span<const double> verify_costs) {
  KIT_CHECK(!verify_costs.empty(), "no verify costs");
  int best = 0;
  double best_speedup = 0.0;
  for (int gamma = 0; gamma < std::ssize(verify_costs); ++gamma) {
    const double s = speedup(alpha, gamma, draft_cost, verify_costs[gamma]);
    if (s > best_speedup) best = gamma, best_speedup = s;
  }
  return best;
}

double roofline_verify_cost(int n_seqs, int gamma, double ridge_tokens) {
  KIT_CHECK(n_seqs >= 1, "n_seqs is {}", n_seqs);
  KIT_CHECK(gamma >= 0, "gamma is {}", gamma);
  KIT_CHECK(ridge_tokens > 0.0 && std::isfinite(ridge_tokens), "ridge_tokens is {}", ridge_tokens);
  const double n_tokens = n_seqs * (gamma + 1.0);
  return std::max(n_tokens, ridge_tokens) / std::max<double>(n_seqs, ridge_tokens);
}

double acceptance_rate(std::span<const RoundCounts> rounds) {
  std::int64_t n_tested = 0;
  std::int64_t n_accepted = 0;
  for (const RoundCounts& round : rounds) {
    KIT_CHECK(round.n_accepted >= 0 && round.n_accepted <= round.n_drafted, "{} accepted of {} draft tokens",
              round.n_accepted, round.n_drafted);
    n_accepted += round.n_accepted;
    // Behind the first rejection nothing is tested: those tokens say nothing about alpha.
    n_tested += std::min(round.n_accepted + 1, round.n_drafted);
  }
  KIT_CHECK(n_tested > 0, "none of {} rounds tested a draft token", rounds.size());
  return static_cast<double>(n_accepted) / static_cast<double>(n_tested);
}

}  // namespace lab06
