#pragma once

#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kit/rng.h"
#include "kit/tensor.h"
#include "lab05/softmax_state.h"

/// States of an online softmax in double, from the definition and, with the classic mistakes, key by key and
/// part by part.
namespace lab05_tests {

/// Scores and values of some keys.
struct Keys {
  std::vector<float> scores;  // [n]
  kit::Tensor<float> values;  // [n, head_dim]

  int size() const { return static_cast<int>(scores.size()); }
};

/// Every key's values lie elsewhere, and every dimension's, so that none can stand for another.
Keys random_keys(int n, int head_dim, kit::Rng& rng, float stddev = 2.0F, float mean = 0.0F);

/// A state in double. o is not divided by l.
struct DoubleState {
  double m = -std::numeric_limits<double>::infinity();
  double l = 0.0;
  std::vector<double> o;
};

/// From the definition, all keys at once.
DoubleState definition(const Keys& keys);

lab05::SoftmaxState rounded(const DoubleState& state);
lab05::SoftmaxState no_keys(int head_dim);
kit::Tensor<float> as_tensor(std::span<const double> o);
kit::Tensor<float> as_tensor(std::span<const float> o);

/// In which order keys become one state: states of `leaves` (indices of keys, added in order), then merges of
/// two states each, whose result comes behind the others.
struct Plan {
  std::vector<std::vector<int>> leaves;
  std::vector<std::pair<std::size_t, std::size_t>> merges;
};

/// Random parts, some of them empty, merged in random order.
Plan random_plan(int n_keys, int n_leaves, kit::Rng& rng);

/// The keys that `leaf` names, in its order.
DoubleState added(const Keys& keys, const std::vector<int>& leaf);

/// A wrong state, and what makes it.
struct NamedState {
  std::string cause;
  DoubleState state;
};

/// What comes of each classic mistake when keys are added one by one.
std::vector<NamedState> wrong_additions(const Keys& keys);
/// And when right parts are merged.
std::vector<NamedState> wrong_merges(const Keys& keys, const Plan& plan);

/// Fails unless `got` is the state of these keys. The message names the mistake if `got` is one of `wrong`.
void expect_state(const lab05::SoftmaxState& got, const Keys& keys, const std::vector<NamedState>& wrong);

}  // namespace lab05_tests
