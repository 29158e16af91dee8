#include "lab05/softmax_state.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "kit/testing.h"

namespace {

using kit::KnownMistake;
using kit::Tensor;
using kit::testing::KnownValue;
using kit::testing::matches;
using kit::testing::matches_value;
using kit::testing::throws_error;
using lab05::SoftmaxState;
using Floats = std::vector<float>;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();
constexpr float kLargest = std::numeric_limits<float>::max();

/// Scores and values of some keys.
struct Keys {
  Floats scores;         // [n]
  Tensor<float> values;  // [n, head_dim]

  int size() const { return static_cast<int>(scores.size()); }
};

/// Every key's values lie elsewhere, and every dimension's, so that none can stand for another.
Keys random_keys(int n, int head_dim, kit::Rng& rng, float stddev = 2.0F, float mean = 0.0F) {
  Keys keys{Floats(static_cast<std::size_t>(n)), kit::testing::random_tensor({n, head_dim}, rng)};
  rng.fill_normal(keys.scores, stddev);
  for (int i = 0; i < n; ++i) {
    keys.scores[static_cast<std::size_t>(i)] += mean;
    for (int d = 0; d < head_dim; ++d) {
      keys.values(i, d) += 0.1F * static_cast<float>(i % 7) - 0.05F * static_cast<float>(d % 5);
    }
  }
  return keys;
}

/// A state in double. o is not divided by l.
struct DoubleState {
  double m = kMinusInfinity;
  double l = 0.0;
  std::vector<double> o;
};

/// What goes wrong when two sets of keys become one.
enum class Mistake {
  kNone,
  kOutputNotRescaled,
  kSumNotRescaled,
  kOutputRescaledTwice,
  kSumRescaledTwice,
  kWrongSign,
  kFactorsExchanged,
  kFactorOfTheOther,
  kSumIgnored,
  kOutputsAveraged,
};

struct NamedMistake {
  Mistake mistake;
  const char* cause;
};

constexpr NamedMistake kMistakes[] = {
    {Mistake::kOutputNotRescaled, "an o that is not rescaled when m grows"},
    {Mistake::kSumNotRescaled, "an l that is not rescaled when m grows"},
    {Mistake::kOutputRescaledTwice, "an o that is rescaled twice when m grows"},
    {Mistake::kSumRescaledTwice, "an l that is rescaled twice when m grows"},
    {Mistake::kWrongSign, "a rescaling by exp(new m - old m): the sign is wrong"},
    {Mistake::kFactorsExchanged, "each side rescaled by the other's factor"},
    {Mistake::kFactorOfTheOther, "both sides rescaled by the second one's factor"},
    {Mistake::kSumIgnored, "a merge that ignores l: outputs weighted by exp(m) alone"},
    {Mistake::kOutputsAveraged, "the mean of both outputs, whatever their weights l exp(m)"},
};

/// How to take `part` (with maximum `m` of its own, the new one `both`) into account.
struct Factors {
  double of_l = 1.0;
  double of_o = 1.0;
};

Factors factors(double m, double other, Mistake mistake) {
  const double both = std::max(m, other);
  const double right = m == kMinusInfinity ? 0.0 : std::exp(m - both);
  switch (mistake) {
    case Mistake::kOutputNotRescaled:
      return {right, 1.0};
    case Mistake::kSumNotRescaled:
      return {1.0, right};
    case Mistake::kOutputRescaledTwice:
      return {right, right * right};
    case Mistake::kSumRescaledTwice:
      return {right * right, right};
    case Mistake::kWrongSign:
      return {1.0 / right, 1.0 / right};
    case Mistake::kFactorsExchanged:
      return {std::exp(other - both), std::exp(other - both)};
    default:
      return {right, right};
  }
}

DoubleState combine(const DoubleState& a, const DoubleState& b, Mistake mistake) {
  DoubleState both = a;
  both.m = std::max(a.m, b.m);
  if (both.m == kMinusInfinity) return both;
  Factors of_a = factors(a.m, b.m, mistake);
  Factors of_b = factors(b.m, a.m, mistake);
  if (mistake == Mistake::kFactorOfTheOther) of_a = of_b;
  if (mistake == Mistake::kSumIgnored && a.l > 0 && b.l > 0) {
    of_a.of_o /= a.l;
    of_b.of_o /= b.l;
    of_a.of_l /= a.l;
    of_b.of_l /= b.l;
  }
  both.l = a.l * of_a.of_l + b.l * of_b.of_l;
  if (mistake == Mistake::kOutputsAveraged && a.l > 0 && b.l > 0) {
    of_a.of_o = both.l / (2 * a.l);
    of_b.of_o = both.l / (2 * b.l);
  }
  for (std::size_t d = 0; d < a.o.size(); ++d) both.o[d] = a.o[d] * of_a.of_o + b.o[d] * of_b.of_o;
  return both;
}

DoubleState one_key(float score, std::span<const float> value) {
  if (score == -kInfinity) return {.o = std::vector<double>(value.size(), 0.0)};
  return {.m = score, .l = 1.0, .o = {value.begin(), value.end()}};
}

/// The same key by key. The key that is added needs no rescaling if its factors come from the new m, so the
/// mistakes concern what is there already.
DoubleState add_one(const DoubleState& state, float score, std::span<const float> value, Mistake mistake) {
  if (score == -kInfinity || mistake == Mistake::kNone)
    return combine(state, one_key(score, value), Mistake::kNone);
  DoubleState next = state;
  next.m = std::max(state.m, double{score});
  const double weight = std::exp(score - next.m);
  Factors old = factors(state.m, score, mistake);
  if (mistake == Mistake::kFactorOfTheOther) old = {weight, weight};
  next.l = state.l * old.of_l + weight;
  for (std::size_t d = 0; d < value.size(); ++d) next.o[d] = state.o[d] * old.of_o + weight * value[d];
  return next;
}

/// In which order keys become one state: states of `leaves` (indices of keys, added in order), then merges of
/// two states each, whose result comes behind the others.
struct Plan {
  std::vector<std::vector<int>> leaves;
  std::vector<std::pair<std::size_t, std::size_t>> merges;
};

/// Random parts, some of them empty, merged in random order.
Plan random_plan(int n_keys, int n_leaves, kit::Rng& rng) {
  Plan plan;
  plan.leaves.resize(static_cast<std::size_t>(n_leaves));
  for (int key = 0; key < n_keys; ++key) {
    plan.leaves[rng.below(static_cast<std::uint32_t>(n_leaves))].push_back(key);
  }
  std::vector<std::size_t> open(static_cast<std::size_t>(n_leaves));
  std::iota(open.begin(), open.end(), std::size_t{0});
  const auto take = [&] {
    const std::size_t at = rng.below(static_cast<std::uint32_t>(open.size()));
    const std::size_t state = open[at];
    open.erase(open.begin() + static_cast<std::ptrdiff_t>(at));
    return state;
  };
  while (open.size() > 1) {
    const std::size_t a = take();
    const std::size_t b = take();
    plan.merges.emplace_back(a, b);
    open.push_back(plan.leaves.size() + plan.merges.size() - 1);
  }
  return plan;
}

/// All keys in one leaf, nothing to merge.
Plan one_leaf(int n_keys) {
  Plan plan{.leaves = {std::vector<int>(static_cast<std::size_t>(n_keys))}, .merges = {}};
  std::iota(plan.leaves[0].begin(), plan.leaves[0].end(), 0);
  return plan;
}

DoubleState reference(const Keys& keys, const Plan& plan, Mistake of_add, Mistake of_merge) {
  std::vector<DoubleState> states;
  for (const std::vector<int>& leaf : plan.leaves) {
    DoubleState state{.o = std::vector<double>(static_cast<std::size_t>(keys.values.dim(1)), 0.0)};
    for (const int key : leaf) {
      state = add_one(state, keys.scores[static_cast<std::size_t>(key)], keys.values.row(key), of_add);
    }
    states.push_back(state);
  }
  for (const auto& [a, b] : plan.merges) states.push_back(combine(states[a], states[b], of_merge));
  return states.back();
}

/// From the definition, all keys at once.
DoubleState definition(const Keys& keys) {
  DoubleState state{.o = std::vector<double>(static_cast<std::size_t>(keys.values.dim(1)), 0.0)};
  for (const float score : keys.scores) state.m = std::max(state.m, double{score});
  for (int i = 0; i < keys.size(); ++i) {
    const double score = keys.scores[static_cast<std::size_t>(i)];
    if (score == kMinusInfinity) continue;
    const double weight = std::exp(score - state.m);
    state.l += weight;
    for (std::size_t d = 0; d < state.o.size(); ++d) {
      state.o[d] += weight * double{keys.values(i, static_cast<std::int64_t>(d))};
    }
  }
  return state;
}

SoftmaxState rounded(const DoubleState& state) {
  return {.m = static_cast<float>(state.m),
          .l = static_cast<float>(state.l),
          .o = {state.o.begin(), state.o.end()}};
}

SoftmaxState no_keys(int head_dim) {
  return {.o = Floats(static_cast<std::size_t>(head_dim), 0.0F)};
}

Tensor<float> as_tensor(std::span<const double> o) {
  Tensor<float> tensor({static_cast<std::int64_t>(o.size())});
  std::transform(o.begin(), o.end(), tensor.span().begin(), [](double x) { return static_cast<float>(x); });
  return tensor;
}

Tensor<float> as_tensor(std::span<const float> o) {
  Tensor<float> tensor({static_cast<std::int64_t>(o.size())});
  std::copy(o.begin(), o.end(), tensor.span().begin());
  return tensor;
}

/// Every key costs an exponential (1 ulp), two products and a sum for each rescaling and addition, each
/// rounded with 2^-24; for o relative to the sum of |p v|, for which the largest |v| times l stands.
double tolerance(int n_keys) {
  return (8.0 * n_keys + 64.0) * 0x1p-24;
}

double largest_value(const Keys& keys) {
  double largest = 1e-30;
  for (const float value : keys.values.span()) largest = std::max(largest, std::abs(double{value}));
  return largest;
}

/// What the student's state of these keys must be. `wrong` are states with a known cause.
struct NamedState {
  std::string cause;
  DoubleState state;
};

void expect_state(const SoftmaxState& got, const Keys& keys, const std::vector<NamedState>& wrong) {
  const DoubleState expected = definition(keys);
  const double within = tolerance(keys.size());
  std::vector<KnownValue> wrong_l;
  std::vector<KnownMistake> wrong_o;
  for (const NamedState& mistake : wrong) {
    wrong_l.push_back({mistake.cause, mistake.state.l});
    wrong_o.push_back({mistake.cause, as_tensor(mistake.state.o)});
  }
  std::vector<double> divided = expected.o;
  for (double& x : divided) x /= expected.l;
  wrong_o.push_back(
      {"an o that is divided by l: that is finish's part, once, at the end", as_tensor(divided)});
  const std::vector<KnownValue> wrong_m = {
      {"an m that starts at 0: all scores may be negative", 0.0},
      {"-FLT_MAX in place of -infinity: no finite number may stand for no score", -double{kLargest}},
      {"-1e30 in place of -infinity: no finite number may stand for no score", double{-1e30F}},
      {"-1e9 in place of -infinity: no finite number may stand for no score", double{-1e9F}},
      {"-1e4 in place of -infinity: no finite number may stand for no score", double{-1e4F}}};
  EXPECT_TRUE(matches_value(got.m, expected.m, 0.0, wrong_m)) << "m of " << keys.size() << " keys";
  EXPECT_TRUE(matches_value(got.l, expected.l, within, wrong_l)) << "l of " << keys.size() << " keys";
  ASSERT_EQ(got.o.size(), expected.o.size()) << "o has head_dim numbers";
  const double absolute = within * std::max(expected.l, 1.0) * largest_value(keys);
  EXPECT_TRUE(matches(as_tensor(std::span<const float>(got.o)), as_tensor(expected.o), {.absolute = absolute},
                      wrong_o))
      << "o of " << keys.size() << " keys";
}

std::vector<NamedState> add_mistakes(const Keys& keys) {
  std::vector<NamedState> wrong;
  for (const NamedMistake& each : kMistakes) {
    wrong.push_back({each.cause, reference(keys, one_leaf(keys.size()), each.mistake, Mistake::kNone)});
  }
  return wrong;
}

std::vector<NamedState> merge_mistakes(const Keys& keys, const Plan& plan) {
  std::vector<NamedState> wrong;
  for (const NamedMistake& each : kMistakes) {
    wrong.push_back({each.cause, reference(keys, plan, Mistake::kNone, each.mistake)});
  }
  return wrong;
}

SoftmaxState add_all(const Keys& keys) {
  SoftmaxState state = no_keys(static_cast<int>(keys.values.dim(1)));
  for (int i = 0; i < keys.size(); ++i) {
    state = lab05::add(std::move(state), keys.scores[static_cast<std::size_t>(i)], keys.values.row(i));
  }
  return state;
}

void expect_added(const Keys& keys) {
  expect_state(add_all(keys), keys, add_mistakes(keys));
}

/// The parts of `keys` that the leaves name, from the kit; the student merges.
SoftmaxState merge_by(const Keys& keys, const Plan& plan) {
  std::vector<SoftmaxState> states;
  for (const std::vector<int>& leaf : plan.leaves) {
    states.push_back(
        rounded(reference(keys, {.leaves = {leaf}, .merges = {}}, Mistake::kNone, Mistake::kNone)));
  }
  for (const auto& [a, b] : plan.merges) states.push_back(lab05::merge(states[a], states[b]));
  return states.back();
}

void expect_merged(const Keys& keys, const Plan& plan) {
  expect_state(merge_by(keys, plan), keys, merge_mistakes(keys, plan));
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
