#pragma once

#include <limits>
#include <span>
#include <vector>

/// Lab 05, task 2: attention over some of the keys, as a value that can be merged with another's.
/// Source: Dao et al. 2022, "FlashAttention", section 3.1 (the decomposition) and Algorithm 1, lines 10 to
/// 12; Rabe, Staats 2021, "Self-attention does not need O(n^2) memory", section 2. `o` divided only at the
/// end: Dao 2023, "FlashAttention-2", section 3.1.
namespace lab05 {

/// One query's attention over a set S of keys. States form a commutative monoid under merge (to rounding), so
/// keys may be split, and the parts merged, in any way.
struct SoftmaxState {
  float m = -std::numeric_limits<float>::infinity();  ///< largest score in S, -infinity if there is none
  float l = 0.0F;                                     ///< sum over S of exp(score - m)
  std::vector<float> o;                               ///< [head_dim], sum over S of exp(score - m) value:
                                                      ///< NOT yet divided by l
};

// All functions throw kit::Error on a state that cannot be: m NaN or +infinity, l negative, NaN or infinite,
// l = 0 with a finite m, l > 0 with m = -infinity. What o holds is not checked, but of a state without keys
// it is all zeros (PRECOND).

/// The state of no keys, merge's identity: m = -infinity, l = 0, o = zeros. Throws when head_dim < 1.
SoftmaxState empty_state(int head_dim);

/// `state` with one more key. A score of -infinity is a masked key: the state stays as it is, whatever the
/// value holds, NaN included. Throws kit::Error on a score that is NaN or +infinity, naming it, and when
/// value is not as long as o.
SoftmaxState add(SoftmaxState state, float score, std::span<const float> value);

/// The state of both sets of keys, which are disjoint. merge(x, empty) and merge(empty, x) are x, number for
/// number. Throws kit::Error when the o differ in length.
SoftmaxState merge(const SoftmaxState& a, const SoftmaxState& b);

/// out = o / l, the attention's output, and returns its log-sum-exp m + ln(l), natural logarithm. Without
/// keys out is all zeros, and -infinity is returned. Throws kit::Error when out is not as long as o.
float finish(const SoftmaxState& state, std::span<float> out);

}  // namespace lab05
