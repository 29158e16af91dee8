#include "kit/rope.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>

#include "kit/testing.h"

namespace kit::testing {
namespace {

/// The definition: pair (i, i + half) as a complex number times e^(i angle).
Tensor<float> reference_rotate(const Tensor<float>& x, int first_pos, const std::vector<double>& frequency) {
  Tensor<float> out(x.shape());
  const auto half = static_cast<std::int64_t>(frequency.size());
  for (std::int64_t t = 0; t < x.dim(0); ++t) {
    for (std::int64_t h = 0; h < x.dim(1); ++h) {
      for (std::int64_t i = 0; i < half; ++i) {
        const double angle = static_cast<double>(first_pos + t) * frequency[i];
        const double a = x(t, h, i);
        const double b = x(t, h, i + half);
        out(t, h, i) = static_cast<float>(a * std::cos(angle) - b * std::sin(angle));
        out(t, h, i + half) = static_cast<float>(a * std::sin(angle) + b * std::cos(angle));
      }
    }
  }
  return out;
}

std::vector<double> plain_frequencies(int head_dim, double theta) {
  std::vector<double> frequency;
  frequency.reserve(static_cast<std::size_t>(head_dim / 2));
  for (int i = 0; i < head_dim / 2; ++i) frequency.push_back(std::pow(theta, -2.0 * i / head_dim));
  return frequency;
}

double dot(std::span<const float> a, std::span<const float> b) {
  double sum = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += double{a[i]} * b[i];
  return sum;
}

// A table entry and the two products are rounded to float once each.
constexpr Tolerance kRounding{.absolute = 1e-6, .relative = 1e-6};

TEST(Rope, MatchesTheDefinition) {
  Rng rng = make_rng(200);
  for (const int head_dim : {2, 16, 64, 66}) {
    const Rope rope(head_dim, 5000, 10000.0F);
    for (const int first_pos : {0, 1, 4990}) {
      const Tensor<float> x = random_tensor({5, 3, head_dim}, rng);
      Tensor<float> rotated = clone(x.view());
      rope.rotate(rotated, first_pos);
      const auto expected = reference_rotate(x, first_pos, plain_frequencies(head_dim, 10000.0));
      EXPECT_TRUE(matches(rotated, expected, kRounding)) << head_dim << " at " << first_pos;
    }
  }
}

TEST(Rope, LeavesPositionZeroAlone) {
  Rng rng = make_rng(201);
  const Tensor<float> x = random_tensor({1, 2, 8}, rng);
  Tensor<float> rotated = clone(x.view());
  Rope(8, 4, 10000.0F).rotate(rotated, 0);
  EXPECT_TRUE(matches(rotated, x, {}));
}

TEST(Rope, DotProductsDependOnDistanceOnly) {
  Rng rng = make_rng(202);
  const Rope rope(32, 1024, 10000.0F);
  const Tensor<float> q = random_tensor({1, 1, 32}, rng);
  const Tensor<float> k = random_tensor({1, 1, 32}, rng);
  const auto product = [&](int q_pos, int k_pos) {
    Tensor<float> rotated_q = clone(q.view());
    Tensor<float> rotated_k = clone(k.view());
    rope.rotate(rotated_q, q_pos);
    rope.rotate(rotated_k, k_pos);
    return dot(rotated_q.span(), rotated_k.span());
  };
  for (const int shift : {1, 100, 1000}) EXPECT_NEAR(product(20 + shift, 3 + shift), product(20, 3), 1e-5);
  EXPECT_GT(std::abs(product(21, 3) - product(20, 3)), 1e-3);
}

TEST(Rope, TokensOneByOneGiveTheSameBits) {
  Rng rng = make_rng(203);
  const Rope rope(16, 64, 10000.0F);
  Tensor<float> together = random_tensor({6, 2, 16}, rng);
  Tensor<float> alone = clone(together.view());
  rope.rotate(together, 7);
  for (std::int64_t t = 0; t < 6; ++t) {
    rope.rotate({alone.row(t, 0).data(), {1, 2, 16}}, static_cast<int>(7 + t));
  }
  EXPECT_TRUE(matches(alone, together, {}));
}

TEST(Rope, ScalesFrequenciesAsLlama31Does) {
  const RopeScaling scaling{
      .factor = 8.0F, .low_freq_factor = 1.0F, .high_freq_factor = 4.0F, .original_max_seq_len = 64};
  std::vector<double> frequency = plain_frequencies(16, 10000.0);
  int n_kept = 0;
  int n_blended = 0;
  for (double& f : frequency) {
    const double wavelength = 2.0 * std::numbers::pi / f;
    if (wavelength < 64.0 / 4.0) {
      ++n_kept;
    } else if (wavelength > 64.0 / 1.0) {
      f /= 8.0;
    } else {
      const double smooth = (64.0 / wavelength - 1.0) / (4.0 - 1.0);
      f = (1.0 - smooth) * f / 8.0 + smooth * f;
      ++n_blended;
    }
  }
  // The test means something only when every band is there.
  ASSERT_GT(n_kept, 0);
  ASSERT_GT(n_blended, 0);
  ASSERT_LT(n_kept + n_blended, 8);
  Rng rng = make_rng(204);
  const Tensor<float> x = random_tensor({4, 2, 16}, rng);
  Tensor<float> rotated = clone(x.view());
  Rope(16, 512, 10000.0F, scaling).rotate(rotated, 300);
  EXPECT_TRUE(matches(rotated, reference_rotate(x, 300, frequency), kRounding));
}

TEST(Rope, RejectsImpossibleParameters) {
  EXPECT_TRUE(throws_error([] { Rope(7, 8, 1e4F); }, "head_dim 7"));
  EXPECT_TRUE(throws_error([] { Rope(0, 8, 1e4F); }, "head_dim 0"));
  EXPECT_TRUE(throws_error([] { Rope(8, 0, 1e4F); }, "max_seq_len 0"));
  EXPECT_TRUE(throws_error([] { Rope(8, 8, 0.0F); }, "theta 0"));
  EXPECT_TRUE(throws_error([] { Rope(8, 8, std::numeric_limits<float>::quiet_NaN()); }, "theta nan"));
  EXPECT_TRUE(throws_error([] { Rope(8, 8, 1e4F, RopeScaling{0.0F, 1.0F, 4.0F, 64}); }, "factor 0"));
  EXPECT_TRUE(throws_error([] { Rope(8, 8, 1e4F, RopeScaling{8.0F, 4.0F, 4.0F, 64}); }, "low_freq_factor 4"));
  EXPECT_TRUE(throws_error(
      [] {
        Rope(8, 8, 1e4F, RopeScaling{8.0F, 1.0F, 4.0F, 0});
      },
      "original_max_seq_len 0"));
}

TEST(Rope, RejectsPositionsOutsideTheTableAndOtherShapes) {
  const Rope rope(8, 16, 10000.0F);
  Tensor<float> x({3, 2, 8});
  rope.rotate(x, 13);
  EXPECT_TRUE(throws_error([&] { rope.rotate(x, 14); }, "14 .. 16"));
  EXPECT_TRUE(throws_error([&] { rope.rotate(x, -1); }, "-1 .. 1"));
  Tensor<float> other({3, 2, 6});
  EXPECT_TRUE(throws_error([&] { rope.rotate(other, 0); }, "[3, 2, 6]"));
  Tensor<float> flat({3, 8});
  EXPECT_TRUE(throws_error([&] { rope.rotate(flat, 0); }, "[3, 8]"));
}

}  // namespace
}  // namespace kit::testing
