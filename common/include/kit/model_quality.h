#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kit/llama.h"

/// What a changed model loses against the original: KL and agreement, token by token.
namespace kit {

using TokenSequences = std::vector<std::vector<int>>;

/// Texts that the model itself writes from a random first token, all in one batch, at temperature 1. On them
/// the expected difference of the negative log-likelihoods of two models is the KL that model_quality()
/// measures directly, so no text need be shipped. Each has n_tokens tokens; end-of-text is written like any
/// other token and followed by more.
TokenSequences sample_texts(const ModelConfig& config, std::shared_ptr<const LlamaWeights> weights,
                            int n_texts, int n_tokens, Rng& rng);

struct ModelQuality {
  std::int64_t n_tokens = 0;       ///< positions compared
  double kl = 0.0;                 ///< mean over tokens of KL(reference || candidate), in nats
  double kl_standard_error = 0.0;  ///< of that mean, from the differences between texts
  double top1_agreement = 0.0;     ///< share of tokens whose most likely successor is the same
  double reference_nll =
      0.0;           ///< mean negative log-likelihood of the text's next token, nats; perplexity is e^nll
  double nll = 0.0;  ///< the candidate's
};

/// Next-token logits of each text: [n_tokens, vocab_size] each.
std::vector<Tensor<float>> all_logits(Model& model, const TokenSequences& texts);
/// Holds logits against the reference's, in double. Throws kit::Error on shapes that do not fit. A NaN in the
/// candidate's logits makes kl and nll NaN, which passes no comparison.
ModelQuality model_quality(const TokenSequences& texts, const std::vector<Tensor<float>>& reference,
                           const std::vector<Tensor<float>>& candidate);

/// The same function with outliers: n_channels random channels of every RMSNorm's gain before attention and
/// feed-forward times `factor`, and the columns that read them divided by it.
LlamaWeights with_outliers(const LlamaWeights& weights, int n_channels, float factor, Rng& rng);

}  // namespace kit
