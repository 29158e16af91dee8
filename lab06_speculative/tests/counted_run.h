#pragma once

#include <cstdint>

#include "kit/model.h"

/// What a speculative decoder did, from the target's calls alone: nothing that the student says is believed.
namespace lab06_tests {

struct CountedRun {
  std::int64_t n_rounds = 0;
  std::int64_t n_drafted = 0;
  std::int64_t n_tested = 0;
  std::int64_t n_accepted = 0;
  std::int64_t n_tokens = 0;  ///< new tokens
  bool plausible = false;     ///< the calls are those of rounds; else the counts mean nothing

  double acceptance() const { return static_cast<double>(n_accepted) / static_cast<double>(n_tested); }
  double tokens_per_call() const { return static_cast<double>(n_tokens) / static_cast<double>(n_rounds); }
  CountedRun& operator+=(const CountedRun& other);
};

/// Of a run without end of text that began with empty caches, and wrote n_new_tokens behind a prompt. A call
/// begins where the text of the rounds before ended, so its place says how many tokens they kept.
/// `gamma` > 0 leaves rounds out that drafted less (the last ones of a text).
CountedRun counted_run(const kit::Model& target, int prompt_len, int n_new_tokens, int gamma = 0);

/// (1 - alpha^(gamma + 1)) / (1 - alpha), summed term by term.
double formula_tokens(double alpha, int gamma);

}  // namespace lab06_tests
