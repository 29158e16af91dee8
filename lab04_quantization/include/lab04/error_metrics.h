#pragma once

#include <span>

/// Lab 04, task 4: how wrong is it?
namespace lab04 {

/// Of e = approximation - reference over n elements, computed in double. Where a denominator is zero the
/// quotient is 0 if there is no error at all, else +infinity.
struct ErrorMetrics {
  double mse = 0.0;            ///< mean(e^2)
  double noise_power = 0.0;    ///< mse / var(reference), var = mean((r - mean r)^2)
  double snr_db = 0.0;         ///< 10 log10(mean(reference^2) / mse); +infinity without an error
  double relative_norm = 0.0;  ///< ||e|| / ||reference||, Euclidean norms: an amplitude
  double max_abs = 0.0;        ///< max |e|
};

/// Throws kit::Error when there are no elements, the lengths differ, or a value is NaN or infinite. An error
/// against a reference of zeros has snr_db = -infinity.
ErrorMetrics error_metrics(std::span<const float> reference, std::span<const float> approximation);

}  // namespace lab04
