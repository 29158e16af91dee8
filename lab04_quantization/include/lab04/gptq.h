#pragma once

#include <cstdint>
#include <vector>

#include "kit/tensor.h"
#include "lab04/group_quantization.h"

/// Lab 04, task 7: GPTQ.
/// Source: Frantar, Ashkboos, Hoefler, Alistarh 2022, "GPTQ: Accurate Post-Training Quantization for
/// Generative Pre-trained Transformers", Algorithm 1 and section 3.3; act-order and the handling of dead
/// columns from the authors' code.
namespace lab04 {

struct GptqConfig {
  GroupConfig grid;
  double damping = 0.01;   ///< added to H's diagonal, times its mean
  bool act_order = false;  ///< columns in the order of falling H(j, j); equal ones in theirs
  int block_size = 128;    ///< columns between two updates of all the others; changes speed, not the result
                           ///< beyond rounding
};

struct GptqResult {
  GroupQuantized weights;           ///< columns as they were processed: groups are groups of THIS order
  std::vector<std::int32_t> order;  ///< [cols], column j of `weights` is column order[j] of the layer; empty
                                    ///< without act_order
};

/// h += 2 x^T x, the Hessian of the layer's squared output error, for all rows of the weight alike.
/// x: [n, in], calibration inputs of the layer; h: [in, in]. Throws kit::Error on shapes that do not fit, a
/// NaN or an infinity.
void accumulate_hessian(kit::TensorView<const float> x, kit::TensorView<double> h);

/// Quantizes w [out, in] so that the layer's output changes little:
///   1. A column whose H(j, j) is 0 is dead: its weights become 0 and H(j, j) becomes 1.
///   2. With act_order rows and columns of H, and columns of w, are permuted.
///   3. damping * mean(diag H) is added to the diagonal.
///   4. U = the upper Cholesky factor of H^-1 (H^-1 = U^T U).
///   5. For each column j from left to right: q_j = the nearest point of the grid, e = (w_j - q_j) / U(j, j),
///      and w_k -= e U(j, k) for all k > j. (Columns beyond the current block get their share when it ends.)
/// A group's scale and zero point are those that quantize_groups would choose for the group's weights as they
/// are when its first column is reached, with all updates so far. grid.group_size 0: from the whole row at
/// the start. Dead columns count as the zeros they are.
/// Throws kit::Error on shapes that do not fit, a NaN or an infinity, a negative damping or diagonal, a
/// block_size less than 1, and when H is not positive definite even so (naming the column).
GptqResult gptq(kit::TensorView<const float> w, kit::TensorView<const double> hessian,
                const GptqConfig& config);

}  // namespace lab04
