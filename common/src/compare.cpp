#include "kit/compare.h"

#include <fmt/format.h>

#include <cmath>
#include <iterator>
#include <limits>

namespace kit {

namespace {

constexpr int kMismatchesShown = 5;

/// False on NaN: a comparison with NaN is false, and so is this.
bool close(float got, float expected, Tolerance tolerance) {
  if (got == expected) return true;  // equal infinities
  const double error = std::abs(double{got} - double{expected});
  return error <= tolerance.absolute + tolerance.relative * std::abs(double{expected}) &&
         error < std::numeric_limits<double>::infinity();
}

bool all_close(TensorView<const float> got, TensorView<const float> expected, Tolerance tolerance) {
  if (got.shape() != expected.shape()) return false;
  for (std::int64_t i = 0; i < got.size(); ++i) {
    if (!close(got.data()[i], expected.data()[i], tolerance)) return false;
  }
  return true;
}

/// ||got - expected|| / ||expected||, NaN when any element is.
double relative_norm(TensorView<const float> got, TensorView<const float> expected) {
  double error = 0.0;
  double norm = 0.0;
  for (std::int64_t i = 0; i < got.size(); ++i) {
    const double difference = double{got.data()[i]} - double{expected.data()[i]};
    error += difference * difference;
    norm += double{expected.data()[i]} * double{expected.data()[i]};
  }
  return norm == 0.0 ? std::sqrt(error) : std::sqrt(error / norm);
}

/// "[1, 0, 3]" for a flat index.
std::string index_of(std::int64_t flat, const Shape& shape) {
  std::string text;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    text = fmt::format("{}{}{}", flat % shape[axis], text.empty() ? "" : ", ", text);
    flat /= shape[axis];
  }
  return "[" + text + "]";
}

void list_mismatches(std::string& message, TensorView<const float> got, TensorView<const float> expected,
                     Tolerance tolerance) {
  std::int64_t n_wrong = 0;
  auto out = std::back_inserter(message);
  for (std::int64_t i = 0; i < got.size(); ++i) {
    const float e = expected.data()[i];
    if (close(got.data()[i], e, tolerance)) continue;
    if (n_wrong++ < kMismatchesShown) {
      fmt::format_to(out, "  at {:<14} expected {:>14.7g}  got {:>14.7g}  tolerance {:.2g}\n",
                     index_of(i, got.shape()), e, got.data()[i],
                     tolerance.absolute + tolerance.relative * std::abs(double{e}));
    }
  }
  fmt::format_to(out, "  {} of {} elements differ\n", n_wrong, got.size());
}

/// Names the first mistake whose result is the student's.
void name_cause(std::string& message, TensorView<const float> got, TensorView<const float> expected,
                Tolerance tolerance, std::span<const KnownMistake> mistakes) {
  for (const KnownMistake& mistake : mistakes) {
    if (all_close(mistake.result, expected, tolerance))
      continue;  // cannot be told from the right answer here
    if (!all_close(got, mistake.result, tolerance)) continue;
    fmt::format_to(std::back_inserter(message), "Likely cause: the result matches {}.\n", mistake.cause);
    return;
  }
}

void describe_nan(std::string& message, TensorView<const float> got) {
  std::int64_t n_nan = 0;
  for (const float value : got.span()) n_nan += std::isnan(value) ? 1 : 0;
  if (n_nan == 0) return;
  fmt::format_to(std::back_inserter(message),
                 "  {} elements are NaN: never written (outputs start as NaN), or inf - inf, or 0 / 0\n",
                 n_nan);
}

}  // namespace

Comparison compare(TensorView<const float> got, TensorView<const float> expected, Tolerance tolerance,
                   std::span<const KnownMistake> mistakes) {
  if (got.shape() != expected.shape()) {
    return {false,
            fmt::format("shape is {}, expected {}", got.shape().to_string(), expected.shape().to_string()),
            std::numeric_limits<double>::quiet_NaN()};
  }
  Comparison result{true, "", relative_norm(got, expected)};
  if (all_close(got, expected, tolerance)) return result;

  result.ok = false;
  result.message = fmt::format("the values differ (shape {}):\n", got.shape().to_string());
  list_mismatches(result.message, got, expected, tolerance);
  describe_nan(result.message, got);
  fmt::format_to(std::back_inserter(result.message),
                 "  relative norm ||got - expected|| / ||expected|| = {:.3g}\n", result.relative_norm);
  name_cause(result.message, got, expected, tolerance, mistakes);
  return result;
}

}  // namespace kit
