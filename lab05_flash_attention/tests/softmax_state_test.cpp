#include "lab05/softmax_state.h"

#include <gtest/gtest.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "kit/testing.h"
#include "softmax_reference.h"

namespace {

using kit::KnownMistake;
using kit::Tensor;
using kit::testing::KnownValue;
using kit::testing::matches;
using kit::testing::matches_value;
using kit::testing::throws_error;
using lab05::SoftmaxState;
using lab05_tests::as_tensor;
using lab05_tests::definition;
using lab05_tests::DoubleState;
using lab05_tests::expect_state;
using lab05_tests::Keys;
using lab05_tests::no_keys;
using lab05_tests::random_keys;
using lab05_tests::rounded;
using lab05_tests::wrong_additions;
using Floats = std::vector<float>;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLargest = std::numeric_limits<float>::max();

SoftmaxState add_all(const Keys& keys) {
  SoftmaxState state = no_keys(static_cast<int>(keys.values.dim(1)));
  for (int i = 0; i < keys.size(); ++i) {
    state = lab05::add(std::move(state), keys.scores[static_cast<std::size_t>(i)], keys.values.row(i));
  }
  return state;
}

void expect_added(const Keys& keys) {
  expect_state(add_all(keys), keys, wrong_additions(keys));
}

bool same(const SoftmaxState& a, const SoftmaxState& b) {
  return a.m == b.m && a.l == b.l && a.o == b.o;
}

// m = 3, l = exp(1 - 3) + 1, o = exp(-2) (2, 0) + (0, 4).
TEST(SoftmaxStateAdd, ByHand) {
  const SoftmaxState first = lab05::add(no_keys(2), 1.0F, Floats{2.0F, 0.0F});
  ASSERT_EQ(first.o.size(), 2U);
  EXPECT_EQ(first.m, 1.0F);
  EXPECT_EQ(first.l, 1.0F);
  EXPECT_EQ(first.o[0], 2.0F);
  const SoftmaxState got = lab05::add(first, 3.0F, Floats{0.0F, 4.0F});
  ASSERT_EQ(got.o.size(), 2U);
  EXPECT_EQ(got.m, 3.0F);
  EXPECT_NEAR(got.l, 1.135335283, 1e-6);
  EXPECT_NEAR(got.o[0], 0.270670566, 1e-6) << "2 exp(1 - 3): o is rescaled with l";
  EXPECT_NEAR(got.o[1], 4.0, 1e-6) << "not yet divided by l";
}

TEST(SoftmaxStateAdd, KeyAfterKeyMatchesTheDefinition) {
  kit::Rng rng = kit::testing::make_rng(520);
  for (const int n : {1, 2, 31, 33, 500}) {
    for (const int head_dim : {1, 5, 64}) {
      expect_added(random_keys(n, head_dim, rng));
      if (HasFailure()) return;
    }
  }
}

TEST(SoftmaxStateAdd, RisingAndFallingScores) {
  kit::Rng rng = kit::testing::make_rng(521);
  Keys keys = random_keys(100, 7, rng);
  std::sort(keys.scores.begin(), keys.scores.end());
  expect_added(keys);
  std::reverse(keys.scores.begin(), keys.scores.end());
  expect_added(keys);
  for (int i = 0; i < 100; ++i)
    keys.scores[static_cast<std::size_t>(i)] = 150.0F * static_cast<float>(i % 10);
  expect_added(keys);  // exp(-150) is 0 in float
}

TEST(SoftmaxStateAdd, MaskedKeyChangesNothing) {
  kit::Rng rng = kit::testing::make_rng(522);
  const Keys keys = random_keys(9, 5, rng);
  for (const SoftmaxState& state : {rounded(definition(keys)), no_keys(5)}) {
    EXPECT_TRUE(same(lab05::add(state, -kInfinity, keys.values.row(3)), state))
        << "a key with the score -infinity, m was " << state.m;
    for (const float garbage : {kNan, kInfinity}) {
      EXPECT_TRUE(same(lab05::add(state, -kInfinity, Floats(5, garbage)), state))
          << "0 * " << garbage << " is a NaN: a masked key's value must not be touched";
    }
  }
}

TEST(SoftmaxStateAdd, MaskedKeysAmongOthers) {
  kit::Rng rng = kit::testing::make_rng(523);
  for (int i = 0; i < 10; ++i) {
    Keys keys = random_keys(40, 3, rng);
    for (float& score : keys.scores) {
      if (rng.below(3) == 0) score = -kInfinity;
    }
    if (i % 2 == 0) keys.scores[0] = keys.scores[1] = -kInfinity;
    expect_added(keys);
    if (HasFailure()) return;
  }
}

TEST(SoftmaxStateAdd, VeryNegativeAndVeryLargeScores) {
  kit::Rng rng = kit::testing::make_rng(524);
  for (const float level : {-2e4F, -1.5e5F, -2e9F, -2e30F, -3e38F, -kLargest, 1e4F, 3e30F, 3e38F}) {
    SCOPED_TRACE(fmt::format("scores around {}", level));
    expect_added(random_keys(1, 4, rng, 1.0F, level));
    Keys keys = random_keys(12, 4, rng, 1.0F, level);
    expect_added(keys);
    keys.scores[0] = keys.scores[6] = -kInfinity;
    expect_added(keys);
    if (HasFailure()) return;
  }
  Keys keys = random_keys(4, 4, rng);
  keys.scores = {-3e38F, 3e38F, -3e38F, 3e38F};  // their difference is beyond the largest float
  expect_added(keys);
  keys.scores = {1e-38F, -1e-38F, 1e-45F, 0.0F};
  expect_added(keys);
}

TEST(SoftmaxStateAdd, RejectsWhatCannotBe) {
  const SoftmaxState good = no_keys(3);
  const Floats value(3, 1.0F);
  for (const float bad : {kNan, kInfinity}) {
    EXPECT_TRUE(throws_error([&] { (void)lab05::add(good, bad, value); }, fmt::format("{}", bad)));
  }
  EXPECT_TRUE(throws_error([&] { (void)lab05::add(good, 1.0F, Floats(2, 1.0F)); }));
  EXPECT_TRUE(throws_error([&] { (void)lab05::add(good, 1.0F, Floats(4, 1.0F)); }));
  EXPECT_TRUE(throws_error([&] { (void)lab05::add(good, -kInfinity, Floats(4, 1.0F)); }))
      << "a masked key's value has the right length, too";
}

void expect_finished(const Keys& keys) {
  const DoubleState state = definition(keys);
  const auto head_dim = static_cast<int>(keys.values.dim(1));
  const auto divided = [&](double by) {
    std::vector<double> out = state.o;
    for (double& x : out) x /= by;
    return as_tensor(out);
  };
  Tensor<float> got = kit::testing::nan_tensor({head_dim});
  const float lse = lab05::finish(rounded(state), got.span());
  // Rounding o, l and the quotient: 3 * 2^-24, and twice that for good measure.
  EXPECT_TRUE(
      matches(got, divided(state.l), {.relative = 6 * 0x1p-24},
              std::vector<KnownMistake>{{"an o that is not divided by l", divided(1.0)},
                                        {"an o that is divided by l twice", divided(state.l * state.l)}}));
  const double expected = state.m + std::log(state.l);
  // m is exact; ln(l) has the relative error of l, absolutely, and the sum is rounded.
  const double absolute = (std::abs(expected) + std::log(state.l) + 4.0) * 0x1p-24;
  EXPECT_TRUE(matches_value(
      lse, expected, absolute / std::abs(expected),
      std::vector<KnownValue>{{"ln(l), without m", std::log(state.l)},
                              {"m alone, without ln(l)", state.m},
                              {"log2(l): the logarithm is the natural one", state.m + std::log2(state.l)},
                              {"log2 of the sum: the logarithm is the natural one", expected / std::log(2.0)},
                              {"log10(l): the logarithm is the natural one", state.m + std::log10(state.l)},
                              {"m + l, without a logarithm", state.m + state.l}}))
      << "the log-sum-exp of " << keys.size() << " keys";
}

TEST(SoftmaxStateFinish, DividesAndReturnsTheLogSumExp) {
  kit::Rng rng = kit::testing::make_rng(540);
  for (const int n : {1, 2, 31, 1000}) {
    for (const int head_dim : {1, 5, 64}) {
      expect_finished(random_keys(n, head_dim, rng, 2.0F, 5.0F));
      if (HasFailure()) return;
    }
  }
  for (const float level : {-2e30F, -3e38F, -1e4F, 1e4F, 3e38F}) {
    SCOPED_TRACE(fmt::format("scores around {}", level));
    expect_finished(random_keys(10, 4, rng, 1.0F, level));
    if (HasFailure()) return;
  }
}

TEST(SoftmaxStateFinish, WithoutKeysIsZeroAndMinusInfinity) {
  Floats out(6, kNan);
  EXPECT_EQ(lab05::finish(no_keys(6), out), -kInfinity);
  EXPECT_EQ(out, Floats(6, 0.0F)) << "a NaN comes of 0 / 0";
}

TEST(SoftmaxStateFinish, FullyMaskedRow) {
  SoftmaxState left = no_keys(3);
  SoftmaxState right = no_keys(3);
  for (int i = 0; i < 5; ++i) {
    left = lab05::add(left, -kInfinity, Floats(3, static_cast<float>(i)));
    right = lab05::add(right, -kInfinity, Floats(3, kNan));
  }
  Floats out(3, kNan);
  EXPECT_EQ(lab05::finish(lab05::merge(left, right), out), -kInfinity);
  EXPECT_EQ(out, Floats(3, 0.0F))
      << "masked keys alone: a mean of their values is the mark of a finite stand-in "
         "for -infinity, a NaN that of -infinity - -infinity";
}

TEST(SoftmaxStateFinish, RejectsAnOutputOfAnotherLength) {
  const SoftmaxState state{.m = 1.0F, .l = 1.5F, .o = {1.0F, 2.0F}};
  for (const std::size_t n : {0U, 1U, 3U}) {
    Floats out(n);
    EXPECT_TRUE(throws_error([&] { (void)lab05::finish(state, out); })) << n << " numbers";
  }
}

}  // namespace
