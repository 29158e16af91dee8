#include "lab02/generate.h"

#include <gtest/gtest.h>

#include <vector>

#include "generate_fixture.h"

// The models in these tests run the kit's own attention, so that they say nothing about tasks 1 and 3. The
// cache is the one that generate_with_cache makes.

namespace {

using kit::testing::throws_error;
using lab02_tests::expected_tokens;
using lab02_tests::random_prompt;
using lab02_tests::same_tokens;
using lab02_tests::shipped_model;
using lab02_tests::tiny_model;

/// One of the two functions under test.
struct Generator {
  const char* name;
  std::vector<int> (*generate)(kit::Model&, std::span<const int>, const kit::SamplingConfig&, kit::Rng&,
                               const kit::OnToken&);
};
constexpr Generator kWithoutCache{"generate_without_cache", lab02::generate_without_cache};
constexpr Generator kWithCache{"generate_with_cache", lab02::generate_with_cache};

void expect_greedy(const Generator& generator) {
  for (const int prompt_len : {1, 2, 7, 16}) {
    const auto model = tiny_model(60 + prompt_len);
    const std::vector<int> prompt = random_prompt(*model, prompt_len, 61);
    for (const int n : {0, 1, 12}) {
      kit::Rng rng(7);
      const std::vector<int> got = generator.generate(*model, prompt, {.max_new_tokens = n}, rng, {});
      EXPECT_TRUE(same_tokens(got, expected_tokens(*model, prompt, {.max_new_tokens = n}, 7), *model, prompt))
          << generator.name << ", prompt of " << prompt_len << " tokens, " << n << " new ones";
      EXPECT_EQ(rng, kit::Rng(7)) << "greedy choice uses no random number";
    }
  }
}

TEST(Generate, GreedyWithoutCache) {
  expect_greedy(kWithoutCache);
}

TEST(Generate, GreedyWithCache) {
  expect_greedy(kWithCache);
}

TEST(Generate, SampledTokensAreIdentical) {
  const kit::SamplingConfig config{.max_new_tokens = 20, .temperature = 0.8F};
  for (const std::uint64_t seed : {1U, 2U, 3U}) {
    const auto model = tiny_model(70 + seed);
    const std::vector<int> prompt = random_prompt(*model, 5, 71);
    kit::Rng rng_without(seed);
    kit::Rng rng_with(seed);
    const auto without = lab02::generate_without_cache(*model, prompt, config, rng_without);
    const auto with = lab02::generate_with_cache(*model, prompt, config, rng_with);
    const auto expected = expected_tokens(*model, prompt, config, seed);
    EXPECT_TRUE(same_tokens(without, expected, *model, prompt)) << "generate_without_cache, temperature 0.8";
    EXPECT_TRUE(same_tokens(with, expected, *model, prompt)) << "generate_with_cache, temperature 0.8";
    EXPECT_EQ(rng_without, rng_with) << "both must draw the same number of random numbers: one a token";
  }
}

TEST(Generate, StopsAtEndOfText) {
  for (const Generator& generator : {kWithoutCache, kWithCache}) {
    const auto probe = tiny_model(80);
    const std::vector<int> prompt = random_prompt(*probe, 6, 81);
    const kit::SamplingConfig config{.max_new_tokens = 30, .temperature = 1.0F};
    const std::vector<int> free_run = expected_tokens(*probe, prompt, config, 5);
    const int eos = free_run[4];  // make a token that will come the end of text
    const auto model = tiny_model(80, {eos});
    kit::Rng rng(5);
    const auto got = generator.generate(*model, prompt, config, rng, {});
    const auto expected = expected_tokens(*model, prompt, config, 5);
    ASSERT_LE(expected.size(), 5U);
    EXPECT_TRUE(same_tokens(got, expected, *model, prompt))
        << generator.name << " must stop behind the first end-of-text token, which is part of the result";
  }
}

TEST(Generate, CallsBackWithEveryToken) {
  for (const Generator& generator : {kWithoutCache, kWithCache}) {
    const auto model = tiny_model(90);
    const std::vector<int> prompt = random_prompt(*model, 4, 91);
    kit::Rng rng(9);
    std::vector<int> seen;
    std::vector<std::int64_t> processed;
    const auto got =
        generator.generate(*model, prompt, {.max_new_tokens = 6, .temperature = 1.0F}, rng, [&](int token) {
          seen.push_back(token);
          processed.push_back(model->tokens_processed());
        });
    EXPECT_EQ(seen, got) << generator.name << ": on_token must get every token, in order";
    for (std::size_t i = 1; i < processed.size(); ++i) {
      EXPECT_LT(processed[i - 1], processed[i])
          << generator.name << ": on_token must be called as soon as a token is "
          << "known, before the next one is computed";
    }
  }
}

TEST(Generate, RejectsBadRequests) {
  for (const Generator& generator : {kWithoutCache, kWithCache}) {
    const auto model = tiny_model(95);
    const int context = model->config().max_seq_len;
    kit::Rng rng(1);
    const auto refuses = [&](int prompt_len, int n) {
      const std::vector<int> prompt = random_prompt(*model, prompt_len, 96);
      return throws_error([&] { generator.generate(*model, prompt, {.max_new_tokens = n}, rng, {}); });
    };
    EXPECT_TRUE(refuses(0, 4)) << generator.name << ": an empty prompt";
    EXPECT_TRUE(refuses(3, -1)) << generator.name << ": -1 new tokens";
    EXPECT_TRUE(refuses(10, context - 8)) << generator.name << ": one token more than the context holds";
    EXPECT_EQ(model->tokens_processed(), 0)
        << generator.name << ": nothing may run before the request is checked";
    const std::vector<int> prompt = random_prompt(*model, 10, 97);
    EXPECT_EQ(generator.generate(*model, prompt, {.max_new_tokens = context - 9}, rng, {}).size(),
              context - 9U)
        << generator.name << ": exactly as many tokens as fit";
  }
}

TEST(Generate, RealModelWritesTheSameStory) {
  const auto model = shipped_model();
  const std::vector<int> prompt = random_prompt(*model, 12, 98);
  const kit::SamplingConfig config{.max_new_tokens = 24, .temperature = 0.7F};
  kit::Rng rng_without(3);
  kit::Rng rng_with(3);
  const auto without = lab02::generate_without_cache(*model, prompt, config, rng_without);
  const auto with = lab02::generate_with_cache(*model, prompt, config, rng_with);
  const auto expected = expected_tokens(*model, prompt, config, 3);
  EXPECT_TRUE(same_tokens(without, expected, *model, prompt))
      << "generate_without_cache on the shipped model";
  EXPECT_TRUE(same_tokens(with, expected, *model, prompt)) << "generate_with_cache on the shipped model";
}

}  // namespace
