#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "kit/tensor.h"
#include "known_distribution.h"
#include "lab06/acceptance.h"
#include "lab06/distribution.h"

/// The definitions of tasks 1 and 2, slow and in double, and the classic mistakes beside them.
namespace lab06_tests {

enum class DistributionMistake {
  kNone,
  kTimesTemperature,
  kNoTemperature,
  kTopPBeforeTemperature,
  kTopPOfAll,
  kWithoutCrossing,
  kOneTooMany,
  kTopKKeepsTies,
  kTiesToHigherIds,
  kNotRenormalised,
  kNoMaximum,
  kInFloat,
};

/// What to_distribution must return.
std::vector<double> reference_distribution(std::span<const float> logits, const lab06::SamplingRule& rule,
                                           DistributionMistake mistake = DistributionMistake::kNone);
/// Of all mistakes, for these arguments.
std::vector<KnownDistribution> wrong_distributions(std::span<const float> logits,
                                                   const lab06::SamplingRule& rule);

/// What sample must return.
int reference_sample(std::span<const double> p, double u);

enum class AcceptanceMistake {
  kNone,
  kOnlyWhereLarger,
  kAcceptWithP,
  kAtMost,
  kCorrectionFromP,
  kCorrectionWithoutToken,
  kScalarResidual,
  kNotNormalised,
  kResidualOfNextRow,
  kBonusFromDraft,
  kBonusFromLastRow,
  kGoesOn,
  kNextUniform,
  kUniformOfTest,
};

/// Completes "the result matches ...".
std::string cause_of(AcceptanceMistake mistake);
/// All but kNone.
std::vector<AcceptanceMistake> acceptance_mistakes();

double reference_acceptance(std::span<const double> p, std::span<const double> q, int token);
std::vector<double> reference_residual(std::span<const double> p, std::span<const double> q);
/// What accept_draft must return. Arguments must be right.
lab06::AcceptedTokens reference_accept(kit::TensorView<const double> p, kit::TensorView<const double> q,
                                       std::span<const int> draft_tokens, std::span<const double> uniforms,
                                       AcceptanceMistake mistake = AcceptanceMistake::kNone);

}  // namespace lab06_tests
