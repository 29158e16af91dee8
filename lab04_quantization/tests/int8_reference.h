#pragma once

#include <functional>
#include <span>
#include <vector>

#include "kit/testing.h"
#include "lab04/error_metrics.h"
#include "reference_quantizers.h"

/// Tasks 1 to 4 by their contracts, with every step that is commonly wrong as a parameter, so that a wrong
/// answer can be computed beside the right one and named.
namespace lab04_tests {

/// Which elements of w [rows, cols] share a scale.
enum class Sharing { kTensor, kRows, kColumns };

/// How numbers become codes. As it stands: by the contract.
struct Int8Rule {
  enum class Quotient { kFloat, kDouble, kReciprocal };
  float largest_code = 127.0F;  ///< max|w| is this many steps
  float (*round)(float) = round_half_even;
  Quotient quotient = Quotient::kFloat;
};

/// Codes as floats, which is what kit::testing::matches compares.
struct Int8Codes {
  kit::Tensor<float> codes;   // [rows, cols]
  kit::Tensor<float> scales;  // [1], [rows] or [cols]
};
Int8Codes int8_codes(kit::TensorView<const float> w, Sharing sharing, const Int8Rule& rule = {});
/// What the usual mistakes give; of w by `sharing`.
std::vector<kit::KnownMistake> int8_code_mistakes(kit::TensorView<const float> w, Sharing sharing);
std::vector<kit::KnownMistake> int8_scale_mistakes(kit::TensorView<const float> w, Sharing sharing);
/// kit::testing::matches with no tolerance. The mistakes are computed when they are needed, on a failure.
::testing::AssertionResult matches_exactly(kit::TensorView<const float> got,
                                           kit::TensorView<const float> expected,
                                           const std::function<std::vector<kit::KnownMistake>()>& mistakes);

/// scale * code: no student's function decodes what is measured.
kit::Tensor<float> decode_int8(const Int8Codes& q, Sharing sharing);

template <class Code>
kit::Tensor<float> as_floats(std::span<const Code> codes, const kit::Shape& shape) {
  kit::Tensor<float> result(shape);
  for (std::size_t i = 0; i < codes.size(); ++i) result.span()[i] = static_cast<float>(codes[i]);
  return result;
}

/// The tensor's only row.
inline kit::TensorView<const float> as_row(std::span<const float> x) {
  return {x, {1, static_cast<std::int64_t>(x.size())}};
}

/// error_metrics by its contract.
lab04::ErrorMetrics reference_metrics(std::span<const float> reference, std::span<const float> approximation);

}  // namespace lab04_tests
