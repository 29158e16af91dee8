#include "kit/rng.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <vector>

#include "kit/check.h"

namespace {

TEST(Rng, MatchesThePublishedSequence) {
  // The first outputs of PCG32 seeded with (42, 54), as in the generator's own demonstration program.
  kit::Rng rng(42, 54);
  for (const std::uint32_t expected :
       {0xa15c02b7U, 0x7b47f409U, 0xba1d3330U, 0x83d2f293U, 0xbfa4784bU, 0xcbed606eU}) {
    EXPECT_EQ(rng.next_u32(), expected);
  }
}

TEST(Rng, IsAValueThatReplays) {
  kit::Rng rng(7);
  (void)rng.normal();
  kit::Rng copy = rng;
  EXPECT_EQ(rng, copy);
  EXPECT_EQ(rng.uniform(), copy.uniform());
  (void)copy.next_u32();
  EXPECT_NE(rng, copy);
}

TEST(Rng, StreamsDiffer) {
  kit::Rng a(1, 0);
  kit::Rng b(1, 1);
  EXPECT_NE(a.next_u32(), b.next_u32());
}

TEST(Rng, MomentsAreRight) {
  kit::Rng rng(11);
  constexpr int kSamples = 200000;
  double mean = 0.0;
  double square = 0.0;
  double uniform = 0.0;
  for (int i = 0; i < kSamples; ++i) {
    const double x = rng.normal();
    mean += x / kSamples;
    square += x * x / kSamples;
    const double u = rng.uniform();
    ASSERT_TRUE(u >= 0.0 && u < 1.0);
    uniform += u / kSamples;
  }
  // Five standard errors: 5 / sqrt(n), 5 sqrt(2 / n), 5 / sqrt(12 n). The seed is fixed.
  EXPECT_NEAR(mean, 0.0, 0.0112);
  EXPECT_NEAR(square, 1.0, 0.0159);
  EXPECT_NEAR(uniform, 0.5, 0.0033);
}

TEST(Rng, BelowIsUniform) {
  kit::Rng rng(13);
  std::array<int, 7> counts{};
  for (int i = 0; i < 70000; ++i) ++counts[rng.below(7)];
  double chi_square = 0.0;
  for (const int count : counts) chi_square += std::pow(count - 10000.0, 2) / 10000.0;
  EXPECT_LT(chi_square, 38.3);  // 6 degrees of freedom, probability 1e-6
  EXPECT_THROW((void)rng.below(0), kit::Error);
}

}  // namespace
