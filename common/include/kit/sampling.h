#pragma once

#include <functional>
#include <span>

#include "kit/rng.h"

namespace kit {

/// How to go on from the logits.
struct SamplingConfig {
  int max_new_tokens = 128;
  float temperature = 0.0F;  ///< 0 is greedy
};

/// Called with each new token as soon as it is known.
using OnToken = std::function<void(int token)>;

/// The next token. Greedy: the largest logit, the lowest id on a tie, no random number used. Otherwise one
/// uniform number selects by inverse CDF from softmax(logits / temperature), computed in double. logits:
/// [vocab_size]. Throws kit::Error on no logits, a NaN, or a negative temperature.
int sample(std::span<const float> logits, float temperature, Rng& rng);

}  // namespace kit
