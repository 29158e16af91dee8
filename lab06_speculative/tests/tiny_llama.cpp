#include "tiny_llama.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "kit/testing.h"

namespace lab06_tests {

TinyLlama tiny_llama(std::uint64_t stream, std::vector<int> eos) {
  kit::ModelConfig config;
  config.vocab_size = 41;
  config.dim = 24;
  config.hidden_dim = 40;
  config.n_layers = 2;
  config.n_heads = 4;
  config.n_kv_heads = 2;
  config.head_dim = 6;
  config.max_seq_len = 96;
  config.eos_token_ids = std::move(eos);
  kit::Rng rng = kit::testing::make_rng(stream);
  return {config, std::make_shared<const kit::LlamaWeights>(kit::random_llama_weights(config, rng))};
}

TinyLlama noisy_copy(const TinyLlama& of, float noise, std::uint64_t stream) {
  kit::Rng rng = kit::testing::make_rng(stream);
  auto weights = std::make_shared<kit::LlamaWeights>(*of.weights);
  const auto disturb = [&](kit::Tensor<float>& w) {
    double power = 0.0;
    for (const float x : w.span()) power += double{x} * x;
    const double size = noise * std::sqrt(power / static_cast<double>(w.size()));
    for (float& x : w.span()) x += static_cast<float>(size * rng.normal());
  };
  for (const kit::LinearId id : kit::linears_of(of.config)) disturb(kit::weight_of(*weights, id));
  disturb(weights->lm_head);
  return {of.config, weights};
}

std::vector<int> random_tokens(int n, const kit::ModelConfig& config, kit::Rng& rng) {
  std::vector<int> tokens(static_cast<std::size_t>(n));
  for (int& token : tokens)
    token = static_cast<int>(rng.below(static_cast<std::uint32_t>(config.vocab_size)));
  return tokens;
}

testing::AssertionResult same_tokens(const std::vector<int>& got, const std::vector<int>& expected,
                                     const std::string& cause) {
  if (got == expected) return testing::AssertionSuccess();
  auto failure = testing::AssertionFailure();
  failure << got.size() << " tokens, expected " << expected.size() << "; ";
  const auto [g, e] = std::mismatch(got.begin(), got.end(), expected.begin(), expected.end());
  if (e == expected.end()) {
    failure << "it went on too long";
  } else if (g == got.end()) {
    failure << "it ended too early";
  } else {
    failure << "the first difference is at new token " << e - expected.begin() << ": got " << *g
            << ", expected " << *e;
  }
  if (!cause.empty()) failure << ". Likely cause: the tokens match " << cause;
  return failure;
}

}  // namespace lab06_tests
