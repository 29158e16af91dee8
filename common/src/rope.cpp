#include "kit/rope.h"

#include <cmath>
#include <cstddef>
#include <numbers>

namespace kit {
namespace {

void check_scaling(const RopeScaling& s) {
  KIT_CHECK(std::isfinite(s.factor) && s.factor > 0, "rope scaling: factor {} must be positive", s.factor);
  KIT_CHECK(
      s.low_freq_factor > 0 && s.high_freq_factor > s.low_freq_factor && std::isfinite(s.high_freq_factor),
      "rope scaling: need 0 < low_freq_factor {} < high_freq_factor {}", s.low_freq_factor,
      s.high_freq_factor);
  KIT_CHECK(s.original_max_seq_len > 0, "rope scaling: original_max_seq_len {} must be positive",
            s.original_max_seq_len);
}

/// Llama 3.1: long waves are slowed down by `factor`, short ones stay, those between are blended.
double scaled_frequency(double frequency, const RopeScaling& s) {
  const double turns =
      s.original_max_seq_len * frequency / (2.0 * std::numbers::pi);  // within the original context
  if (turns > s.high_freq_factor) return frequency;
  if (turns < s.low_freq_factor) return frequency / s.factor;
  const double share = (turns - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
  return (1.0 - share) * frequency / s.factor + share * frequency;
}

}  // namespace

Rope::Rope(int head_dim, int max_seq_len, float theta, const std::optional<RopeScaling>& scaling)
    : head_dim_(head_dim), max_seq_len_(max_seq_len), theta_(theta), scaling_(scaling) {
  KIT_CHECK(head_dim > 0 && head_dim % 2 == 0, "rope: head_dim {} must be positive and even", head_dim);
  KIT_CHECK(max_seq_len > 0, "rope: max_seq_len {} must be positive", max_seq_len);
  KIT_CHECK(std::isfinite(theta) && theta > 0, "rope: theta {} must be positive", theta);
  if (scaling) check_scaling(*scaling);

  const int half = head_dim / 2;
  std::vector<double> frequency(static_cast<std::size_t>(half));  // radians per position
  for (int i = 0; i < half; ++i) {
    frequency[i] = std::pow(static_cast<double>(theta), -2.0 * i / head_dim);
    if (scaling) frequency[i] = scaled_frequency(frequency[i], *scaling);
  }
  const std::size_t n = static_cast<std::size_t>(max_seq_len) * half;
  cos_.reserve(n);
  sin_.reserve(n);
  for (int pos = 0; pos < max_seq_len; ++pos) {
    // In double: a float angle of 100,000 radians would be off by 0.004.
    for (int i = 0; i < half; ++i) {
      cos_.push_back(static_cast<float>(std::cos(pos * frequency[i])));
      sin_.push_back(static_cast<float>(std::sin(pos * frequency[i])));
    }
  }
}

void Rope::rotate(TensorView<float> x, int first_pos) const {
  KIT_CHECK(x.rank() == 3 && x.dim(2) == head_dim_, "rope: x {} is not [n, heads, {}]", x.shape().to_string(),
            head_dim_);
  KIT_CHECK(first_pos >= 0 && first_pos + x.dim(0) <= max_seq_len_,
            "rope: positions {} .. {} lie outside the table of {}", first_pos, first_pos + x.dim(0) - 1,
            max_seq_len_);
  const int half = head_dim_ / 2;
  for (std::int64_t t = 0; t < x.dim(0); ++t) {
    const float* c = cos_.data() + (first_pos + t) * half;
    const float* s = sin_.data() + (first_pos + t) * half;
    for (std::int64_t h = 0; h < x.dim(1); ++h) {
      float* first = x.row(t, h).data();
      float* second = first + half;
      for (int i = 0; i < half; ++i) {
        const float a = first[i];
        const float b = second[i];
        first[i] = a * c[i] - b * s[i];
        second[i] = b * c[i] + a * s[i];
      }
    }
  }
}

}  // namespace kit
