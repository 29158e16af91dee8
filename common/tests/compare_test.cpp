#include "kit/compare.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "kit/testing.h"

namespace {

using kit::compare;
using kit::Tensor;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

Tensor<float> tensor(const kit::Shape& shape, const std::vector<float>& values) {
  Tensor<float> result(shape);
  std::copy(values.begin(), values.end(), result.data());
  return result;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Compare, PassesWithinTolerance) {
  const auto expected = tensor({2, 2}, {1, 2, 3, -4});
  const auto got = tensor({2, 2}, {1.0009F, 2, 3, -4.0009F});
  EXPECT_TRUE(compare(got, expected, {1e-3, 0}).ok);
  EXPECT_TRUE(compare(got, expected, {0, 1e-3}).ok);
  EXPECT_FALSE(compare(got, expected, {1e-4, 0}).ok);
  EXPECT_FALSE(compare(got, expected, {}).ok);
}

TEST(Compare, NanNeverPasses) {
  const auto nan = tensor({1}, {kNan});
  EXPECT_FALSE(compare(nan, tensor({1}, {1}), {1e30, 1e30}).ok);
  EXPECT_FALSE(compare(nan, nan, {1e30, 1e30}).ok);
  EXPECT_FALSE(compare(tensor({1}, {1}), nan, {1e30, 1e30}).ok);
}

TEST(Compare, InfinityEqualsOnlyItself) {
  const auto infinite = tensor({1}, {kInfinity});
  EXPECT_TRUE(compare(infinite, infinite, {}).ok);
  EXPECT_FALSE(compare(infinite, tensor({1}, {-kInfinity}), {1, 1}).ok);
  EXPECT_FALSE(compare(tensor({1}, {1e30F}), infinite, {1, 1}).ok);
  EXPECT_FALSE(compare(infinite, tensor({1}, {1}), {1, 1}).ok);
}

TEST(Compare, ShapesMustAgree) {
  const auto result = compare(tensor({2, 3}, {1, 2, 3, 4, 5, 6}), tensor({3, 2}, {1, 2, 3, 4, 5, 6}), {1, 1});
  EXPECT_FALSE(result.ok);
  EXPECT_TRUE(contains(result.message, "[2, 3]") && contains(result.message, "[3, 2]")) << result.message;
}

TEST(Compare, ListsFirstMismatchesWithIndexAndNorm) {
  Tensor<float> expected({2, 3, 4}, 1.0F);
  Tensor<float> got({2, 3, 4}, 1.0F);
  got(1, 2, 3) = 3.0F;
  const auto result = compare(got, expected, {1e-6, 0});
  EXPECT_FALSE(result.ok);
  EXPECT_TRUE(contains(result.message, "[1, 2, 3]")) << result.message;
  EXPECT_TRUE(contains(result.message, "1 of 24")) << result.message;
  EXPECT_NEAR(result.relative_norm, 2.0 / std::sqrt(24.0), 1e-12);
}

TEST(Compare, ListsAtMostFive) {
  const Tensor<float> got({100}, 2.0F);
  const auto result = compare(got, Tensor<float>({100}, 1.0F), {});
  EXPECT_TRUE(contains(result.message, "[4]")) << result.message;
  EXPECT_FALSE(contains(result.message, "[5]")) << result.message;
  EXPECT_TRUE(contains(result.message, "100 of 100")) << result.message;
}

TEST(Compare, NamesTheCauseThatMatches) {
  const Tensor<float> expected({4}, 1.0F);
  const std::vector<kit::KnownMistake> mistakes = {{"twice the right answer", Tensor<float>({4}, 2.0F)},
                                                   {"nothing at all", Tensor<float>({4}, 0.0F)}};
  const auto twice = compare(Tensor<float>({4}, 2.0F), expected, {1e-6, 0}, mistakes);
  EXPECT_TRUE(contains(twice.message, "Likely cause: the result matches twice the right answer"))
      << twice.message;
  const auto other = compare(Tensor<float>({4}, 7.0F), expected, {1e-6, 0}, mistakes);
  EXPECT_FALSE(contains(other.message, "Likely cause")) << other.message;
}

TEST(Compare, DoesNotBlameAMistakeThatLooksRight) {
  // On this data the mistake cannot be told from the truth, so it must not be named for another error.
  const Tensor<float> expected({2}, 1.0F);
  const std::vector<kit::KnownMistake> mistakes = {{"the same on this input", Tensor<float>({2}, 1.0F)}};
  const auto result = compare(Tensor<float>({2}, 1.5F), expected, {0.6, 0}, mistakes);
  EXPECT_TRUE(result.ok);
  const auto wrong = compare(Tensor<float>({2}, 3.0F), expected, {0.6, 0}, mistakes);
  EXPECT_FALSE(contains(wrong.message, "Likely cause")) << wrong.message;
}

TEST(MatchesCount, NamesTheCauseAndTheQuotient) {
  using kit::testing::matches_count;
  const std::vector<kit::testing::KnownCount> mistakes = {{"the right answer", 20},
                                                          {"bits taken for bytes", 160}};
  EXPECT_TRUE(matches_count(20, 20, mistakes));
  const std::string bits = matches_count(160, 20, mistakes).message();
  EXPECT_TRUE(contains(bits, "expected 20, got 160, 8 times the expected")) << bits;
  EXPECT_TRUE(contains(bits, "Likely cause: the result matches bits taken for bytes.")) << bits;
  EXPECT_FALSE(contains(matches_count(19, 20, mistakes).message(), "Likely cause"));
  EXPECT_FALSE(contains(matches_count(1, 0).message(), "times"));
  // Neighbours that a double could not tell apart.
  EXPECT_FALSE(matches_count((1LL << 60) + 1, 1LL << 60));
}

TEST(MatchesValue, ToleratesRoundingAndNamesTheCause) {
  using kit::testing::matches_value;
  const std::vector<kit::testing::KnownValue> mistakes = {{"the same here", 7.0 + 1e-13}, {"seconds", 0.007}};
  EXPECT_TRUE(matches_value(7.0 + 1e-12, 7.0, 1e-9, mistakes));
  const std::string seconds = matches_value(0.007, 7.0, 1e-9, mistakes).message();
  EXPECT_TRUE(contains(seconds, "Likely cause: the result matches seconds.")) << seconds;
  EXPECT_FALSE(contains(matches_value(8.0, 7.0, 1e-9, mistakes).message(), "Likely cause"));
  EXPECT_FALSE(matches_value(std::numeric_limits<double>::quiet_NaN(), 7.0, 1e-9, mistakes));
  EXPECT_FALSE(matches_value(std::numeric_limits<double>::infinity(), 7.0, 1e-9, mistakes));
}

TEST(Compare, EmptyArraysAreEqual) {
  EXPECT_TRUE(compare(Tensor<float>({0, 3}), Tensor<float>({0, 3}), {}).ok);
}

}  // namespace
