#include "lab06/speedup_model.h"

#include "kit/check.h"

// Task 6.

namespace lab06 {

double expected_tokens(double /*alpha*/, int /*gamma*/) {
  throw kit::NotImplemented("lab06 task 6: expected_tokens");
}

double speedup(double /*alpha*/, int /*gamma*/, double /*draft_cost*/, double /*verify_cost*/) {
  throw kit::NotImplemented("lab06 task 6: speedup");
}

int best_gamma(double /*alpha*/, double /*draft_cost*/, int /*max_gamma*/) {
  throw kit::NotImplemented("lab06 task 6: best_gamma");
}

int best_gamma_for_costs(double /*alpha*/, double /*draft_cost*/, std::span<const double> /*verify_costs*/) {
  throw kit::NotImplemented("lab06 task 6: best_gamma_for_costs");
}

double roofline_verify_cost(int /*n_seqs*/, int /*gamma*/, double /*ridge_tokens*/) {
  throw kit::NotImplemented("lab06 task 6: roofline_verify_cost");
}

double acceptance_rate(std::span<const RoundCounts> /*rounds*/) {
  throw kit::NotImplemented("lab06 task 6: acceptance_rate");
}

}  // namespace lab06
