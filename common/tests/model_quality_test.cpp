#include "kit/model_quality.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "kit/reference.h"
#include "kit/testing.h"

namespace {

using kit::ModelQuality;
using kit::Tensor;
using kit::TokenSequences;

kit::ModelConfig tiny_config() {
  kit::ModelConfig config;
  config.vocab_size = 29;
  config.dim = 16;
  config.hidden_dim = 24;
  config.n_layers = 2;
  config.n_heads = 4;
  config.n_kv_heads = 2;
  config.head_dim = 4;
  config.max_seq_len = 64;
  return config;
}

std::shared_ptr<const kit::LlamaWeights> tiny_weights() {
  kit::Rng rng = kit::testing::make_rng(71);
  return std::make_shared<const kit::LlamaWeights>(kit::random_llama_weights(tiny_config(), rng));
}

/// Logits of given probabilities, a row a token.
Tensor<float> logits(const std::vector<std::vector<double>>& probabilities) {
  Tensor<float> result(
      {static_cast<std::int64_t>(probabilities.size()), static_cast<std::int64_t>(probabilities[0].size())});
  for (std::size_t t = 0; t < probabilities.size(); ++t) {
    for (std::size_t i = 0; i < probabilities[t].size(); ++i) {
      // Any constant may be added to a row.
      result.row(static_cast<std::int64_t>(t))[i] =
          static_cast<float>(std::log(probabilities[t][i]) + 3.0 * static_cast<double>(t));
    }
  }
  return result;
}

TEST(ModelQuality, ByHand) {
  // The last row has no successor and does not count.
  const Tensor<float> reference = logits({{0.5, 0.25, 0.25}, {0.8, 0.1, 0.1}, {0.1, 0.1, 0.8}});
  const Tensor<float> candidate = logits({{0.25, 0.5, 0.25}, {0.8, 0.1, 0.1}, {0.8, 0.1, 0.1}});
  const ModelQuality q = kit::model_quality({{2, 0, 1}}, {reference}, {candidate});
  EXPECT_EQ(q.n_tokens, 2);
  // 0.5 log 2 + 0.25 log 0.5, and nothing: half of that is the mean.
  EXPECT_NEAR(q.kl, 0.25 * std::log(2.0) / 2.0, 1e-6);
  EXPECT_DOUBLE_EQ(q.top1_agreement, 0.5);
  EXPECT_NEAR(q.reference_nll, -(std::log(0.5) + std::log(0.1)) / 2.0, 1e-6);
  EXPECT_NEAR(q.nll, -(std::log(0.25) + std::log(0.1)) / 2.0, 1e-6);
}

TEST(ModelQuality, StandardErrorIsThatOfIndependentTexts) {
  const Tensor<float> even = logits({{0.5, 0.5}, {0.5, 0.5}});
  const Tensor<float> skewed = logits({{0.9, 0.1}, {0.5, 0.5}});
  // Texts of one token that counts: KLs of 0, 0, k, k. Their standard deviation is k / sqrt(3), n - 1 in it.
  const double k = -0.5 * std::log(4.0 * 0.9 * 0.1);
  const TokenSequences texts(4, std::vector<int>{0, 1});
  const ModelQuality q = kit::model_quality(texts, {even, even, even, even}, {even, even, skewed, skewed});
  EXPECT_NEAR(q.kl, k / 2.0, 1e-6);
  EXPECT_NEAR(q.kl_standard_error, k / std::sqrt(3.0) / 2.0, 1e-6);
}

TEST(ModelQuality, NaNPassesNothing) {
  Tensor<float> broken = logits({{0.5, 0.5}, {0.5, 0.5}});
  const Tensor<float> fine = logits({{0.5, 0.5}, {0.5, 0.5}});
  broken(0, 1) = std::numeric_limits<float>::quiet_NaN();
  const ModelQuality q = kit::model_quality({{0, 1}}, {fine}, {broken});
  EXPECT_FALSE(q.kl <= 1e9);
  EXPECT_FALSE(q.nll <= 1e9);
}

TEST(ModelQuality, RejectsShapesThatDoNotFit) {
  const Tensor<float> two = logits({{0.5, 0.5}, {0.5, 0.5}});
  EXPECT_TRUE(kit::testing::throws_error(
      [&] {
        (void)kit::model_quality({{0, 1, 0}}, {two}, {two});
      },
      "for a text of 3 tokens"));
  EXPECT_TRUE(kit::testing::throws_error([&] { (void)kit::model_quality({}, {}, {}); }, "0 texts"));
  EXPECT_TRUE(kit::testing::throws_error(
      [&] {
        (void)kit::model_quality({{0, 7}}, {two}, {two});
      },
      "token 7 of a vocabulary of 2"));
  EXPECT_TRUE(kit::testing::throws_error(
      [&] {
        (void)kit::model_quality({{0}}, {logits({{0.5, 0.5}})}, {logits({{0.5, 0.5}})});
      },
      "without a token that has a successor"));
}

TEST(SampleTexts, AreOfTheModelAndOfTheSeed) {
  const auto weights = tiny_weights();
  kit::Rng rng = kit::testing::make_rng(72);
  kit::Rng same = rng;
  const TokenSequences texts = kit::sample_texts(tiny_config(), weights, 3, 20, rng);
  ASSERT_EQ(texts.size(), 3U);
  for (const auto& text : texts) EXPECT_EQ(text.size(), 20U);
  EXPECT_EQ(kit::sample_texts(tiny_config(), weights, 3, 20, same), texts);
  EXPECT_NE(kit::sample_texts(tiny_config(), weights, 3, 20, same), texts);
  EXPECT_TRUE(kit::testing::throws_error(
      [&] { (void)kit::sample_texts(tiny_config(), weights, 3, 65, same); }, "65 tokens"));
}

TEST(SampleTexts, AreLikelyToTheModel) {
  // On a model's own text its mean negative log-likelihood is its entropy, less than that of any other model.
  const auto weights = tiny_weights();
  kit::Rng rng = kit::testing::make_rng(73);
  const TokenSequences texts = kit::sample_texts(tiny_config(), weights, 8, 64, rng);
  kit::Rng other_rng = kit::testing::make_rng(74);
  const auto other =
      std::make_shared<const kit::LlamaWeights>(kit::random_llama_weights(tiny_config(), other_rng));
  const auto model = kit::make_llama(tiny_config(), weights, kit::reference_attention_ops());
  const auto stranger = kit::make_llama(tiny_config(), other, kit::reference_attention_ops());
  const ModelQuality q =
      kit::model_quality(texts, kit::all_logits(*model, texts), kit::all_logits(*stranger, texts));
  EXPECT_GT(q.nll - q.reference_nll, q.kl / 2.0);
  EXPECT_GT(q.kl, 10.0 * q.kl_standard_error);
}

TEST(WithOutliers, ChangesChannelsAndNotTheFunction) {
  const auto weights = tiny_weights();
  kit::Rng rng = kit::testing::make_rng(75);
  const auto changed = std::make_shared<const kit::LlamaWeights>(kit::with_outliers(*weights, 3, 30.0F, rng));
  for (std::size_t l = 0; l < weights->layers.size(); ++l) {
    int n_changed = 0;
    for (std::int64_t j = 0; j < 16; ++j) {
      const float ratio = changed->layers[l].attention_norm(j) / weights->layers[l].attention_norm(j);
      n_changed += ratio > 29.0F ? 1 : 0;
      EXPECT_NEAR(changed->layers[l].wk(1, j) * ratio, weights->layers[l].wk(1, j), 1e-6);
    }
    EXPECT_EQ(n_changed, 3);
  }
  const auto model = kit::make_llama(tiny_config(), weights, kit::reference_attention_ops());
  const auto with = kit::make_llama(tiny_config(), changed, kit::reference_attention_ops());
  const std::vector<int> tokens = {1, 2, 3, 4, 5};
  // Rounding of the factors, a few ulp in each of two layers.
  EXPECT_TRUE(kit::testing::matches(with->forward(tokens), model->forward(tokens), {1e-4, 1e-4}));
  EXPECT_TRUE(kit::testing::throws_error([&] { (void)kit::with_outliers(*weights, 17, 30.0F, rng); },
                                         "17 of 16 channels"));
}

}  // namespace
