#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "kit/llama.h"
#include "kit/reference.h"
#include "kit/sampling.h"
#include "kit/testing.h"

/// Models, prompts and expected tokens for the generation tests and the milestone.
namespace lab02_tests {

/// A small random model with grouped queries, other weights for every stream; `eos` end the text.
inline std::unique_ptr<kit::Model> tiny_model(std::uint64_t stream, std::vector<int> eos = {}) {
  kit::ModelConfig config;
  config.vocab_size = 97;
  config.dim = 32;
  config.hidden_dim = 64;
  config.n_layers = 2;
  config.n_heads = 4;
  config.n_kv_heads = 2;
  config.head_dim = 8;
  config.max_seq_len = 64;
  config.eos_token_ids = std::move(eos);
  kit::Rng rng = kit::testing::make_rng(stream);
  auto weights = std::make_shared<kit::LlamaWeights>(kit::random_llama_weights(config, rng));
  return kit::make_llama(config, std::move(weights), kit::reference_attention_ops());
}

/// The shipped target model, with the kit's attention.
inline std::unique_ptr<kit::Model> shipped_model() {
  return kit::load_llama(kit::testing::models_dir() / "target", kit::reference_attention_ops());
}

inline std::vector<int> random_prompt(const kit::Model& model, int n, std::uint64_t stream) {
  kit::Rng rng = kit::testing::make_rng(stream);
  std::vector<int> prompt(static_cast<std::size_t>(n));
  for (int& token : prompt)
    token = static_cast<int>(rng.below(static_cast<std::uint32_t>(model.config().vocab_size)));
  return prompt;
}

/// What both functions must return, by the kit's own loop without a cache. The model's counters are put back
/// to zero.
inline std::vector<int> expected_tokens(kit::Model& model, std::span<const int> prompt,
                                        const kit::SamplingConfig& config, std::uint64_t seed) {
  kit::Rng rng(seed);
  std::vector<int> sequence(prompt.begin(), prompt.end());
  std::vector<int> result;
  while (static_cast<int>(result.size()) < config.max_new_tokens) {
    result.push_back(kit::sample(model.forward(sequence).span(), config.temperature, rng));
    sequence.push_back(result.back());
    if (model.config().is_eos(result.back())) break;
  }
  model.reset_stats();
  return result;
}

/// Compares token by token; on a difference tells where, and the likely cause where the wrong token has one.
inline ::testing::AssertionResult same_tokens(const std::vector<int>& got, const std::vector<int>& expected,
                                              kit::Model& model, std::span<const int> prompt) {
  if (got == expected) return ::testing::AssertionSuccess();
  auto failure = ::testing::AssertionFailure();
  if (got.size() > expected.size() && std::equal(expected.begin(), expected.end(), got.begin())) {
    return failure << got.size() << " tokens, expected " << expected.size()
                   << ": generation went on too long";
  }
  const auto difference = std::mismatch(got.begin(), got.end(), expected.begin(), expected.end());
  const auto g = difference.first;
  const auto e = difference.second;
  const auto i = e - expected.begin();
  failure << got.size() << " tokens, expected " << expected.size() << "; ";
  if (g == got.end() || e == expected.end()) return failure << "generation ended too early\n";
  failure << "the first difference is at new token " << i << ": got " << *g << ", expected " << *e << "\n";
  if (i == 0) return failure;
  const int last = expected[static_cast<std::size_t>(i - 1)];
  const std::vector<int> repeated = [&] {
    std::vector<int> sequence(prompt.begin(), prompt.end());
    sequence.insert(sequence.end(), expected.begin(), e - 1);
    return sequence;
  }();
  kit::Rng rng(1);
  const int without_context = kit::sample(model.forward(std::vector<int>{last}).span(), 0.0F, rng);
  const int not_fed_back = kit::sample(model.forward(repeated).span(), 0.0F, rng);
  model.reset_stats();
  if (*g == without_context) {
    failure << "Likely cause: the result matches a model that sees only its last token. Is the cache made "
               "anew, or "
               "reset, at every step?\n";
  } else if (*g == not_fed_back) {
    failure << "Likely cause: the result matches a model that was not given the last token it produced.\n";
  }
  return failure;
}

}  // namespace lab02_tests
