#pragma once

#include <span>
#include <string>
#include <vector>

#include "kit/tensor.h"

/// Comparing a computed array with its reference, so that a failure teaches.
namespace kit {

/// An element passes when |got - expected| <= absolute + relative * |expected|.
struct Tolerance {
  double absolute = 0.0;
  double relative = 0.0;
};

/// A wrong answer with a known cause, computed beside the right one.
struct KnownMistake {
  std::string cause;  ///< completes "the result matches ...": "attention without the 1/sqrt(head_dim) scale"
  Tensor<float> result;
};

struct Comparison {
  bool ok = false;
  /// Empty when ok; else the first mismatches (index, expected, got, tolerance), the relative norm
  /// ||got - expected|| / ||expected||, and the likely cause where a known mistake matches.
  std::string message;
  double relative_norm = 0.0;
};

/// Compares element by element. A NaN in `got` never passes; different shapes never pass. `mistakes` are
/// tried on a failure: one that matches `got` within the tolerance, and does not match `expected`, is named.
Comparison compare(TensorView<const float> got, TensorView<const float> expected, Tolerance tolerance,
                   std::span<const KnownMistake> mistakes = {});

}  // namespace kit
