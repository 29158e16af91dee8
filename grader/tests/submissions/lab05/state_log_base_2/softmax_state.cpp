#include "lab05/softmax_state.h"

#include <algorithm>
#include <cmath>

#include "kit/check.h"

// Task 2.

namespace lab05 {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

void check_state(const SoftmaxState& s) {
  KIT_CHECK(s.m < kInfinity, "m is {}, must be finite or -infinity", s.m);  // false for a NaN, too
  KIT_CHECK(s.l >= 0.0F && s.l < kInfinity, "l is {}, must be finite and not negative", s.l);
  KIT_CHECK((s.l == 0.0F) == (s.m == -kInfinity),
            "l is {} with m = {}: without keys they are 0 and -infinity", s.l, s.m);
}

/// exp(from - to), which turns sums relative to the maximum `from` into sums relative to `to` >= from.
/// Without keys there is nothing to turn, and -infinity - -infinity would be a NaN.
float rescaling(float from, float to) {
  return from == -kInfinity ? 0.0F : std::exp(from - to);
}

}  // namespace

SoftmaxState empty_state(int head_dim) {
  KIT_CHECK(head_dim >= 1, "head_dim is {}, must be positive", head_dim);
  return {.m = -kInfinity, .l = 0.0F, .o = std::vector<float>(static_cast<std::size_t>(head_dim), 0.0F)};
}

SoftmaxState add(SoftmaxState state, float score, std::span<const float> value) {
  check_state(state);
  KIT_CHECK(score < kInfinity, "the score is {}, must be finite or -infinity", score);
  KIT_CHECK(value.size() == state.o.size(), "a value of {} numbers, the state has {}", value.size(),
            state.o.size());
  if (score == -kInfinity) return state;  // not even 0 * value: a masked key's value may be anything
  const float m = std::max(state.m, score);
  const float old = rescaling(state.m, m);
  const float weight = std::exp(score - m);
  state.m = m;
  state.l = state.l * old + weight;
  for (std::size_t d = 0; d < value.size(); ++d) state.o[d] = state.o[d] * old + weight * value[d];
  return state;
}

SoftmaxState merge(const SoftmaxState& a, const SoftmaxState& b) {
  check_state(a);
  check_state(b);
  KIT_CHECK(a.o.size() == b.o.size(), "states of head_dim {} and {}", a.o.size(), b.o.size());
  SoftmaxState both = a;
  both.m = std::max(a.m, b.m);
  const float of_a = rescaling(a.m, both.m);
  const float of_b = rescaling(b.m, both.m);
  both.l = a.l * of_a + b.l * of_b;
  for (std::size_t d = 0; d < a.o.size(); ++d) both.o[d] = a.o[d] * of_a + b.o[d] * of_b;
  return both;
}

float finish(const SoftmaxState& state, std::span<float> out) {
  check_state(state);
  KIT_CHECK(out.size() == state.o.size(), "an output of {} numbers, the state has {}", out.size(),
            state.o.size());
  if (state.l == 0.0F) {
    std::fill(out.begin(), out.end(), 0.0F);
    return -kInfinity;
  }
  for (std::size_t d = 0; d < out.size(); ++d) out[d] = state.o[d] / state.l;
  return state.m + std::log2(state.l);
}

}  // namespace lab05
