#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "generate_fixture.h"
#include "lab02/generate.h"

// O(N) decode: the tokens that pass through Model::forward to generate N from a prompt of P, counted by the
// model.

namespace {

constexpr int kPromptLen = 16;
constexpr int kNewTokens = 48;

using Generate = std::function<std::vector<int>(kit::Model&, std::span<const int>, const kit::SamplingConfig&,
                                                kit::Rng&, const kit::OnToken&)>;

/// Runs `generate` on the shipped model and returns the tokens processed so far after each new token.
std::vector<double> count_tokens(kit::Model& model, std::span<const int> prompt, const Generate& generate,
                                 std::vector<int>& tokens) {
  kit::Rng rng(1);
  std::vector<double> processed;
  model.reset_stats();
  tokens = generate(model, prompt, {.max_new_tokens = kNewTokens, .temperature = 1.0F}, rng,
                    [&](int) { processed.push_back(static_cast<double>(model.tokens_processed())); });
  return processed;
}

TEST(DecodeMilestone, CachedDecodeProcessesEachTokenOnce) {
  const auto model = lab02_tests::shipped_model();
  const std::vector<int> prompt = lab02_tests::random_prompt(*model, kPromptLen, 100);
  const kit::SamplingConfig config{.max_new_tokens = kNewTokens, .temperature = 1.0F};
  const std::vector<int> expected = lab02_tests::expected_tokens(*model, prompt, config, 1);
  const auto n =
      static_cast<std::int64_t>(expected.size());  // fewer than kNewTokens when the text ends early

  std::vector<int> tokens;
  const auto with_cache = count_tokens(*model, prompt, lab02::generate_with_cache, tokens);
  const std::int64_t n_with_cache = model->tokens_processed();
  // Counts of work that produced something else would be worth nothing.
  ASSERT_TRUE(lab02_tests::same_tokens(tokens, expected, *model, prompt)) << "generate_with_cache";
  const auto without_cache = count_tokens(*model, prompt, lab02::generate_without_cache, tokens);
  const std::int64_t n_without_cache = model->tokens_processed();
  ASSERT_TRUE(lab02_tests::same_tokens(tokens, expected, *model, prompt)) << "generate_without_cache";

  std::vector<double> step;
  for (std::int64_t i = 1; i <= n; ++i) step.push_back(static_cast<double>(i));
  kit::testing::record_series("step", step);
  kit::testing::record_series("tokens_with_cache", with_cache);
  kit::testing::record_series("tokens_without_cache", without_cache);
  const std::int64_t expected_with = kPromptLen + n - 1;
  const std::int64_t expected_without = n * kPromptLen + n * (n - 1) / 2;
  kit::testing::record_value("tokens_processed_with_cache", static_cast<double>(n_with_cache));
  kit::testing::record_value("tokens_expected_with_cache", static_cast<double>(expected_with));
  kit::testing::record_value("tokens_processed_without_cache", static_cast<double>(n_without_cache));
  kit::testing::record_value("tokens_expected_without_cache", static_cast<double>(expected_without));

  EXPECT_EQ(n_with_cache, expected_with)
      << "with a cache the model must process P + N - 1 tokens (P = " << kPromptLen << ", N = " << n << ")."
      << (n_with_cache == expected_without ? "\nLikely cause: the result matches recomputing the whole "
                                             "sequence at every step: the tokens are right, "
                                             "the cache saves nothing."
                                           : "");
  EXPECT_EQ(n_without_cache, expected_without)
      << "without a cache the model must process N P + N (N - 1) / 2 tokens (P = " << kPromptLen
      << ", N = " << n << ")";
}

}  // namespace
