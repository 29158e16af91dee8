#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kit/llama.h"
#include "kit/step_executor.h"

/// Small random models whose logits have the same bits in every batch and every chunk of tokens, so that
/// tests can ask for identical tokens.
namespace lab06_tests {

struct TinyLlama {
  kit::ModelConfig config;
  std::shared_ptr<const kit::LlamaWeights> weights;

  std::unique_ptr<kit::Model> model() const {
    return kit::make_llama(config, weights, kit::gathered_attention_ops());
  }
};

/// 41 tokens, two layers, grouped queries, 96 positions; other weights for every stream. `eos` end the text.
TinyLlama tiny_llama(std::uint64_t stream, std::vector<int> eos = {});
/// The same with noise in all weights: a draft model that is often right. noise: share of their size.
TinyLlama noisy_copy(const TinyLlama& of, float noise, std::uint64_t stream);

/// n random tokens of the model's vocabulary.
std::vector<int> random_tokens(int n, const kit::ModelConfig& config, kit::Rng& rng);

/// Where two lists of tokens part, and how. `cause` completes "the tokens match ..."; may be empty.
testing::AssertionResult same_tokens(const std::vector<int>& got, const std::vector<int>& expected,
                                     const std::string& cause = "");

}  // namespace lab06_tests
