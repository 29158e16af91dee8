#include "lab04/incoherence.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "kit/parallel.h"

namespace lab04 {

namespace {

using Vector = std::array<float, 8>;

float dot(const Vector& a, const Vector& b) {
  float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
  for (std::size_t i = 0; i < 8; ++i) sum += a[i] * b[i];
  return sum;
}

float squared_distance(const Vector& a, const Vector& b) {
  Vector difference{};
  for (std::size_t i = 0; i < 8; ++i) difference[i] = a[i] - b[i];
  return dot(difference, difference);
}

/// The 256 shortest vectors of numbers 1/2, 3/2, 5/2; and whether their sum is odd.
struct Pattern {
  Vector values;
  bool odd;
};

const std::vector<Pattern>& patterns() {
  static const std::vector<Pattern> found = [] {
    std::vector<Pattern> all;
    for (int index = 6560; index >= 0; --index) {
      Pattern& p = all.emplace_back();
      int sum = 0;
      for (int i = 0, digits = index; i < 8; ++i, digits /= 3) {
        p.values[i] = static_cast<float>(digits % 3) + 0.5F;
        sum += digits % 3;
      }
      p.odd = sum % 2 != 0;  // eight halves are 4
    }
    std::ranges::stable_sort(all, {}, [](const Pattern& p) { return dot(p.values, p.values); });
    all.resize(256);
    return all;
  }();
  return found;
}

/// Code: signs of the first seven, then the shift, then the pattern.
Vector decode(unsigned code) {
  const Pattern& pattern = patterns()[code >> 8];
  Vector p = pattern.values;
  bool odd = pattern.odd;
  for (unsigned i = 0; i < 7; ++i) {
    if ((code >> i & 1U) == 0) continue;
    p[i] = -p[i];
    odd = !odd;
  }
  if (odd) p[7] = -p[7];
  for (float& value : p) value += (code >> 7 & 1U) != 0 ? 0.25F : -0.25F;
  return p;
}

struct Choice {
  float distance = std::numeric_limits<float>::infinity();
  unsigned code = 0;
};

Choice nearest(const Vector& x) {
  Choice best;
  for (unsigned shift = 0; shift < 2; ++shift) {
    Vector sizes{};
    unsigned negatives = 0;
    bool odd = false;
    for (unsigned i = 0; i < 8; ++i) {
      const float y = x[i] + (shift != 0 ? -0.25F : 0.25F);
      sizes[i] = std::abs(y);
      if (y >= 0.0F) continue;
      negatives |= 1U << i;
      odd = !odd;
    }
    for (unsigned k = 0; k < 256; ++k) {
      const Pattern& pattern = patterns()[k];
      float distance = squared_distance(sizes, pattern.values);
      if (distance >= best.distance) continue;
      unsigned signs = negatives;
      if (odd != pattern.odd) {
        unsigned turned = 0;
        float price = std::numeric_limits<float>::infinity();
        for (unsigned i = 0; i < 8; ++i) {
          if (sizes[i] * pattern.values[i] >= price) continue;
          price = sizes[i] * pattern.values[i];
          turned = i;
        }
        distance += 4.0F * price;
        signs ^= 1U << turned;
      }
      if (distance < best.distance) best = {distance, (signs & 127U) | shift << 7 | k << 8};
    }
  }
  return best;
}

Vector vector_at(const kit::Tensor<float>& w, std::int64_t v, float factor) {
  Vector x{};
  for (std::int64_t i = 0; i < 8; ++i) x[i] = w.data()[v * 8 + i] * factor;
  return x;
}

/// The scale, of a few, that loses least on some of the vectors.
float find_scale(const kit::Tensor<float>& w) {
  double power = 0.0;
  for (const float x : w.span()) power += double{x} * x;
  const double rms = std::sqrt(power / static_cast<double>(w.size()));
  const std::int64_t step = std::max<std::int64_t>(1, w.size() / 8 / 512);
  float best = 0.0F;
  double best_loss = std::numeric_limits<double>::infinity();
  for (const double spread : {0.91, 0.95, 0.99, 1.03, 1.07, 1.11}) {
    const auto scale = static_cast<float>(rms / spread);
    if (scale == 0.0F) continue;
    double loss = 0.0;
    for (std::int64_t v = 0; v < w.size() / 8; v += step) {
      loss += double{scale} * scale * nearest(vector_at(w, v, 1.0F / scale)).distance;
    }
    if (loss >= best_loss) continue;
    best_loss = loss;
    best = scale;
  }
  return best;
}

std::int64_t block_of(std::int64_t n) {
  std::int64_t block = 1;
  while (n % (2 * block) == 0) block *= 2;
  return block;
}

kit::Tensor<float> transposed(kit::TensorView<const float> w) {
  kit::Tensor<float> result({w.dim(1), w.dim(0)});
  for (std::int64_t i = 0; i < w.dim(0); ++i) {
    for (std::int64_t j = 0; j < w.dim(1); ++j) result(j, i) = w(i, j);
  }
  return result;
}

void transform_rows(kit::Tensor<float>& w) {
  const std::int64_t block = block_of(w.dim(1));
  for (std::int64_t begin = 0; begin < w.size(); begin += block)
    walsh_hadamard(w.span().subspan(begin, block));
}

kit::Tensor<float> transform(kit::TensorView<const float> w) {
  kit::Tensor<float> other_way = transposed(w);
  transform_rows(other_way);
  kit::Tensor<float> result = transposed(other_way);
  transform_rows(result);
  return result;
}

float sign(std::uint8_t negative) {
  return negative != 0 ? -1.0F : 1.0F;
}

}  // namespace

// H_2n = (H_n H_n; H_n -H_n), and 1/sqrt(2) a level.
void walsh_hadamard(std::span<float> x) {
  const std::size_t n = x.size();
  KIT_CHECK(n > 0 && (n & (n - 1)) == 0, "{} numbers, want a power of two", n);
  if (n == 1) return;
  walsh_hadamard(x.first(n / 2));
  walsh_hadamard(x.last(n / 2));
  for (std::size_t i = 0; i < n / 2; ++i) {
    const float a = x[i] * std::sqrt(0.5F);
    const float b = x[n / 2 + i] * std::sqrt(0.5F);
    x[i] = a + b;
    x[n / 2 + i] = a - b;
  }
}

// Of each coset the rounded point, and eight others with one number rounded the other way; of those with an
// even sum the closest.
void nearest_e8(std::span<const float> x, std::span<float> points) {
  KIT_CHECK(x.size() == points.size() && x.size() % 8 == 0, "{} numbers, {} for points", x.size(),
            points.size());
  for (std::size_t begin = 0; begin < x.size(); begin += 8) {
    Vector v{};
    std::copy_n(x.data() + begin, 8, v.begin());
    float best = std::numeric_limits<float>::infinity();
    for (const float offset : {0.0F, 0.5F}) {
      for (std::size_t other = 0; other <= 8; ++other) {
        Vector p{};
        float sum = 0.0F;
        for (std::size_t i = 0; i < 8; ++i) {
          p[i] = std::round(v[i] - offset) + offset;
          if (i == other) p[i] += v[i] > p[i] ? 1.0F : -1.0F;
          sum += p[i];
        }
        const float distance = squared_distance(v, p);
        if (std::fmod(sum, 2.0F) != 0.0F || distance >= best) continue;
        best = distance;
        std::ranges::copy(p, points.data() + begin);
      }
    }
  }
}

E8Quantized quantize_e8(kit::TensorView<const float> w, kit::Rng& rng) {
  KIT_CHECK(w.rank() == 2 && w.dim(1) % 8 == 0, "{} has rows that are no vectors of 8",
            w.shape().to_string());
  for (const float x : w.span()) KIT_CHECK(std::isfinite(x), "a weight is {}", x);
  E8Quantized q;
  q.rows = w.dim(0);
  q.cols = w.dim(1);
  q.row_signs.resize(static_cast<std::size_t>(q.rows));
  q.column_signs.resize(static_cast<std::size_t>(q.cols));
  for (std::uint8_t& negative : q.row_signs) negative = static_cast<std::uint8_t>(rng.below(2));
  for (std::uint8_t& negative : q.column_signs) negative = static_cast<std::uint8_t>(rng.below(2));
  kit::Tensor<float> signed_w = kit::clone(w);
  for (std::int64_t i = 0; i < q.rows; ++i) {
    for (std::int64_t j = 0; j < q.cols; ++j)
      signed_w(i, j) *= sign(q.row_signs[i]) * sign(q.column_signs[j]);
  }
  const kit::Tensor<float> turned = transform(signed_w);
  q.scale = find_scale(turned);
  q.codes.resize(static_cast<std::size_t>(w.size() / 8));
  if (q.scale == 0.0F) return q;
  kit::parallel_for(w.size() / 8, 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t v = begin; v < end; ++v)
      q.codes[v] = static_cast<std::uint16_t>(nearest(vector_at(turned, v, 1.0F / q.scale)).code);
  });
  return q;
}

void dequantize_e8(const E8Quantized& q, kit::TensorView<float> w) {
  KIT_CHECK(w.shape() == (kit::Shape{q.rows, q.cols}) && q.cols % 8 == 0, "[{}, {}] into {}", q.rows, q.cols,
            w.shape().to_string());
  KIT_CHECK(std::ssize(q.codes) * 8 == w.size(), "{} codes", q.codes.size());
  KIT_CHECK(std::ssize(q.row_signs) == q.rows, "{} row signs", q.row_signs.size());
  KIT_CHECK(std::ssize(q.column_signs) == q.cols, "{} column signs", q.column_signs.size());
  kit::Tensor<float> points(w.shape());
  for (std::int64_t v = 0; v < std::ssize(q.codes); ++v) {
    const Vector p = decode(q.codes[v]);
    for (std::int64_t i = 0; i < 8; ++i) points.data()[v * 8 + i] = p[i] * q.scale;
  }
  const kit::Tensor<float> back = transform(points);
  for (std::int64_t i = 0; i < q.rows; ++i) {
    for (std::int64_t j = 0; j < q.cols; ++j)
      w(i, j) = back(i, j) * sign(q.row_signs[i]) * sign(q.column_signs[j]);
  }
}

}  // namespace lab04
