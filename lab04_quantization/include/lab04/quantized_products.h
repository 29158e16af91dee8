#pragma once

#include <cstdint>
#include <span>

#include "kit/tensor.h"
#include "lab04/group_quantization.h"

/// Lab 04, task 6: products with quantized weights. "W4A16" says what is stored: weights in 4 bits,
/// activations in 16 bits: x may be rounded to 16-bit integers with a scale for each 128 inputs (their
/// largest magnitude / 32767), or taken as the float that it is.
namespace lab04 {

/// y[o] = scales[o] * sum over i of w(o, i) x[i], in float. Weights become floats in registers and are never
/// written to memory: one byte is read for each.
/// w: [out, in], scales: [out], x: [in], y: [out]. Throws kit::Error on shapes that do not fit.
void matvec_w8a16(kit::TensorView<const std::int8_t> w, std::span<const float> scales,
                  std::span<const float> x, std::span<float> y);

/// y = w x for 4 bits in groups, symmetric or not, any group_size. Half a byte is read for each weight, and
/// the scales. x: [w.cols], y: [w.rows]. Throws kit::Error when bits is not 4, or on shapes that do not fit.
void matvec_w4a16(const GroupQuantized& w, std::span<const float> x, std::span<float> y);

/// The longest sum of products of two INT8 numbers (-127 to 127) that always fits an int32:
/// floor((2^31 - 1) / 127^2).
constexpr std::int64_t kMaxInt8SumLength = 2147483647 / (127 * 127);

/// Both sides in INT8: y(t, o) = x_scales[t] * w_scales[o] * sum over i of xq(t, i) wq(o, i), the sum in
/// int32, exactly. (-128 does not occur.) xq: [n, in], x_scales: [n], or [1] for all rows; wq: [out, in],
/// w_scales: [out], y: [n, out]. Throws kit::Error on shapes that do not fit, and when in >
/// kMaxInt8SumLength.
void linear_w8a8(kit::TensorView<const std::int8_t> xq, std::span<const float> x_scales,
                 kit::TensorView<const std::int8_t> wq, std::span<const float> w_scales,
                 kit::TensorView<float> y);

/// Dynamic activation quantization: every token (row of x) by its own maximum, as quantize_symmetric, then
/// linear_w8a8. x: [n, in]. Throws kit::Error also on a NaN or an infinity in x.
void linear_w8a8_dynamic(kit::TensorView<const float> x, kit::TensorView<const std::int8_t> wq,
                         std::span<const float> w_scales, kit::TensorView<float> y);

/// Static: the scale was fixed beforehand, from calibration data. What lies outside -127 .. 127 steps is
/// clamped. Throws kit::Error also when x_scale is not positive and finite.
void linear_w8a8_static(kit::TensorView<const float> x, float x_scale, kit::TensorView<const std::int8_t> wq,
                        std::span<const float> w_scales, kit::TensorView<float> y);

}  // namespace lab04
