#include "w8a8_model.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "kit/linear.h"
#include "reference_quantizers.h"
#include "target_model.h"

namespace lab04_tests {
namespace {

using kit::LinearId;
using kit::Tensor;
using kit::TensorView;

constexpr float kLargestCode = 127.0F;
// Sums of products of codes are integers. Up to 2^24 a float holds every one of them exactly, so kit::linear
// on codes gives what an int32 accumulator would, in any order of the sum.
constexpr std::int64_t kLongestExactSum = (std::int64_t{1} << 24) / (127 * 127);

float max_abs(std::span<const float> x) {
  float largest = 0.0F;
  for (const float value : x) largest = std::max(largest, std::abs(value));
  return largest;
}

struct Codes {
  Tensor<float> codes;        // [rows, cols], integers
  std::vector<float> scales;  // [rows]
};

Codes weight_codes(TensorView<const float> w) {
  const Int8Matrix q = reference_int8_rows(w);
  Codes result{Tensor<float>(w.shape()), q.scales};
  std::copy(q.codes.span().begin(), q.codes.span().end(), result.codes.span().begin());
  return result;
}

/// `maximum` is the static one, and not used otherwise.
Codes activation_codes(TensorView<const float> x, ActivationScale how, float maximum) {
  Codes q{Tensor<float>(x.shape()), {}};
  if (how == ActivationScale::kPerTensor) maximum = max_abs(x.span());
  for (std::int64_t t = 0; t < x.dim(0); ++t) {
    if (how == ActivationScale::kPerToken) maximum = max_abs(x.row(t));
    const float scale = maximum > 0.0F ? maximum / kLargestCode : 1.0F;
    q.scales.push_back(scale);
    for (std::int64_t j = 0; j < x.dim(1); ++j) {
      q.codes(t, j) = std::clamp(std::nearbyint(x(t, j) / scale), -kLargestCode, kLargestCode);
    }
  }
  return q;
}

}  // namespace

InputMaxima input_maxima(const std::shared_ptr<const kit::LlamaWeights>& weights, std::uint64_t seed) {
  InputMaxima maxima;
  calibrate(weights, seed, [&](LinearId, TensorView<const float> x) {
    std::vector<float>& largest = maxima.emplace_back(static_cast<std::size_t>(x.dim(1)), 0.0F);
    for (std::int64_t t = 0; t < x.dim(0); ++t) {
      for (std::size_t j = 0; j < largest.size(); ++j) {
        largest[j] = std::max(largest[j], std::abs(x.row(t)[j]));
      }
    }
  });
  return maxima;
}

kit::LinearOp w8a8_linears(const kit::LlamaWeights& weights, ActivationScale how, const InputMaxima& maxima) {
  std::vector<Codes> linears;
  std::vector<float> tensor_maxima;
  for (const LinearId id : kit::linears_of(target_config())) {
    const Tensor<float>& w = kit::weight_of(weights, id);
    KIT_CHECK(w.dim(1) <= kLongestExactSum, "{}: sums of {} products of codes do not fit a float's integers",
              id.to_string(), w.dim(1));
    linears.push_back(weight_codes(w));
    tensor_maxima.push_back(
        how == ActivationScale::kStatic ? max_abs(maxima.at(static_cast<std::size_t>(id.index()))) : 0.0F);
  }
  return [linears = std::move(linears), tensor_maxima = std::move(tensor_maxima), how](
             LinearId id, TensorView<const float> x, TensorView<const float> /*w*/, TensorView<float> y) {
    const auto index = static_cast<std::size_t>(id.index());
    const Codes& w = linears[index];
    const Codes xq = activation_codes(x, how, tensor_maxima[index]);
    kit::linear(xq.codes, w.codes, y);
    for (std::int64_t t = 0; t < y.dim(0); ++t) {
      for (std::int64_t o = 0; o < y.dim(1); ++o) {
        y(t, o) *= xq.scales[static_cast<std::size_t>(t)] * w.scales[static_cast<std::size_t>(o)];
      }
    }
  };
}

}  // namespace lab04_tests
