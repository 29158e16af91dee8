#include "kit/linear.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "kit/testing.h"

namespace kit::testing {
namespace {

/// x W^T in double, and the largest sum of |products|, which bounds the rounding error.
Tensor<float> reference_linear(const Tensor<float>& x, const Tensor<float>& w) {
  Tensor<float> y({x.dim(0), w.dim(0)});
  for (std::int64_t t = 0; t < x.dim(0); ++t) {
    for (std::int64_t r = 0; r < w.dim(0); ++r) {
      double sum = 0.0;
      for (std::int64_t k = 0; k < x.dim(1); ++k) sum += double{x(t, k)} * double{w(r, k)};
      y(t, r) = static_cast<float>(sum);
    }
  }
  return y;
}

struct LinearCase {
  std::int64_t n, in, out;
};

class LinearShapes : public ::testing::TestWithParam<LinearCase> {};

TEST_P(LinearShapes, MatchesDoublePrecision) {
  const auto [n, in, out] = GetParam();
  Rng rng = make_rng(100);
  const Tensor<float> x = random_tensor({n, in}, rng);
  const Tensor<float> w = random_tensor({out, in}, rng);
  Tensor<float> y = nan_tensor({n, out});
  linear(x, w, y);
  // Sums of `in` products of N(0,1) have size sqrt(in); an error of 2^-24 for each addition adds up like a
  // random walk, so 2^-24 * in is generous.
  const double tolerance = 0x1p-24 * static_cast<double>(in) + 1e-6;
  EXPECT_TRUE(matches(y, reference_linear(x, w), {.absolute = tolerance, .relative = 1e-6}));
}

TEST_P(LinearShapes, GivesTheSameBitsForOneTokenAsForMany) {
  const auto [n, in, out] = GetParam();
  Rng rng = make_rng(101);
  const Tensor<float> x = random_tensor({n, in}, rng);
  const Tensor<float> w = random_tensor({out, in}, rng);
  Tensor<float> together = nan_tensor({n, out});
  linear(x, w, together);
  for (std::int64_t t = 0; t < n; ++t) {
    Tensor<float> alone = nan_tensor({1, out});
    linear({x.row(t).data(), {1, in}}, w, alone);
    ASSERT_EQ(std::memcmp(alone.data(), together.row(t).data(), alone.span().size_bytes()), 0)
        << "token " << t << " of " << n;
  }
}

// Odd sizes, whole tiles, more tokens than a tile, than a block of tokens, longer rows than a block of
// inputs, and enough work for several threads.
INSTANTIATE_TEST_SUITE_P(Sizes, LinearShapes,
                         ::testing::Values(LinearCase{1, 1, 1}, LinearCase{1, 31, 33}, LinearCase{2, 33, 3},
                                           LinearCase{7, 1000, 5}, LinearCase{6, 64, 8},
                                           LinearCase{64, 256, 256}, LinearCase{33, 1025, 31},
                                           LinearCase{13, 5000, 6}, LinearCase{1, 1024, 1000},
                                           LinearCase{400, 2100, 12}),
                         [](const auto& info) {
                           return "n" + std::to_string(info.param.n) + "in" + std::to_string(info.param.in) +
                                  "out" + std::to_string(info.param.out);
                         });

TEST(Linear, AcceptsEmptyArrays) {
  Tensor<float> y = nan_tensor({2, 3});
  linear(Tensor<float>({2, 0}), Tensor<float>({3, 0}), y);
  for (const float value : y.span()) EXPECT_EQ(value, 0.0F);
  Tensor<float> none({0, 3});
  linear(Tensor<float>({0, 5}), Tensor<float>({3, 5}), none);
}

TEST(Linear, PropagatesNan) {
  Tensor<float> x({1, 20}, 1.0F);
  x(0, 19) = std::numeric_limits<float>::quiet_NaN();
  Tensor<float> y({1, 4});
  linear(x, Tensor<float>({4, 20}, 0.0F), y);
  for (const float value : y.span()) EXPECT_TRUE(std::isnan(value));
}

TEST(Linear, RejectsShapesThatDoNotFit) {
  Tensor<float> y({2, 3});
  EXPECT_TRUE(throws_error([&] { linear(Tensor<float>({2, 4}), Tensor<float>({3, 5}), y); }, "[2, 4]"));
  EXPECT_TRUE(throws_error([&] { linear(Tensor<float>({1, 4}), Tensor<float>({3, 4}), y); }, "do not fit"));
  EXPECT_TRUE(throws_error([&] { linear(Tensor<float>({2, 4}), Tensor<float>({2, 4}), y); }, "do not fit"));
  EXPECT_TRUE(throws_error([&] { linear(Tensor<float>({8}), Tensor<float>({3, 4}), y); }, "[8]"));
}

TEST(RmsNorm, MatchesDoublePrecisionAlsoInPlace) {
  Rng rng = make_rng(102);
  for (const std::int64_t dim : {1, 5, 31, 64, 1000}) {
    const Tensor<float> x = random_tensor({3, dim}, rng, 4.0F);
    const Tensor<float> gain = random_tensor({dim}, rng);
    Tensor<float> expected({3, dim});
    for (std::int64_t t = 0; t < 3; ++t) {
      double squares = 0.0;
      for (const float v : x.row(t)) squares += double{v} * v;
      const double scale = 1.0 / std::sqrt(squares / static_cast<double>(dim) + 1e-5);
      for (std::int64_t i = 0; i < dim; ++i) expected(t, i) = static_cast<float>(x(t, i) * scale * gain(i));
    }
    Tensor<float> out = nan_tensor({3, dim});
    rms_norm(x, gain, 1e-5F, out);
    // A mean of squares has no cancellation: a few roundings each.
    EXPECT_TRUE(matches(out, expected, {.absolute = 0, .relative = 2e-6}));
    Tensor<float> in_place = clone(x.view());
    rms_norm(in_place, gain, 1e-5F, in_place);
    EXPECT_EQ(std::memcmp(in_place.data(), out.data(), out.span().size_bytes()), 0);
  }
}

TEST(RmsNorm, RejectsShapesThatDoNotFit) {
  Tensor<float> out({2, 4});
  EXPECT_TRUE(throws_error([&] { rms_norm(Tensor<float>({2, 4}), Tensor<float>({5}), 1e-5F, out); }, "[5]"));
  EXPECT_TRUE(throws_error(
      [&] {
        rms_norm(Tensor<float>({3, 4}), Tensor<float>({4}), 1e-5F, out);
      },
      "[3, 4]"));
}

TEST(Swiglu, MatchesDoublePrecisionFarOutToo) {
  Rng rng = make_rng(103);
  Tensor<float> gate = random_tensor({3, 333}, rng, 5.0F);
  gate(0, 0) = 200.0F;
  gate(0, 1) = -200.0F;  // e^200 overflows: silu is 0, not NaN
  gate(0, 2) = 0.0F;
  const Tensor<float> up = random_tensor({3, 333}, rng);
  Tensor<float> expected({3, 333});
  for (std::int64_t i = 0; i < gate.size(); ++i) {
    const double z = gate.span()[i];
    expected.span()[i] = static_cast<float>(z / (1.0 + std::exp(-z)) * up.span()[i]);
  }
  swiglu(gate, up);
  // A vectorised exponential of 2 units in the last place, then three roundings.
  EXPECT_TRUE(matches(gate, expected, {.absolute = 1e-30, .relative = 1e-6}));
}

TEST(Swiglu, GivesTheSameBitsAtEveryPlace) {
  Rng rng = make_rng(104);
  const Tensor<float> gate = random_tensor({1, 100}, rng, 3.0F);
  const Tensor<float> up = random_tensor({1, 100}, rng);
  Tensor<float> together = clone(gate.view());
  swiglu(together, up);
  for (std::int64_t i = 0; i < 100; ++i) {
    Tensor<float> alone({1, 1}, gate(0, i));
    swiglu(alone, Tensor<float>({1, 1}, up(0, i)));
    EXPECT_EQ(alone(0, 0), together(0, i)) << i;
  }
}

TEST(Swiglu, RejectsShapesThatDoNotFit) {
  Tensor<float> gate({2, 4});
  EXPECT_TRUE(throws_error([&] { swiglu(gate, Tensor<float>({4, 2})); }, "[4, 2]"));
}

}  // namespace
}  // namespace kit::testing
