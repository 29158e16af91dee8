#pragma once

#include <functional>
#include <string>

#include "kit/tensor.h"

/// The matrix products of a Llama's layers, so that a lab can watch or replace them.
namespace kit {

enum class LinearKind { kQuery, kKey, kValue, kOutput, kGate, kUp, kDown };
inline constexpr int kLinearsPerLayer = 7;

struct LinearId {
  int layer = 0;
  LinearKind kind = LinearKind::kQuery;

  bool operator==(const LinearId&) const = default;
  /// 0 .. 7 * n_layers - 1, in the order of use.
  int index() const { return layer * kLinearsPerLayer + static_cast<int>(kind); }
  /// "layer 3 w_down".
  std::string to_string() const;
};

/// y = x w^T for the linear `id`, as kit::linear. x: [n, in], w: [out, in], y: [n, out]
using LinearOp = std::function<void(LinearId id, TensorView<const float> x, TensorView<const float> w,
                                    TensorView<float> y)>;

}  // namespace kit
