#include "int8_reference.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace lab04_tests {

namespace {

using kit::KnownMistake;
using kit::Tensor;
using kit::TensorView;
using Quotient = Int8Rule::Quotient;

std::int64_t channel_of(std::int64_t i, std::int64_t j, Sharing sharing) {
  if (sharing == Sharing::kTensor) return 0;
  return sharing == Sharing::kRows ? i : j;
}

std::int64_t n_channels(const kit::Shape& w, Sharing sharing) {
  if (sharing == Sharing::kTensor) return 1;
  return sharing == Sharing::kRows ? w[0] : w[1];
}

float quotient(float x, float scale, Quotient how) {
  switch (how) {
    case Quotient::kFloat:
      return x / scale;
    case Quotient::kReciprocal: {
      // Volatile, so that no compiler makes one division of both.
      const volatile float reciprocal = 1.0F / scale;
      return x * reciprocal;
    }
    case Quotient::kDouble: {
      // The nearest float to a quotient may be a tie that the quotient is not: a hair beside it stays beside.
      const double exact = double{x} / double{scale};
      const auto nearest = static_cast<float>(exact);
      return exact == double{nearest} ? nearest : std::nextafter(nearest, exact > nearest ? 1e9F : -1e9F);
    }
  }
  return std::numeric_limits<float>::quiet_NaN();
}

/// The largest of `measure(w)` in each channel, / largest_code; 1 where that is no normal float.
Tensor<float> scales_of(TensorView<const float> w, Sharing sharing, float largest_code,
                        float (*measure)(float)) {
  Tensor<float> scales({n_channels(w.shape(), sharing)});
  for (std::int64_t i = 0; i < w.dim(0); ++i) {
    for (std::int64_t j = 0; j < w.dim(1); ++j) {
      float& max = scales(channel_of(i, j, sharing));
      max = std::max(max, measure(w(i, j)));
    }
  }
  for (float& scale : scales.span()) {
    scale /= largest_code;
    if (scale < std::numeric_limits<float>::min()) scale = 1.0F;
  }
  return scales;
}

float magnitude(float x) {
  return std::abs(x);
}
float itself(float x) {
  return x;
}

/// Scales of another sharing, as an array of this one's length; empty when it cannot be one.
Tensor<float> scales_by(TensorView<const float> w, Sharing wrong, Sharing sharing) {
  const Tensor<float> scales = scales_of(w, wrong, 127.0F, magnitude);
  const std::int64_t n = n_channels(w.shape(), sharing);
  if (wrong == Sharing::kTensor) return Tensor<float>({n}, scales(0));
  return scales.dim(0) == n ? scales : Tensor<float>();
}

}  // namespace

Int8Codes int8_codes(TensorView<const float> w, Sharing sharing, const Int8Rule& rule) {
  Int8Codes q{Tensor<float>(w.shape()), scales_of(w, sharing, rule.largest_code, magnitude)};
  for (std::int64_t i = 0; i < w.dim(0); ++i) {
    for (std::int64_t j = 0; j < w.dim(1); ++j) {
      const float steps = rule.round(quotient(w(i, j), q.scales(channel_of(i, j, sharing)), rule.quotient));
      q.codes(i, j) = std::clamp(steps, -127.0F, 127.0F);
    }
  }
  return q;
}

std::vector<KnownMistake> int8_code_mistakes(TensorView<const float> w, Sharing sharing) {
  std::vector<KnownMistake> mistakes;
  const auto add = [&](const char* cause, const Int8Rule& rule, Sharing shared) {
    mistakes.push_back({cause, int8_codes(w, shared, rule).codes});
  };
  const auto toward_zero = [](float x) { return std::trunc(x); };
  const auto downward = [](float x) { return std::floor(x); };
  const auto half_away = [](float x) { return std::round(x); };
  const auto half_up = [](float x) { return std::floor(x + 0.5F); };
  const auto half_up_cast = [](float x) { return std::trunc(x + 0.5F); };
  add("truncation: a cast to an integer drops the fraction, it does not round", {.round = toward_zero},
      sharing);
  add("a cast of x / scale + 0.5, which rounds negative numbers the wrong way", {.round = half_up_cast},
      sharing);
  add("rounding down (floor)", {.round = downward}, sharing);
  add("ties rounded away from zero (round, lround); nearbyint rounds them to the even integer",
      {.round = half_away}, sharing);
  add("ties rounded upward (floor(x + 0.5))", {.round = half_up}, sharing);
  add("a scale of max / 128: the grid ends at 127", {.largest_code = 128.0F}, sharing);
  add("a scale of max / 127.5, half the width of 255 steps: -127 to 127 are 254", {.largest_code = 127.5F},
      sharing);
  add("x * (1 / scale): the reciprocal is rounded, too, and ties miss", {.quotient = Quotient::kReciprocal},
      sharing);
  add("a division in double: the contract's is in float", {.quotient = Quotient::kDouble}, sharing);
  if (sharing == Sharing::kTensor) return mistakes;
  add("one scale for the whole tensor", {}, Sharing::kTensor);
  add("scales of the other axis", {}, sharing == Sharing::kRows ? Sharing::kColumns : Sharing::kRows);
  return mistakes;
}

std::vector<KnownMistake> int8_scale_mistakes(TensorView<const float> w, Sharing sharing) {
  std::vector<KnownMistake> mistakes = {
      {"max|x| / 128: the grid ends at 127", scales_of(w, sharing, 128.0F, magnitude)},
      {"max|x| / 127.5, half the width of 255 steps: -127 to 127 are 254",
       scales_of(w, sharing, 127.5F, magnitude)},
      {"max|x|, not divided by 127", scales_of(w, sharing, 1.0F, magnitude)},
      {"max x / 127: negative numbers count by their magnitude", scales_of(w, sharing, 127.0F, itself)}};
  if (sharing == Sharing::kTensor) return mistakes;
  mistakes.push_back({"one scale for the whole tensor", scales_by(w, Sharing::kTensor, sharing)});
  const Sharing other = sharing == Sharing::kRows ? Sharing::kColumns : Sharing::kRows;
  mistakes.push_back({"scales of the other axis", scales_by(w, other, sharing)});
  return mistakes;
}

::testing::AssertionResult matches_exactly(TensorView<const float> got, TensorView<const float> expected,
                                           const std::function<std::vector<KnownMistake>()>& mistakes) {
  const ::testing::AssertionResult result = kit::testing::matches(got, expected, {});
  return result ? result : kit::testing::matches(got, expected, {}, mistakes());
}

Tensor<float> decode_int8(const Int8Codes& q, Sharing sharing) {
  Tensor<float> w(q.codes.shape());
  for (std::int64_t i = 0; i < w.dim(0); ++i) {
    for (std::int64_t j = 0; j < w.dim(1); ++j) w(i, j) = q.scales(channel_of(i, j, sharing)) * q.codes(i, j);
  }
  return w;
}

lab04::ErrorMetrics reference_metrics(std::span<const float> reference,
                                      std::span<const float> approximation) {
  double sum = 0.0;
  for (const float r : reference) sum += r;
  const auto n = static_cast<double>(reference.size());
  double mse = 0.0;
  double power = 0.0;
  double variance = 0.0;
  double max_abs = 0.0;
  for (std::size_t i = 0; i < reference.size(); ++i) {
    const double r = reference[i];
    const double e = approximation[i] - r;
    mse += e * e / n;
    power += r * r / n;
    variance += (r - sum / n) * (r - sum / n) / n;
    max_abs = std::max(max_abs, std::abs(e));
  }
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const bool exact = mse == 0.0;
  return {.mse = mse,
          .noise_power = exact ? 0.0 : (variance == 0.0 ? kInfinity : mse / variance),
          .snr_db = exact ? kInfinity : 10.0 * std::log10(power / mse),
          .relative_norm = exact ? 0.0 : (power == 0.0 ? kInfinity : std::sqrt(mse / power)),
          .max_abs = max_abs};
}

}  // namespace lab04_tests
