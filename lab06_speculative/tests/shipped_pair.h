#pragma once

#include <memory>
#include <vector>

#include "counted_run.h"
#include "kit/model.h"
#include "lab06/speculative_decoder.h"

/// The shipped target and draft under a speculative decoder. End-of-text tokens end nothing here, so that
/// every text has its full length and counts are of equal weight.
namespace lab06_tests {

struct ShippedPair {
  std::unique_ptr<kit::Model> target;
  std::unique_ptr<kit::Model> draft;
};
ShippedPair shipped_pair();

/// n_prompts beginnings of texts, of n_tokens, that the target wrote itself at temperature 1.
std::vector<std::vector<int>> pair_prompts(int n_prompts, int n_tokens, std::uint64_t stream);

struct PairRun {
  std::vector<std::vector<int>> texts;  ///< the new tokens of each prompt
  CountedRun all;                       ///< all rounds, prompts' included
  CountedRun full;                      ///< rounds that drafted gamma tokens
  bool complete = true;                 ///< every text has max_new_tokens
};
/// Runs lab06::speculative_generate on every prompt.
PairRun run_pair(ShippedPair& pair, const std::vector<std::vector<int>>& prompts,
                 const lab06::SpeculativeConfig& config, std::uint64_t stream);

}  // namespace lab06_tests
