#include "lab02/attention.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

namespace lab02 {

void softmax(std::span<float> scores) {
  if (scores.empty()) return;
  double max = -std::numeric_limits<double>::infinity();
  double sum = 0.0;
  for (const float s : scores) {
    KIT_CHECK(!std::isnan(s) && s < std::numeric_limits<float>::infinity(), "score {}", s);
    if (s == -std::numeric_limits<float>::infinity()) continue;
    const double new_max = std::max(max, double{s});
    sum = sum * std::exp(max - new_max) + std::exp(s - new_max);
    max = new_max;
  }
  KIT_CHECK(sum > 0.0, "every score is -infinity");
  for (float& s : scores) s = static_cast<float>(std::exp(s - max) / sum);
}

void attention(kit::TensorView<const float> q, kit::TensorView<const float> k, kit::TensorView<const float> v,
               kit::TensorView<float> out) {
  KIT_CHECK(q.rank() == 3 && k.rank() == 3 && v.rank() == 3 && out.rank() == 3, "rank is not 3");
  KIT_CHECK(k.shape() == v.shape() && q.shape() == out.shape(), "shapes");
  const auto [n, m, heads, kv_heads, d] = std::array{q.dim(0), k.dim(0), q.dim(1), k.dim(1), q.dim(2)};
  KIT_CHECK(k.dim(2) == d && n <= m && kv_heads > 0 && heads % kv_heads == 0, "shapes");
  std::vector<double> sum(static_cast<std::size_t>(d));
  for (std::int64_t h = heads - 1; h >= 0; --h) {
    for (std::int64_t i = 0; i < n; ++i) {
      double max = -std::numeric_limits<double>::infinity();
      double l = 0.0;
      std::fill(sum.begin(), sum.end(), 0.0);
      for (std::int64_t t = 0; t + n <= m + i; ++t) {
        double s = 0.0;
        for (std::int64_t x = 0; x < d; ++x) s += double{q(i, h, x)} * k(t, h * kv_heads / heads, x);
        s /= std::sqrt(static_cast<double>(d));
        const double new_max = std::max(max, s);
        const double decay = std::exp(max - new_max);
        const double p = std::exp(s - new_max);
        l = l * decay + p;
        for (std::int64_t x = 0; x < d; ++x) sum[x] = sum[x] * decay + p * v(t, h * kv_heads / heads, x);
        max = new_max;
      }
      for (std::int64_t x = 0; x < d; ++x) out(i, h, x) = static_cast<float>(sum[x] / l);
    }
  }
}

}  // namespace lab02
