#pragma once

#include <span>
#include <vector>

#include "kit/model.h"
#include "kit/rng.h"
#include "kit/sampling.h"

/// Lab 02, task 4: writing text, token by token.
namespace lab02 {

/// Generates up to `config.max_new_tokens` tokens after `prompt` and returns them, the prompt not included.
///
/// Both functions choose each token with kit::sample(logits of the last position, config.temperature, rng),
/// call `on_token` (when it is set) with it at once, and stop after config.max_new_tokens tokens or behind
/// the first token for which model.config().is_eos() holds; that token is part of the result. They return the
/// same tokens for the same prompt, configuration and state of `rng`.
///
/// Without a cache every step runs the whole sequence again: model.forward(tokens).
/// With N tokens generated from a prompt of P the model processes N * P + N (N - 1) / 2 tokens.
///
/// Throws kit::Error before running anything when the prompt is empty, max_new_tokens is negative, or
/// P + max_new_tokens - 1 exceeds model.config().max_seq_len (the last token is never fed back).
std::vector<int> generate_without_cache(kit::Model& model, std::span<const int> prompt,
                                        const kit::SamplingConfig& config, kit::Rng& rng,
                                        const kit::OnToken& on_token = {});

/// The same tokens, but the prompt runs once and each new token alone: model.forward(tokens, cache) with a
/// cache from make_kv_cache. The model processes P + N - 1 tokens.
std::vector<int> generate_with_cache(kit::Model& model, std::span<const int> prompt,
                                     const kit::SamplingConfig& config, kit::Rng& rng,
                                     const kit::OnToken& on_token = {});

}  // namespace lab02
