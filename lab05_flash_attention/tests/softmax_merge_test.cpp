#include "lab05/softmax_state.h"

#include <gtest/gtest.h>

#include <fmt/format.h>

#include <limits>
#include <tuple>
#include <vector>

#include "kit/testing.h"
#include "softmax_reference.h"

namespace {

using kit::testing::throws_error;
using lab05::SoftmaxState;
using lab05_tests::definition;
using lab05_tests::expect_state;
using lab05_tests::Keys;
using lab05_tests::no_keys;
using lab05_tests::Plan;
using lab05_tests::random_keys;
using lab05_tests::random_plan;
using lab05_tests::rounded;
using lab05_tests::wrong_merges;
using Floats = std::vector<float>;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLargest = std::numeric_limits<float>::max();

/// The parts of `keys` that the leaves name, from the kit; the student merges.
SoftmaxState merge_by(const Keys& keys, const Plan& plan) {
  std::vector<SoftmaxState> states;
  for (const std::vector<int>& leaf : plan.leaves) {
    states.push_back(rounded(lab05_tests::added(keys, leaf)));
  }
  for (const auto& [a, b] : plan.merges) states.push_back(lab05::merge(states[a], states[b]));
  return states.back();
}

void expect_merged(const Keys& keys, const Plan& plan) {
  expect_state(merge_by(keys, plan), keys, wrong_merges(keys, plan));
}

bool same(const SoftmaxState& a, const SoftmaxState& b) {
  return a.m == b.m && a.l == b.l && a.o == b.o;
}

// a: one key of score 1, value 2. b: two keys of score 3, values 4 and 8. m = 3, l = exp(-2) + 2,
// o = 2 exp(-2) + 12.
TEST(SoftmaxStateMerge, ByHand) {
  const SoftmaxState a{.m = 1.0F, .l = 1.0F, .o = {2.0F}};
  const SoftmaxState b{.m = 3.0F, .l = 2.0F, .o = {12.0F}};
  for (const SoftmaxState& got : {lab05::merge(a, b), lab05::merge(b, a)}) {
    ASSERT_EQ(got.o.size(), 1U);
    EXPECT_EQ(got.m, 3.0F);
    EXPECT_NEAR(got.l, 2.135335283, 1e-6);
    EXPECT_NEAR(got.o[0], 12.270670566, 1e-5);
  }
}

TEST(SoftmaxStateMerge, TwoPartsMatchAllKeysAtOnce) {
  kit::Rng rng = kit::testing::make_rng(530);
  for (const int n : {2, 3, 33, 500}) {
    for (const int head_dim : {1, 5, 64}) {
      const Keys keys = random_keys(n, head_dim, rng);
      Plan plan{.leaves = {{}, {}}, .merges = {{0, 1}}};
      for (int i = 0; i < n; ++i) plan.leaves[i < (n + 1) / 3 ? 0 : 1].push_back(i);
      expect_merged(keys, plan);
      if (HasFailure()) return;
    }
  }
}

TEST(SoftmaxStateMerge, OrderOfTheTwoDoesNotMatter) {
  kit::Rng rng = kit::testing::make_rng(531);
  for (int i = 0; i < 20; ++i) {
    const Keys keys = random_keys(20, 6, rng);
    Plan plan = random_plan(20, 2, rng);
    plan.merges = {{0, 1}};
    expect_merged(keys, plan);
    plan.merges = {{1, 0}};
    expect_merged(keys, plan);
    if (HasFailure()) return;
  }
}

TEST(SoftmaxStateMerge, ThreePartsInAnyOrder) {
  kit::Rng rng = kit::testing::make_rng(532);
  for (int i = 0; i < 10; ++i) {
    const Keys keys = random_keys(30, 6, rng, 4.0F);
    Plan plan = random_plan(30, 3, rng);
    for (const auto& [first, second, third] : {std::tuple{0U, 1U, 2U}, {0U, 2U, 1U}, {1U, 2U, 0U}}) {
      plan.merges = {{first, second}, {3U, third}};  // (a b) c
      expect_merged(keys, plan);
      plan.merges = {{first, second}, {third, 3U}};  // c (a b)
      expect_merged(keys, plan);
      if (HasFailure()) return;
    }
  }
}

TEST(SoftmaxStateMerge, AnyTreeGivesTheSame) {
  kit::Rng rng = kit::testing::make_rng(533);
  for (int i = 0; i < 60; ++i) {
    Keys keys = random_keys(1 + static_cast<int>(rng.below(80)), 4, rng, 3.0F);
    if (i % 3 == 0) {
      for (float& score : keys.scores) score = rng.below(4) == 0 ? -kInfinity : score;
    }
    expect_merged(keys, random_plan(keys.size(), 2 + static_cast<int>(rng.below(20)), rng));
    if (HasFailure()) return;
  }
}

TEST(SoftmaxStateMerge, ManyPartsOfOneKey) {
  kit::Rng rng = kit::testing::make_rng(534);
  constexpr int kKeys = 1000;
  const Keys keys = random_keys(kKeys, 3, rng);
  Plan plan;
  for (int i = 0; i < kKeys; ++i) plan.leaves.push_back({i});
  Plan chain = plan;
  chain.merges.emplace_back(0, 1);
  for (std::size_t i = 2; i < kKeys; ++i) chain.merges.emplace_back(kKeys + i - 2, i);
  expect_merged(keys, chain);
  Plan balanced = plan;
  for (std::size_t i = 0; i + 1 < 2 * kKeys - 1; i += 2) balanced.merges.emplace_back(i, i + 1);
  expect_merged(keys, balanced);
}

TEST(SoftmaxStateMerge, EmptyStateIsTheIdentity) {
  kit::Rng rng = kit::testing::make_rng(535);
  for (const float level : {0.0F, -2e30F, -3e38F, 1e4F}) {
    const SoftmaxState state = rounded(definition(random_keys(20, 5, rng, 2.0F, level)));
    EXPECT_TRUE(same(lab05::merge(state, no_keys(5)), state)) << "merge(x, empty), scores around " << level;
    EXPECT_TRUE(same(lab05::merge(no_keys(5), state), state)) << "merge(empty, x), scores around " << level;
  }
  const SoftmaxState empty = lab05::empty_state(5);
  EXPECT_EQ(empty.m, -kInfinity) << "no finite number may stand for no score";
  EXPECT_EQ(empty.l, 0.0F);
  EXPECT_EQ(empty.o, Floats(5, 0.0F));
}

TEST(SoftmaxStateMerge, TwoEmptyStatesAreEmpty) {
  const SoftmaxState got = lab05::merge(no_keys(4), no_keys(4));
  EXPECT_EQ(got.m, -kInfinity);
  EXPECT_EQ(got.l, 0.0F) << "a NaN comes of -infinity - -infinity";
  EXPECT_EQ(got.o, Floats(4, 0.0F));
}

TEST(SoftmaxStateMerge, VeryDifferentMaxima) {
  kit::Rng rng = kit::testing::make_rng(536);
  for (const float distance : {20.0F, 100.0F, 1e4F, 3e30F, 3e38F}) {
    SCOPED_TRACE(fmt::format("scores of -{0} and {0}", distance));
    Keys keys = random_keys(10, 4, rng, 1.0F);
    Plan plan{.leaves = {{}, {}}, .merges = {{0, 1}}};
    for (int i = 0; i < 10; ++i) {
      keys.scores[static_cast<std::size_t>(i)] += i % 2 == 0 ? -distance : distance;
      plan.leaves[static_cast<std::size_t>(i % 2)].push_back(i);
    }
    expect_merged(keys, plan);
    plan.merges = {{1, 0}};
    expect_merged(keys, plan);
    if (HasFailure()) return;
  }
}

TEST(SoftmaxStateMerge, VeryNegativeScores) {
  kit::Rng rng = kit::testing::make_rng(537);
  for (const float level : {-2e4F, -1.5e5F, -2e9F, -2e30F, -3e38F, -kLargest}) {
    SCOPED_TRACE(fmt::format("scores around {}", level));
    const Keys keys = random_keys(20, 4, rng, 1.0F, level);
    expect_merged(keys, random_plan(20, 6, rng));  // some parts are empty
    if (HasFailure()) return;
  }
}

TEST(SoftmaxStateMerge, RejectsWhatCannotBe) {
  const SoftmaxState good{.m = 1.0F, .l = 1.5F, .o = {1.0F, 2.0F}};
  const auto refuses = [&](float m, float l) {
    const SoftmaxState bad{.m = m, .l = l, .o = {1.0F, 2.0F}};
    Floats out(2);
    const auto first = throws_error([&] { (void)lab05::merge(bad, good); });
    if (!first) return first;
    const auto second = throws_error([&] { (void)lab05::merge(good, bad); });
    if (!second) return second;
    const auto in_add = throws_error([&] { (void)lab05::add(bad, 1.0F, Floats(2, 1.0F)); });
    if (!in_add) return in_add;
    return throws_error([&] { (void)lab05::finish(bad, out); });
  };
  EXPECT_TRUE(refuses(kNan, 1.0F));
  EXPECT_TRUE(refuses(kInfinity, 1.0F));
  EXPECT_TRUE(refuses(2.0F, kNan));
  EXPECT_TRUE(refuses(2.0F, kInfinity));
  EXPECT_TRUE(refuses(2.0F, -1.0F));
  EXPECT_TRUE(refuses(2.0F, 0.0F)) << "there is a maximum, so there is a key, and its exp(0) is 1";
  EXPECT_TRUE(refuses(-kInfinity, 1.0F)) << "no key, but a sum";
  for (const int head_dim : {0, 1, 3}) {
    EXPECT_TRUE(throws_error([&] { (void)lab05::merge(good, no_keys(head_dim)); }))
        << "head_dim " << head_dim;
    EXPECT_TRUE(throws_error([&] { (void)lab05::merge(no_keys(head_dim), good); }))
        << "head_dim " << head_dim;
  }
  EXPECT_TRUE(throws_error([] { (void)lab05::empty_state(0); }));
  EXPECT_TRUE(throws_error([] { (void)lab05::empty_state(-8); }));
}

}  // namespace
