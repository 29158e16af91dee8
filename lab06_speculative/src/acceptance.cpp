#include "lab06/acceptance.h"

// Task 2.

namespace lab06 {

double acceptance_probability(std::span<const double> /*p*/, std::span<const double> /*q*/, int /*token*/) {
  throw kit::NotImplemented("lab06 task 2: acceptance_probability");
}

std::vector<double> residual_distribution(std::span<const double> /*p*/, std::span<const double> /*q*/) {
  throw kit::NotImplemented("lab06 task 2: residual_distribution");
}

AcceptedTokens accept_draft(kit::TensorView<const double> /*p*/, kit::TensorView<const double> /*q*/,
                            std::span<const int> /*draft_tokens*/, std::span<const double> /*uniforms*/) {
  throw kit::NotImplemented("lab06 task 2: accept_draft");
}

}  // namespace lab06
