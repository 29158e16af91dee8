#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "kit/tensor.h"
#include "lab04/fp8.h"

/// The checker's own FP8 formats and its own grids of keys and values, written from the contract; with other
/// parameters they make the classic mistakes.
namespace lab04_tests {

/// A floating-point format in 8 bits.
struct Fp8Definition {
  int mantissa_bits = 3;
  int bias = 7;
  bool ieee_specials = false;  ///< the highest exponent is for infinities and NaNs; else all ones is NaN
  bool subnormals = true;      ///< false: exponent 0 means zero
  bool subnormal_step_halved = false;  ///< subnormals with exponent -bias instead of 1 - bias
};

inline Fp8Definition definition_of(lab04::Fp8Format format) {
  return format == lab04::Fp8Format::kE4M3
             ? Fp8Definition{.mantissa_bits = 3, .bias = 7, .ieee_specials = false}
             : Fp8Definition{.mantissa_bits = 2, .bias = 15, .ieee_specials = true};
}

/// What a code stands for: (-1)^sign * 2^(exponent - bias) * 1.mantissa, or 2^(1 - bias) * 0.mantissa.
inline double fp8_value(std::uint8_t code, const Fp8Definition& format) {
  const int mantissas = 1 << format.mantissa_bits;
  const int exponent = (code & 0x7F) / mantissas;
  const int highest_exponent = 0x7F / mantissas;
  const double mantissa = static_cast<double>(code % mantissas) / mantissas;
  const double sign = (code & 0x80) != 0 ? -1.0 : 1.0;
  if (format.ieee_specials && exponent == highest_exponent)
    return mantissa == 0.0 ? sign * std::numeric_limits<double>::infinity()
                           : std::numeric_limits<double>::quiet_NaN();
  if (!format.ieee_specials && (code & 0x7F) == 0x7F) return std::numeric_limits<double>::quiet_NaN();
  if (exponent > 0) return sign * std::exp2(exponent - format.bias) * (1.0 + mantissa);
  if (!format.subnormals) return sign * 0.0;
  return sign * std::exp2((format.subnormal_step_halved ? 0 : 1) - format.bias) * mantissa;
}

/// The positive finite numbers by code, ascending.
inline std::vector<double> fp8_numbers(const Fp8Definition& format) {
  std::vector<double> numbers;
  for (int code = 0; code < 0x80; ++code) {
    const double value = fp8_value(static_cast<std::uint8_t>(code), format);
    if (!std::isfinite(value)) break;
    numbers.push_back(value);
  }
  return numbers;
}

/// The range of a group of numbers that share a grid.
struct GroupRange {
  float low = std::numeric_limits<float>::infinity();
  float high = -std::numeric_limits<float>::infinity();
};

/// 1 instead of what is too small to divide by.
inline float usable(float scale) {
  return scale < std::numeric_limits<float>::min() ? 1.0F : scale;
}

/// Symmetric INT8.
inline float on_int8_grid(float x, const GroupRange& range) {
  const float scale = usable(std::max(-range.low, range.high) / 127.0F);
  return scale * std::clamp(std::nearbyint(x / scale), -127.0F, 127.0F);
}

/// low, low + scale, ..., low + n_steps * scale = high: 3 steps in 2 bits, 15 in 4.
inline float on_min_max_grid(float x, const GroupRange& range, int n_steps) {
  const auto steps = static_cast<float>(n_steps);
  const float scale = usable((range.high - range.low) / steps);
  return range.low + scale * std::clamp(std::nearbyint((x - range.low) / scale), 0.0F, steps);
}

constexpr std::int64_t kStaysFloat = -1;

/// x: [n, n_kv_heads, head_dim]. group_of(token, head, d), 0 .. n_groups - 1 or kStaysFloat, says which
/// elements share a grid, and round(x, range) what becomes of each.
template <class GroupOf, class Round>
kit::Tensor<float> quantized_in_groups(kit::TensorView<const float> x, std::int64_t n_groups,
                                       const GroupOf& group_of, const Round& round) {
  kit::Tensor<float> result = kit::clone(x);
  std::vector<GroupRange> ranges(static_cast<std::size_t>(n_groups));
  const auto for_each = [&](const auto& visit) {
    for (std::int64_t t = 0; t < x.dim(0); ++t) {
      for (std::int64_t h = 0; h < x.dim(1); ++h) {
        for (std::int64_t d = 0; d < x.dim(2); ++d) {
          const std::int64_t group = group_of(t, h, d);
          if (group != kStaysFloat) visit(result(t, h, d), ranges.at(static_cast<std::size_t>(group)));
        }
      }
    }
  };
  for_each([](float value, GroupRange& range) {
    range.low = std::min(range.low, value);
    range.high = std::max(range.high, value);
  });
  for_each([&](float& value, const GroupRange& range) { value = round(value, range); });
  return result;
}

/// What the INT8 cache must show: a scale for each token and head.
inline kit::Tensor<float> reference_int8_tokens(kit::TensorView<const float> x) {
  const std::int64_t heads = x.dim(1);
  return quantized_in_groups(
      x, x.dim(0) * heads, [=](std::int64_t t, std::int64_t h, std::int64_t) { return t * heads + h; },
      on_int8_grid);
}

/// Neighbours in a token and head share a grid of n_steps: KIVI's values, and what keys should not be.
inline kit::Tensor<float> reference_per_token(kit::TensorView<const float> x, int group_size,
                                              int n_steps = 3) {
  const std::int64_t heads = x.dim(1);
  const std::int64_t groups = x.dim(2) / group_size;
  return quantized_in_groups(
      x, x.dim(0) * heads * groups,
      [=](std::int64_t t, std::int64_t h, std::int64_t d) {
        return (t * heads + h) * groups + d / group_size;
      },
      [=](float value, const GroupRange& range) { return on_min_max_grid(value, range, n_steps); });
}

/// A channel's numbers of group_size tokens share a grid; tokens behind the last full group stay floats.
inline kit::Tensor<float> reference_per_channel(kit::TensorView<const float> x, int group_size) {
  const std::int64_t heads = x.dim(1);
  const std::int64_t dim = x.dim(2);
  const std::int64_t full = x.dim(0) / group_size;
  return quantized_in_groups(
      x, full * heads * dim,
      [=](std::int64_t t, std::int64_t h, std::int64_t d) {
        const std::int64_t g = t / group_size;
        return g < full ? (g * heads + h) * dim + d : kStaysFloat;
      },
      [](float value, const GroupRange& range) { return on_min_max_grid(value, range, 3); });
}

}  // namespace lab04_tests
