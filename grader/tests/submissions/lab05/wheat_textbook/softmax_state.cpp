#include "lab05/softmax_state.h"

#include <cmath>

#include "kit/check.h"

namespace lab05 {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

bool has_keys(const SoftmaxState& s) {
  return s.l > 0.0F;
}

void check(const SoftmaxState& s) {
  KIT_CHECK(!std::isnan(s.m) && s.m != kInfinity, "m is {}", s.m);
  KIT_CHECK(std::isfinite(s.l) && s.l >= 0.0F, "l is {}", s.l);
  KIT_CHECK(std::isfinite(s.m) == has_keys(s), "m is {}, l is {}", s.m, s.l);
}

}  // namespace

SoftmaxState empty_state(int head_dim) {
  KIT_CHECK(head_dim > 0, "head_dim is {}", head_dim);
  SoftmaxState state;
  state.o.resize(static_cast<std::size_t>(head_dim));
  return state;
}

SoftmaxState add(SoftmaxState state, float score, std::span<const float> value) {
  KIT_CHECK(!std::isnan(score) && score != kInfinity, "a score of {}", score);
  KIT_CHECK(value.size() == state.o.size(), "{} numbers, not {}", value.size(), state.o.size());
  if (score == -kInfinity) {
    check(state);
    return state;
  }
  return merge(state, {.m = score, .l = 1.0F, .o = {value.begin(), value.end()}});
}

/// By log-sum-exps: a's share of all the weight is 1 / (1 + exp(lse_b - lse_a)).
SoftmaxState merge(const SoftmaxState& a, const SoftmaxState& b) {
  check(a);
  check(b);
  KIT_CHECK(a.o.size() == b.o.size(), "{} numbers, not {}", b.o.size(), a.o.size());
  if (!has_keys(a)) return b;
  if (!has_keys(b)) return a;
  if (a.m < b.m) return merge(b, a);
  const double lse_difference = double{b.m} - double{a.m} + std::log(double{b.l}) - std::log(double{a.l});
  const double share_of_b = 1.0 / (1.0 + std::exp(-lse_difference));
  const double share_of_a = 1.0 - share_of_b;
  SoftmaxState both{.m = a.m, .l = static_cast<float>(a.l * (1.0 + std::exp(lse_difference))), .o = a.o};
  for (std::size_t d = 0; d < a.o.size(); ++d) {
    const double output = share_of_a * a.o[d] / a.l + share_of_b * b.o[d] / b.l;
    both.o[d] = static_cast<float>(output * a.l * (1.0 + std::exp(lse_difference)));
  }
  return both;
}

float finish(const SoftmaxState& state, std::span<float> out) {
  check(state);
  KIT_CHECK(out.size() == state.o.size(), "{} numbers, not {}", out.size(), state.o.size());
  const float share = has_keys(state) ? 1.0F / state.l : 0.0F;
  for (std::size_t d = 0; d < out.size(); ++d) out[d] = share * state.o[d];
  return has_keys(state) ? static_cast<float>(state.m + std::log(double{state.l})) : -kInfinity;
}

}  // namespace lab05
