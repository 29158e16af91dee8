#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "kit/rng.h"
#include "kit/tensor.h"
#include "lab04/gptq.h"

/// The checker's own GPTQ: the inverse of H written out, columns eliminated from it one by one, no blocks.
/// And the same with a classic mistake, so that a wrong answer can be named.
namespace lab04_tests {

/// 2 x^T x, element by element in double. x: [n, in]
kit::Tensor<double> hessian_in_double(kit::TensorView<const float> x);

struct GptqVariant {
  enum class Feedback {
    kRight,
    kNone,
    kNotDivided,          ///< e = w_j - q_j
    kCholeskyOfHessian,   ///< U^T U = H
    kInverseOfFactor,     ///< U U^T = H^-1: the Cholesky factor of H, inverted
    kInverseItself,       ///< rows of H^-1 instead of rows of its factor
    kOnlyInsideTheBlock,  ///< columns behind a block never get their share
  };
  enum class Damping { kMean, kNone, kAbsolute, kOwnDiagonal };
  /// The weights that a group's grid is chosen from.
  enum class GridFrom {
    kNow,
    kOriginal,
    kBeginOfBlock,   ///< as they were when the block began
    kWithoutPending  ///< of columns behind the block: as they were when the block began
  };
  enum class Columns { kPermuted, kWeightsStay, kHessianStays };

  std::string cause;  ///< completes "the codes match ..."
  Feedback feedback = Feedback::kRight;
  Damping damping = Damping::kMean;
  GridFrom grid_from = GridFrom::kNow;
  Columns columns = Columns::kPermuted;
  bool dead_columns_kept = false;
};

struct GptqAnswer {
  kit::Tensor<int> codes;           // [rows, cols], in the order of processing
  kit::Tensor<float> scales;        // [rows, cols], of each one's group
  kit::Tensor<int> zero_points;     // [rows, cols], likewise
  std::vector<std::int32_t> order;  // [cols], also without act_order

  /// What they stand for, columns in the layer's order.
  kit::Tensor<float> values() const;
};

GptqAnswer reference_gptq(kit::TensorView<const float> w, kit::TensorView<const double> hessian,
                          const lab04::GptqConfig& config, const GptqVariant& variant = {});

/// What is wrong with the parts of a student's result for a weight of this shape; empty when nothing is.
/// Without this, read none of it.
std::string problem_of(const lab04::GptqResult& got, const kit::Shape& shape,
                       const lab04::GptqConfig& config);
/// A student's result, decoded by the checker.
GptqAnswer decoded(const lab04::GptqResult& got);

/// sum over rows of (w - q) H (w - q)^T: twice the squared error of the layer's outputs.
double output_error(kit::TensorView<const float> w, kit::TensorView<const float> q,
                    kit::TensorView<const double> hessian);

/// Does a student's result agree with the reference's? A failure names the classic mistake that it matches.
::testing::AssertionResult agrees(const lab04::GptqResult& got, kit::TensorView<const float> w,
                                  kit::TensorView<const double> hessian, const lab04::GptqConfig& config);

}  // namespace lab04_tests
