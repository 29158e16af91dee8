#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kit/tensor.h"
#include "lab04/group_quantization.h"

/// The checker's own quantizers, written from the contract: what a student's are held against, and what other
/// tasks' tests use, so that one mistake costs one task. And its own decoders: no milestone believes a
/// student's dequantization, which could give back the weights that it was shown before.
namespace lab04_tests {

/// round(x), ties to even.
float round_half_even(float x);

struct Int8Matrix {
  kit::Tensor<std::int8_t> codes;  // [rows, cols]
  std::vector<float> scales;       // [rows]
};
/// Symmetric INT8, a scale for each row.
Int8Matrix reference_int8_rows(kit::TensorView<const float> w);
/// codes(i, j) * scales[i].
kit::Tensor<float> reference_dequantize_rows(kit::TensorView<const std::int8_t> codes,
                                             std::span<const float> scales);
/// Symmetric INT8 with one scale, and back.
kit::Tensor<float> reference_int8_per_tensor(kit::TensorView<const float> w);

/// quantize_groups by its contract.
lab04::GroupQuantized reference_quantize_groups(kit::TensorView<const float> w,
                                                const lab04::GroupConfig& config);
/// What is wrong with the sizes of q's parts, or its numbers; empty when nothing is. Call it on whatever a
/// student returns, before reading it.
std::string problem_of(const lab04::GroupQuantized& q);
/// The student's codes for w as numbers. When they cannot be decoded, a failure of the test, and w.
kit::Tensor<float> decoded_or_fail(const lab04::GroupQuantized& q, kit::TensorView<const float> w);
/// dequantize_groups by its contract; q has no problem.
kit::Tensor<float> reference_dequantize_groups(const lab04::GroupQuantized& q);
/// Codes as numbers, sign extended when symmetric: [rows, cols].
kit::Tensor<int> reference_codes(const lab04::GroupQuantized& q);
/// What q takes in memory: packed codes, 2 bytes a scale, 1 byte a zero point.
std::int64_t size_bytes(const lab04::GroupQuantized& q);

/// 2 x^T x, symmetric. x: [n, in] -> [in, in]. Summed in float, 1 part in 10^6: far below GPTQ's damping.
kit::Tensor<double> reference_hessian(kit::TensorView<const float> x);

}  // namespace lab04_tests
