#include "lab06/acceptance.h"

#include <algorithm>

#include "lab06/distribution.h"

namespace lab06 {

namespace {

void check_arguments(kit::TensorView<const double> p, kit::TensorView<const double> q,
                     std::span<const int> draft_tokens, std::span<const double> uniforms) {
  const auto gamma = std::ssize(draft_tokens);
  KIT_CHECK(
      p.rank() == 2 && p.dim(0) == gamma + 1 && p.dim(1) > 0 && q.shape() == kit::Shape({gamma, p.dim(1)}),
      "p {} and q {} for {} draft tokens: want [gamma + 1, vocab_size] and [gamma, vocab_size]",
      p.shape().to_string(), q.shape().to_string(), gamma);
  KIT_CHECK(std::ssize(uniforms) == gamma + 1, "{} uniforms for {} draft tokens, want one more than drafts",
            uniforms.size(), gamma);
  for (const double u : uniforms) KIT_CHECK(u >= 0.0 && u < 1.0, "uniform {} is not in [0, 1)", u);
}

}  // namespace

double acceptance_probability(std::span<const double> p, std::span<const double> q, int token) {
  KIT_CHECK(p.size() == q.size(), "p has {} tokens, q {}", p.size(), q.size());
  KIT_CHECK(token >= 0 && token < std::ssize(q), "token {} of a vocabulary of {}", token, q.size());
  KIT_CHECK(q[token] > 0.0, "q[{}] is {}: the draft cannot have drawn this token", token, q[token]);
  return std::min(1.0, p[token] / q[token]);
}

std::vector<double> residual_distribution(std::span<const double> p, std::span<const double> q) {
  KIT_CHECK(!p.empty() && p.size() == q.size(), "p has {} tokens, q {}", p.size(), q.size());
  std::vector<double> residual(p.size());
  double total = 0.0;
  for (std::size_t i = 0; i < p.size(); ++i) total += residual[i] = std::max(0.0, p[i] - q[i]);
  if (total == 0.0) return {p.begin(), p.end()};  // p == q: nothing is rejected, so nobody draws from this
  return residual;
}

AcceptedTokens accept_draft(kit::TensorView<const double> p, kit::TensorView<const double> q,
                            std::span<const int> draft_tokens, std::span<const double> uniforms) {
  check_arguments(p, q, draft_tokens, uniforms);
  const int gamma = static_cast<int>(draft_tokens.size());
  int n_accepted = gamma;
  for (int i = gamma - 1; i >= 0; --i) {
    // All are looked at, so that a draft that cannot be is an error wherever it stands; the first rejection
    // counts, which from right to left is the last one seen.
    if (uniforms[i] >= acceptance_probability(p.row(i), q.row(i), draft_tokens[i])) n_accepted = i;
  }
  const double u = uniforms[gamma];
  if (n_accepted == gamma) return {n_accepted, sample(p.row(gamma), u)};
  return {n_accepted, sample(residual_distribution(p.row(n_accepted), q.row(n_accepted)), u)};
}

}  // namespace lab06
