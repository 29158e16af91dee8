#include "kit/sampling.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "kit/testing.h"

namespace kit::testing {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

TEST(Sample, GreedyTakesTheLargestAndTheLowestIdOnATie) {
  Rng rng = make_rng(300);
  const Rng before = rng;
  EXPECT_EQ(sample(std::vector<float>{1.0F, 3.0F, 2.0F}, 0.0F, rng), 1);
  EXPECT_EQ(sample(std::vector<float>{-1.0F, 3.0F, 3.0F, 3.0F}, 0.0F, rng), 1);
  EXPECT_EQ(sample(std::vector<float>{-kInfinity, -5.0F}, 0.0F, rng), 1);
  EXPECT_EQ(rng, before) << "greedy must not use random numbers";
}

TEST(Sample, UsesOneUniformNumberAsInverseCdf) {
  const std::vector<float> logits = {0.5F, -1.0F, 2.0F, 0.0F};
  const double temperature = 0.7;
  double total = 0.0;
  for (const float logit : logits) total += std::exp(logit / temperature);
  Rng rng = make_rng(301);
  for (int i = 0; i < 1000; ++i) {
    Rng replay = rng;
    const double u = replay.uniform();
    double cumulative = 0.0;
    int expected = 0;
    for (; expected < 3; ++expected) {
      cumulative += std::exp(logits[expected] / temperature) / total;
      if (u < cumulative) break;
    }
    ASSERT_EQ(sample(logits, 0.7F, rng), expected) << "u = " << u;
    ASSERT_EQ(rng, replay) << "exactly one uniform number";
  }
}

TEST(Sample, FollowsTheSoftmax) {
  const std::vector<float> logits = {0.0F, 1.0F, -1.0F, 3.0F, 2.0F};
  double total = 0.0;
  for (const float logit : logits) total += std::exp(logit);
  Rng rng = make_rng(302);
  constexpr int kDraws = 100'000;
  std::vector<int> counts(logits.size());
  for (int i = 0; i < kDraws; ++i) ++counts[sample(logits, 1.0F, rng)];
  double chi_square = 0.0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const double expected = kDraws * std::exp(logits[i]) / total;
    chi_square += (counts[i] - expected) * (counts[i] - expected) / expected;
  }
  EXPECT_LT(chi_square, 33.4);  // 4 degrees of freedom, false alarm 1e-6
}

TEST(Sample, SurvivesHugeLogitsAndNeverTakesProbabilityZero) {
  Rng rng = make_rng(303);
  const std::vector<float> logits = {-kInfinity, 1e30F, -kInfinity, 1e30F, -kInfinity};
  for (int i = 0; i < 200; ++i) EXPECT_EQ(sample(logits, 1.0F, rng) % 2, 1);
  EXPECT_EQ(sample(std::vector<float>{-3e38F, 3e38F}, 1e-30F, rng), 1);
}

TEST(Sample, RejectsWhatHasNoAnswer) {
  Rng rng = make_rng(304);
  const std::vector<float> logits = {1.0F, 2.0F};
  EXPECT_TRUE(throws_error([&] { sample({}, 0.0F, rng); }, "no logits"));
  EXPECT_TRUE(throws_error([&] { sample(logits, -0.5F, rng); }, "-0.5"));
  EXPECT_TRUE(throws_error([&] { sample(logits, kNan, rng); }, "nan"));
  EXPECT_TRUE(throws_error([&] { sample(std::vector<float>{1.0F, kNan}, 0.0F, rng); }, "logit 1 is NaN"));
  EXPECT_TRUE(throws_error([&] { sample(std::vector<float>{1.0F, kInfinity}, 1.0F, rng); }, "inf"));
  EXPECT_TRUE(throws_error([&] { sample(std::vector<float>{-kInfinity}, 1.0F, rng); }, "-inf"));
}

}  // namespace
}  // namespace kit::testing
