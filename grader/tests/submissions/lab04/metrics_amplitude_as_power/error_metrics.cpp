#include "lab04/error_metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kit/check.h"

// Task 4.

namespace lab04 {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

void check_numbers(std::span<const float> reference, std::span<const float> approximation) {
  KIT_CHECK(reference.size() == approximation.size(), "{} reference values, {} approximations",
            reference.size(), approximation.size());
  KIT_CHECK(!reference.empty(), "there is nothing to compare");
  for (std::size_t i = 0; i < reference.size(); ++i) {
    KIT_CHECK(std::isfinite(reference[i]) && std::isfinite(approximation[i]),
              "reference[{0}] is {1}, approximation[{0}] is {2}: both must be finite", i, reference[i],
              approximation[i]);
  }
}

double mean_of(std::span<const float> x) {
  double sum = 0.0;
  for (const float value : x) sum += value;
  return sum / static_cast<double>(x.size());
}

/// mean((x - center)^2)
double mean_square(std::span<const float> x, double center) {
  double sum = 0.0;
  for (const float value : x) sum += (value - center) * (value - center);
  return sum / static_cast<double>(x.size());
}

/// How much error there is of how much signal: no error is 0 of anything.
double share(double error, double signal) {
  if (error == 0.0) return 0.0;
  return signal == 0.0 ? kInfinity : error / signal;
}

}  // namespace

ErrorMetrics error_metrics(std::span<const float> reference, std::span<const float> approximation) {
  check_numbers(reference, approximation);
  double sum_of_squares = 0.0;
  double max_abs = 0.0;
  for (std::size_t i = 0; i < reference.size(); ++i) {
    const double error = double{approximation[i]} - double{reference[i]};
    sum_of_squares += error * error;
    max_abs = std::max(max_abs, std::abs(error));
  }
  const double mse = sum_of_squares / static_cast<double>(reference.size());
  const double power = mean_square(reference, 0.0);
  // Two passes: mean(r^2) - mean(r)^2 in one would cancel where the mean is large.
  const double variance = mean_square(reference, mean_of(reference));
  return {.mse = mse,
          .noise_power = std::sqrt(share(mse, variance)),
          // Decibels are a power ratio's, so 10 and not 20; log10(0) is -infinity, as it should be.
          .snr_db = -10.0 * std::log10(share(mse, power)),
          .relative_norm = std::sqrt(share(mse, power)),
          .max_abs = max_abs};
}

}  // namespace lab04
