#include "kit/llama.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "kit/reference.h"
#include "kit/testing.h"
#include "test_files.h"

namespace kit::testing {
namespace {

using Json = nlohmann::json;

ModelConfig small_config() {
  ModelConfig config;
  config.vocab_size = 41;
  config.dim = 24;
  config.hidden_dim = 37;
  config.n_layers = 2;
  config.n_heads = 4;
  config.n_kv_heads = 2;
  config.head_dim = 6;
  config.max_seq_len = 32;
  return config;
}

std::unique_ptr<Model> small_model(AttentionOps ops = reference_attention_ops()) {
  Rng rng = make_rng(500);
  const ModelConfig config = small_config();
  return make_llama(config, std::make_shared<const LlamaWeights>(random_llama_weights(config, rng)),
                    std::move(ops));
}

Json read_json(const std::filesystem::path& file) {
  std::ifstream stream(file);
  EXPECT_TRUE(stream.good()) << file;
  return Json::parse(stream);
}

/// Rows of the fixture; "positions" says which, all when it is missing.
void expect_fixture_logits(const std::filesystem::path& model_dir,
                           const std::filesystem::path& fixture_file) {
  const Json fixture = read_json(fixture_file);
  const auto tokens = fixture.at("token_ids").get<std::vector<int>>();
  const auto model = load_llama(model_dir, reference_attention_ops());
  const Tensor<float> logits = model->forward(tokens, Logits::kAll);
  const Json& rows = fixture.at("logits");
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const int position =
        fixture.contains("positions") ? fixture["positions"][i].get<int>() : static_cast<int>(i);
    auto expected = rows[i].get<std::vector<float>>();
    const Shape shape{static_cast<std::int64_t>(expected.size())};
    // Both sides compute in float32 from the same weights, in another order: logits of size 10 through up to
    // 6 layers differ by about 1e-5. A wrong epsilon, rope base or layout moves them by 1e-2 and more.
    EXPECT_TRUE(matches({logits.row(position).data(), shape}, TensorView<const float>(expected, shape),
                        {.absolute = 1e-4, .relative = 0}))
        << "position " << position;
  }
}

class LlamaFixture : public ::testing::TestWithParam<const char*> {};

TEST_P(LlamaFixture, ReproducesTheLogitsOfTransformers) {
  const std::filesystem::path directory = models_dir() / "fixtures" / GetParam();
  expect_fixture_logits(directory, directory / "expected_logits.json");
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, LlamaFixture,
                         ::testing::Values("hf_untied_f32", "hf_sharded_bf16", "hf_mqa_f16",
                                           "hf_rope_llama3_f32"),
                         [](const auto& info) { return std::string(info.param); });

class ShippedModel : public ::testing::TestWithParam<const char*> {};

TEST_P(ShippedModel, ReproducesTheLogitsOfTransformers) {
  const std::string name = GetParam();
  expect_fixture_logits(models_dir() / name, models_dir() / "fixtures" / (name + "_logits.json"));
}

TEST_P(ShippedModel, ChoosesTheSameTokensAsTransformers) {
  const std::string name = GetParam();
  const Json fixture = read_json(models_dir() / "fixtures" / (name + "_logits.json"));
  const auto model = load_llama(models_dir() / name, reference_attention_ops());
  const Tensor<float> logits = model->forward(fixture.at("token_ids").get<std::vector<int>>(), Logits::kAll);
  for (std::int64_t t = 0; t < logits.dim(0); ++t) {
    const auto row = logits.row(t);
    EXPECT_EQ(std::max_element(row.begin(), row.end()) - row.begin(), fixture["argmax"][t].get<int>()) << t;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, ShippedModel, ::testing::Values("target", "draft"),
                         [](const auto& info) { return std::string(info.param); });

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

const std::vector<int> kTokens = {3, 17, 0, 40, 40, 8, 25, 1, 9};

TEST(Llama, TokenByTokenGivesTheSameBitsAsAllAtOnce) {
  const auto model = small_model();
  const Tensor<float> all = model->forward(kTokens, Logits::kAll);
  const auto prefilled = make_reference_kv_cache(model->config().kv_cache_config(16));
  const Tensor<float> prefill = model->forward(kTokens, *prefilled, Logits::kAll);
  EXPECT_TRUE(same_bits(prefill.span(), all.span())) << "with a cache";
  const auto cache = make_reference_kv_cache(model->config().kv_cache_config(16));
  for (std::size_t t = 0; t < kTokens.size(); ++t) {
    const Tensor<float> one = model->forward(std::span(kTokens).subspan(t, 1), *cache);
    EXPECT_TRUE(same_bits(one.span(), all.row(static_cast<std::int64_t>(t)))) << "position " << t;
  }
}

TEST(Llama, LastLogitsAreTheLastRowOfAllLogits) {
  const auto model = small_model();
  const Tensor<float> all = model->forward(kTokens, Logits::kAll);
  const Tensor<float> last = model->forward(kTokens, Logits::kLast);
  EXPECT_EQ(last.shape(), (Shape{1, 41}));
  EXPECT_EQ(all.shape(), (Shape{9, 41}));
  EXPECT_TRUE(same_bits(last.span(), all.row(8)));
}

TEST(Llama, EarlierLogitsDoNotDependOnLaterTokens) {
  const auto model = small_model();
  const Tensor<float> all = model->forward(kTokens, Logits::kAll);
  const Tensor<float> some = model->forward(std::span(kTokens).first(4), Logits::kAll);
  EXPECT_TRUE(same_bits(some.row(3), all.row(3)));
}

TEST(Llama, AttentionThatWritesNothingShowsAsNan) {
  const auto model = small_model({.attention = [](auto, auto, auto, auto) {}, .attention_with_cache = {}});
  const Tensor<float> logits = model->forward(kTokens);
  for (const float logit : logits.span()) EXPECT_TRUE(std::isnan(logit));
}

TEST(Llama, NamesTheAttentionThatIsMissing) {
  const auto model = small_model({});
  EXPECT_TRUE(throws_error([&] { model->forward(kTokens); }, "AttentionOps::attention"));
  const auto cache = make_reference_kv_cache(model->config().kv_cache_config(16));
  EXPECT_TRUE(throws_error([&] { model->forward(kTokens, *cache); }, "AttentionOps::attention_with_cache"));
}

TEST(Llama, RejectsWeightsOfAnotherModel) {
  Rng rng = make_rng(501);
  const ModelConfig config = small_config();
  const auto weights = std::make_shared<const LlamaWeights>(random_llama_weights(config, rng));
  ModelConfig other = config;
  other.hidden_dim = 38;
  EXPECT_TRUE(
      throws_error([&] { make_llama(other, weights, {}); }, "w_gate has shape [37, 24] instead of [38, 24]"));
  other = config;
  other.n_layers = 3;
  EXPECT_TRUE(throws_error([&] { make_llama(other, weights, {}); }, "2 layers of weights for 3 layers"));
  EXPECT_TRUE(throws_error([&] { make_llama(config, nullptr, {}); }, "without weights"));
}

TEST(RandomWeights, AreReproducibleAndKeepActivationsNearOne) {
  Rng first = make_rng(502);
  Rng second = make_rng(502);
  const LlamaWeights a = random_llama_weights(small_config(), first);
  const LlamaWeights b = random_llama_weights(small_config(), second);
  EXPECT_TRUE(same_bits(a.layers[1].w_down.span(), b.layers[1].w_down.span()));
  EXPECT_FALSE(same_bits(a.layers[0].wq.span(), a.layers[1].wq.span()));
  const auto model =
      make_llama(small_config(), std::make_shared<const LlamaWeights>(a), reference_attention_ops());
  double squares = 0.0;
  const Tensor<float> logits = model->forward(kTokens, Logits::kAll);
  for (const float logit : logits.span()) squares += double{logit} * logit;
  const double rms = std::sqrt(squares / static_cast<double>(logits.size()));
  EXPECT_GT(rms, 0.3);
  EXPECT_LT(rms, 3.0);
}

TEST(LayerStack, IsLargerThanMostCaches) {
  const ModelConfig c = layer_stack_config();
  c.validate();
  const std::int64_t layer = std::int64_t{c.dim} * c.head_dim * (2 * c.n_heads + 2 * c.n_kv_heads) +
                             std::int64_t{3} * c.dim * c.hidden_dim;
  EXPECT_GT(layer * c.n_layers, 134'217'728);  // 512 MiB of float32
}

TEST(Model, CountsTokensAndCalls) {
  const auto model = small_model();
  model->forward(kTokens);
  const auto cache = make_reference_kv_cache(model->config().kv_cache_config(16));
  model->forward(std::span(kTokens).first(4), *cache);
  model->forward(std::span(kTokens).subspan(4, 1), *cache);
  ASSERT_EQ(model->calls().size(), 3U);
  EXPECT_EQ(model->calls()[0].n_tokens, 9);
  EXPECT_EQ(model->calls()[0].kv_len, 9);
  EXPECT_EQ(model->calls()[1].n_tokens, 4);
  EXPECT_EQ(model->calls()[1].kv_len, 4);
  EXPECT_EQ(model->calls()[2].n_tokens, 1);
  EXPECT_EQ(model->calls()[2].kv_len, 5);
  EXPECT_EQ(model->tokens_processed(), 14);
  EXPECT_THROW(model->forward({}), Error);
  EXPECT_EQ(model->calls().size(), 3U) << "a rejected call is no work";
  model->reset_stats();
  EXPECT_TRUE(model->calls().empty());
  EXPECT_EQ(model->tokens_processed(), 0);
}

TEST(Model, RejectsBadTokensAndTooManyPositions) {
  const auto model = small_model();
  EXPECT_TRUE(throws_error([&] { model->forward({}); }, "no tokens"));
  EXPECT_TRUE(throws_error([&] { model->forward(std::vector<int>{3, 41}); }, "token 41"));
  EXPECT_TRUE(throws_error([&] { model->forward(std::vector<int>{-1}); }, "token -1"));
  EXPECT_TRUE(
      throws_error([&] { model->forward(std::vector<int>(33, 1)); }, "33 tokens after 0 exceed the 32"));
  const auto cache = make_reference_kv_cache(model->config().kv_cache_config(12));
  model->forward(std::vector<int>(9, 1), *cache);
  EXPECT_TRUE(throws_error([&] { model->forward(std::vector<int>(4, 1), *cache); },
                           "4 tokens after 9 exceed the 12"));
  EXPECT_EQ(cache->length(0), 9);
}

TEST(Model, RejectsCachesThatDoNotFit) {
  const auto model = small_model();
  for (const KvCacheConfig& config :
       {KvCacheConfig{3, 2, 6, 16}, KvCacheConfig{2, 1, 6, 16}, KvCacheConfig{2, 2, 8, 16}}) {
    const auto cache = make_reference_kv_cache(config);
    EXPECT_TRUE(throws_error([&] { model->forward(kTokens, *cache); }, "the model has 2, 2, 6"));
  }
  const auto uneven = make_reference_kv_cache(model->config().kv_cache_config(16));
  uneven->append(1, Tensor<float>({1, 2, 6}), Tensor<float>({1, 2, 6}));
  EXPECT_TRUE(throws_error([&] { model->forward(kTokens, *uneven); },
                           "layer 1 of the cache holds 1 tokens instead of 0"));
}

TEST(Model, GoesOnAfterACacheForgotItsTail) {
  const auto model = small_model();
  const auto cache = make_reference_kv_cache(model->config().kv_cache_config(16));
  const std::vector<int> tokens = {3, 1, 4, 1, 5, 9, 2};
  model->forward(std::vector<int>{3, 1, 4, 40, 40}, *cache);
  cache->truncate(3);
  const Tensor<float> after = model->forward(std::span(tokens).subspan(3), *cache, Logits::kAll);
  const Tensor<float> whole = model->forward(tokens, Logits::kAll);
  // The same sums in the same order but for the products of a whole prompt: float rounding of logits near 1.
  for (std::int64_t i = 0; i < 4; ++i) {
    for (std::int64_t v = 0; v < 41; ++v) EXPECT_NEAR(after(i, v), whole(3 + i, v), 1e-4);
  }
  EXPECT_EQ(cache->length(1), 7);
  EXPECT_THROW(cache->truncate(8), Error);
  EXPECT_THROW(cache->truncate(-1), Error);
  cache->truncate(7);
  EXPECT_EQ(cache->length(0), 7);
  cache->truncate(0);
  EXPECT_EQ(cache->length(1), 0);
}

TEST(Model, NoticesAttentionThatForgetsToExtendTheCache) {
  const auto model = small_model({.attention = {}, .attention_with_cache = [](auto&&...) {}});
  const auto cache = make_reference_kv_cache(model->config().kv_cache_config(16));
  EXPECT_TRUE(throws_error([&] { model->forward(kTokens, *cache); }, "after a forward pass layer 0"));
  EXPECT_EQ(model->tokens_processed(), 0);
}

TEST(Model, KnowsItsEndTokens) {
  ModelConfig config = small_config();
  EXPECT_FALSE(config.is_eos(0));
  config.eos_token_ids = {0, 7};
  EXPECT_TRUE(config.is_eos(0));
  EXPECT_TRUE(config.is_eos(7));
  EXPECT_FALSE(config.is_eos(1));
}

}  // namespace
}  // namespace kit::testing
