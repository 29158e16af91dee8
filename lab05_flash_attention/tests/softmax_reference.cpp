#include "softmax_reference.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kit/testing.h"

namespace lab05_tests {

using kit::KnownMistake;
using kit::Tensor;
using kit::testing::KnownValue;
using kit::testing::matches;
using kit::testing::matches_value;
using lab05::SoftmaxState;
using Floats = std::vector<float>;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

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

}  // namespace

Keys random_keys(int n, int head_dim, kit::Rng& rng, float stddev, float mean) {
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

DoubleState added(const Keys& keys, const std::vector<int>& leaf) {
  return reference(keys, {.leaves = {leaf}, .merges = {}}, Mistake::kNone, Mistake::kNone);
}

std::vector<NamedState> wrong_additions(const Keys& keys) {
  std::vector<NamedState> wrong;
  for (const NamedMistake& each : kMistakes) {
    wrong.push_back({each.cause, reference(keys, one_leaf(keys.size()), each.mistake, Mistake::kNone)});
  }
  return wrong;
}

std::vector<NamedState> wrong_merges(const Keys& keys, const Plan& plan) {
  std::vector<NamedState> wrong;
  for (const NamedMistake& each : kMistakes) {
    wrong.push_back({each.cause, reference(keys, plan, Mistake::kNone, each.mistake)});
  }
  return wrong;
}

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
      {"-FLT_MAX in place of -infinity: no finite number may stand for no score",
       -double{std::numeric_limits<float>::max()}},
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

}  // namespace lab05_tests
