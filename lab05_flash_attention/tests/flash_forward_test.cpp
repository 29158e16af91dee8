#include "lab05/flash_forward.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "attention_cases.h"
#include "kit/memory.h"

namespace {

using kit::Shape;
using kit::Tensor;
using kit::testing::throws_error;
using lab05::FlashConfig;
using namespace lab05_tests;  // NOLINT(google-build-using-namespace): the lab's own test helpers

TEST(FlashForward, MatchesReferenceWithoutAMask) {
  expect_matches_reference({48, 48, 2, 2, 32}, {.br = 16, .bc = 16, .causal = false}, 1);
  expect_matches_reference({33, 71, 3, 3, 17}, {.br = 16, .bc = 16, .causal = false}, 2);
  expect_matches_reference({71, 33, 2, 2, 8}, {.br = 16, .bc = 16, .causal = false}, 3);
}

TEST(FlashForward, MatchesReferenceWhenCausal) {
  expect_matches_reference({48, 48, 2, 2, 32}, {.br = 16, .bc = 16}, 4);
  expect_matches_reference({65, 65, 3, 3, 16}, {.br = 16, .bc = 16}, 5);
}

TEST(FlashForward, LastTilesMayBePartlyFilled) {
  // One more and one less than whole tiles, of queries and of keys.
  for (const int n : {31, 33, 63, 65}) {
    expect_matches_reference({n, n, 1, 1, 16}, {.br = 32, .bc = 32}, 6);
    expect_matches_reference({n, n + 1, 1, 1, 16}, {.br = 32, .bc = 32, .causal = false}, 7);
  }
  expect_matches_reference({130, 131, 2, 1, 16}, {}, 8);
}

TEST(FlashForward, TileSizesChangeNothing) {
  for (const int br : {1, 7, 16, 64, 1000}) {
    for (const int bc : {1, 7, 16, 64, 1000})
      expect_matches_reference({37, 53, 2, 1, 9}, {.br = br, .bc = bc}, 9);
  }
  for (const auto& [br, bc] : {std::pair{64, 16}, std::pair{16, 64}, std::pair{5, 32}, std::pair{32, 5}})
    expect_matches_reference({53, 37, 2, 1, 9}, {.br = br, .bc = bc, .causal = false}, 10);
}

TEST(FlashForward, AnyHeadDim) {
  for (const int head_dim : {1, 2, 3, 31, 33, 80, 128, 256})
    expect_matches_reference({19, 23, 2, 1, head_dim}, {.br = 8, .bc = 8}, 11);
}

TEST(FlashForward, ShortAndLong) {
  expect_matches_reference({1, 1, 1, 1, 1}, {}, 12);
  expect_matches_reference({1, 1000, 2, 1, 16}, {}, 13);
  expect_matches_reference({1000, 1000, 1, 1, 4}, {}, 14);
}

TEST(FlashForward, GroupsOfQueryHeadsShareAKvHead) {
  expect_matches_reference({40, 40, 8, 4, 16}, {.br = 16, .bc = 16}, 15);
  expect_matches_reference({23, 40, 6, 2, 8}, {.br = 16, .bc = 16, .causal = false}, 16);
  expect_matches_reference({40, 23, 4, 1, 8}, {.br = 16, .bc = 16}, 17);
}

TEST(FlashForward, QueriesAreTheLastPositions) {
  expect_matches_reference({5, 70, 2, 2, 16}, {.br = 16, .bc = 16}, 18);
  expect_matches_reference({33, 50, 2, 1, 16}, {.br = 16, .bc = 32}, 19);
  expect_matches_reference({1, 33, 4, 2, 8}, {.br = 64, .bc = 16}, 20);
}

TEST(FlashForward, FullyMaskedQueriesAreZero) {
  // The first q_len - kv_len queries come before every key: half a tile, whole tiles, and tiles with both.
  expect_matches_reference({40, 30, 2, 1, 8}, {.br = 16, .bc = 16}, 21);
  expect_matches_reference({70, 6, 2, 2, 8}, {.br = 16, .bc = 16}, 22);
  expect_matches_reference({33, 1, 1, 1, 8}, {.br = 64, .bc = 64}, 23);
}

TEST(FlashForward, NoKeysAndNoQueries) {
  expect_matches_reference({20, 0, 2, 1, 8}, {.br = 16, .bc = 16}, 24);
  expect_matches_reference({20, 0, 2, 1, 8}, {.br = 16, .bc = 16, .causal = false}, 25);
  expect_matches_reference({0, 20, 2, 1, 8}, {.br = 16, .bc = 16}, 26);
}

/// Keys whose scores rise by `step` from one to the next, for every query: the maximum grows in every tile.
Inputs rising(const Sizes& s, std::uint64_t stream, float step) {
  Inputs in = random_inputs(s, stream);
  for (std::int64_t i = 0; i < s.q_len; ++i) {
    for (std::int64_t h = 0; h < s.n_heads; ++h) in.q(i, h, 0) = std::sqrt(static_cast<float>(s.head_dim));
  }
  for (std::int64_t j = 0; j < s.kv_len; ++j) {
    for (std::int64_t h = 0; h < s.n_kv_heads; ++h) in.k(j, h, 0) = step * static_cast<float>(j);
  }
  return in;
}

TEST(FlashForward, MaximumThatGrowsRescalesWhatWasSummed) {
  for (const float step : {0.05F, 0.5F, -0.5F}) {
    SCOPED_TRACE(fmt::format("scores change by {} from key to key", step));
    const FlashConfig config{.br = 16, .bc = 16};
    const Inputs in = rising({64, 64, 2, 1, 16}, 27, step);
    // Scores of up to 32, so roundings of 2e-6 in an exponent, and sums of terms that vary as much.
    expect_matches(student(in, config), in, config, {5e-5, 5e-5});
  }
}

TEST(FlashForward, LargeScoresNeitherOverflowNorVanish) {
  // Scores of several hundred, products before the scale of thousands. Float carries an error of 1e-4 in
  // them, and so relative to every weight.
  for (const bool causal : {false, true}) {
    const FlashConfig config{.br = 16, .bc = 16, .causal = causal};
    const Inputs in = random_inputs({40, 40, 2, 1, 64}, 28, 12.0F);
    const Result got = student(in, config);
    expect_matches(got, in, config, {5e-3, 5e-3});
    if (::testing::Test::HasFailure()) {
      ADD_FAILURE()
          << "scores here are in the hundreds, and eight times that before the scale: exp overflows "
             "above 88 and vanishes below -104. Take the maximum of what exp gets: scale first";
    }
  }
}

TEST(FlashForward, VeryNegativeScoresAreNotMasked) {
  // Every product is exact: scores are -2^119 c with c = 1, 2 or 4, and the keys with the least c share the
  // weight equally. "Minus infinity" as -1e30 is greater than all of them. Among the keys are such for which
  // c falls late, so that m grows from one very negative number to another.
  const Sizes s{24, 40, 2, 1, 4};
  Inputs in = random_inputs(s, 29);
  std::ranges::fill(in.q.span(), 0.0F);
  std::ranges::fill(in.k.span(), 0.0F);
  kit::Rng rng = kit::testing::make_rng(30);
  for (std::int64_t i = 0; i < s.q_len; ++i) {
    for (std::int64_t h = 0; h < s.n_heads; ++h) in.q(i, h, h) = 0x1p60F;
  }
  for (std::int64_t j = 0; j < s.kv_len; ++j) {
    in.k(j, 0, 0) = -0x1p60F * static_cast<float>(1 << rng.below(3));
    in.k(j, 0, 1) = j < 30 ? -0x1p62F : -0x1p60F;
  }
  const FlashConfig config{.br = 8, .bc = 8};
  expect_matches(student(in, config), in, config, {1e-5, 1e-5});
  if (::testing::Test::HasFailure()) {
    ADD_FAILURE() << "scores here are below -1e35: a finite number that stands for minus infinity is larger "
                     "than they are";
  }
}

TEST(FlashForward, InputsStayAsTheyWere) {
  const Inputs in = random_inputs({20, 30, 2, 1, 8}, 31);
  const Inputs copy{kit::clone(in.q.view()), kit::clone(in.k.view()), kit::clone(in.v.view())};
  const Result got = student(in, {.br = 8, .bc = 8});
  for (const float x : got.out.span()) ASSERT_TRUE(std::isfinite(x)) << "an output was not written";
  EXPECT_TRUE(std::ranges::equal(in.q.span(), copy.q.span()));
  EXPECT_TRUE(std::ranges::equal(in.k.span(), copy.k.span()));
  EXPECT_TRUE(std::ranges::equal(in.v.span(), copy.v.span()));
}

struct Shapes {
  Shape q{4, 4, 8}, k{6, 2, 8}, v{6, 2, 8}, out{4, 4, 8}, log_sum_exp{4, 4};
};

::testing::AssertionResult refuses(const Shapes& s, const FlashConfig& config = {},
                                   const std::string& needle = "") {
  Tensor<float> out(s.out);
  Tensor<float> log_sum_exp(s.log_sum_exp);
  kit::CountingResource scratch;
  return throws_error(
      [&] {
        lab05::flash_attention(Tensor<float>(s.q), Tensor<float>(s.k), Tensor<float>(s.v), config, scratch,
                               out, log_sum_exp);
      },
      needle);
}

TEST(FlashForward, RejectsShapesThatDisagree) {
  EXPECT_TRUE(refuses({.k = {6, 3, 8}, .v = {6, 3, 8}})) << "n_heads 4 is no multiple of n_kv_heads 3";
  EXPECT_TRUE(refuses({.k = {6, 2, 7}, .v = {6, 2, 7}})) << "head_dim of q is 8, of k 7";
  EXPECT_TRUE(refuses({.v = {5, 2, 8}})) << "k has 6 rows, v 5";
  EXPECT_TRUE(refuses({.v = {6, 2, 4}})) << "head_dim of k is 8, of v 4";
  EXPECT_TRUE(refuses({.out = {4, 2, 8}})) << "out must have the shape of q";
  EXPECT_TRUE(refuses({.log_sum_exp = {4, 2}})) << "log_sum_exp must be [q_len, n_heads]";
  EXPECT_TRUE(refuses({.log_sum_exp = {16}})) << "log_sum_exp must be [q_len, n_heads]";
  EXPECT_TRUE(refuses({.q = {4, 32}, .out = {4, 32}})) << "q must have three dimensions";
}

TEST(FlashForward, RejectsTilesOfNothing) {
  EXPECT_TRUE(refuses({}, {.br = 0}, "0"));
  EXPECT_TRUE(refuses({}, {.bc = 0}, "0"));
  EXPECT_TRUE(refuses({}, {.br = -64}, "-64"));
  EXPECT_TRUE(refuses({}, {.bc = -16}, "-16"));
}

}  // namespace
