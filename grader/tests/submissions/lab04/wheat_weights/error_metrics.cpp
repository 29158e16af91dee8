#include "lab04/error_metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kit/check.h"

namespace lab04 {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// Mean, variance and mean square of numbers that come one by one (Welford).
class Moments {
 public:
  void add(double x) {
    n_ += 1.0;
    const double before = x - mean_;
    mean_ += before / n_;
    from_mean_ += before * (x - mean_);
    squares_ += x * x;
  }
  double variance() const { return from_mean_ / n_; }
  double mean_square() const { return squares_ / n_; }

 private:
  double n_ = 0.0;
  double mean_ = 0.0;
  double from_mean_ = 0.0;
  double squares_ = 0.0;
};

}  // namespace

ErrorMetrics error_metrics(std::span<const float> reference, std::span<const float> approximation) {
  const std::size_t n = reference.size();
  KIT_CHECK(n == approximation.size() && n > 0, "{} and {} elements", n, approximation.size());
  Moments signal;
  Moments noise;
  ErrorMetrics metrics;
  for (std::size_t i = 0; i < n; ++i) {
    const double r = reference[i];
    const double e = static_cast<double>(approximation[i]) - r;
    KIT_CHECK(std::isfinite(e), "element {}: {} for {}", i, approximation[i], r);
    signal.add(r);
    noise.add(e);
    metrics.max_abs = std::max(metrics.max_abs, std::fabs(e));
  }
  metrics.mse = noise.mean_square();
  if (metrics.max_abs == 0.0) {
    metrics.snr_db = kInfinity;
    return metrics;
  }
  // Of a signal that is zero: x / 0 and log10(0) are the infinities that are wanted.
  metrics.noise_power = metrics.mse / signal.variance();
  metrics.relative_norm = std::sqrt(metrics.mse) / std::sqrt(signal.mean_square());
  metrics.snr_db = 10.0 * (std::log10(signal.mean_square()) - std::log10(metrics.mse));
  return metrics;
}

}  // namespace lab04
