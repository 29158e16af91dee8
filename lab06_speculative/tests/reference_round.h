#pragma once

#include <gtest/gtest.h>

#include <ostream>
#include <span>
#include <string>
#include <vector>

#include "kit/rng.h"
#include "lab06/speculative_decoder.h"
#include "lab06/speculative_round.h"
#include "table_model.h"

/// A round and a decoder from the definitions, on tables: no cache, no forward pass, in double. And the
/// classic wrong ones.
namespace lab06_tests {

enum class RoundMistake {
  kNone,
  kCorrectionFirst,
  kNoBonus,
  kBonusFromDraft,
  kBonusCounted,
  kRuleOnTargetOnly,
  kFirstRows,
  kEndOfTextIgnored,
  kDraftBehind,
  kResidualIsTarget,
  kOneUniform,
};

/// What a round is asked for. What the caches lack changes nothing in a right round, but in some wrong ones.
struct RoundCase {
  std::span<const int> context;
  int gamma = 0;
  lab06::SamplingRule rule;
  int target_lacks = 1;  ///< tokens of the context that the target's cache lacks
  int draft_lacks = 1;   ///< and the draft's
};
lab06::RoundResult reference_round(const TableModel& target, const TableModel& draft, const RoundCase& round,
                                   kit::Rng& rng, RoundMistake mistake = RoundMistake::kNone);

/// `got` is what reference_round says, and `rng_after` where it leaves `rng`; else names the mistake.
testing::AssertionResult is_reference_round(const lab06::RoundResult& got, const kit::Rng& rng_after,
                                            const TableModel& target, const TableModel& draft,
                                            const RoundCase& round, const kit::Rng& rng);

lab06::SpeculativeResult reference_generate(const TableModel& target, const TableModel& draft,
                                            std::span<const int> prompt,
                                            const lab06::SpeculativeConfig& config, kit::Rng& rng);

/// "[3, 1, 4]".
std::string to_text(std::span<const int> tokens);

}  // namespace lab06_tests

namespace lab06 {

/// For messages of GoogleTest: "tokens [4, 5], 4 drafted, 1 accepted".
// NOLINTNEXTLINE(readability-identifier-naming)
void PrintTo(const RoundResult& round, std::ostream* out);

}  // namespace lab06
