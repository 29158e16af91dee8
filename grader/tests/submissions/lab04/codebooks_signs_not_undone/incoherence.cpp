#include "lab04/incoherence.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "kit/parallel.h"

namespace lab04 {

namespace {

constexpr std::int64_t kDim = 8;
constexpr int kPatterns = 256;
/// Standard deviation of weights / scale at which normal weights lose least; found by trying.
constexpr double kSpread = 1.03;

using Vector = std::array<float, kDim>;

/// The closest integers whose sum is even. When that of the closest integers is odd, one of them must be its
/// neighbour instead; the cheapest is where rounding had to decide most narrowly.
Vector nearest_d8(const Vector& x) {
  Vector point{};
  float sum = 0.0F;
  std::size_t narrowest = 0;
  for (std::size_t i = 0; i < kDim; ++i) {
    point[i] = std::nearbyint(x[i]);
    sum += point[i];
    if (std::abs(x[i] - point[i]) > std::abs(x[narrowest] - point[narrowest])) narrowest = i;
  }
  if (std::fmod(sum, 2.0F) != 0.0F) point[narrowest] += x[narrowest] > point[narrowest] ? 1.0F : -1.0F;
  return point;
}

float squared_distance(const Vector& a, const Vector& b) {
  float sum = 0.0F;
  for (std::size_t i = 0; i < kDim; ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return sum;
}

Vector shifted(const Vector& x, float by) {
  Vector result = x;
  for (float& value : result) value += by;
  return result;
}

/// Bit i: x[i] is negative.
unsigned negatives_of(const Vector& x) {
  unsigned negatives = 0;
  for (std::size_t i = 0; i < kDim; ++i) negatives |= (x[i] < 0.0F ? 1U : 0U) << i;
  return negatives;
}

/// QuIP#'s codebook E8P, section 4.2: half-integer points p of E8, each as p + 1/4 and as p - 1/4. Both lie
/// in E8 + 1/4, since (1/2, ..., 1/2) is a point of E8. |p| is one of 256 patterns, and only those are
/// stored; seven signs are free, and the eighth makes the sum even.
///
/// A code, from the lowest bit: pattern (8), "is negative" of the first seven numbers (7), "minus 1/4" (1).
struct Codebook {
  std::array<std::array<float, kPatterns>, kDim> absolute{};  // [kDim, kPatterns]: 1/2, 3/2 or 5/2
  std::array<int, kPatterns> odd{};  // 1 where the number of negative signs must be odd, else 0

  Codebook() {
    std::vector<Vector> all;
    for (int index = 0; index < 6561; ++index) {  // 3^8
      Vector p{};
      for (int i = 0, digits = index; i < kDim; ++i, digits /= 3)
        p[i] = 0.5F + static_cast<float>(digits % 3);
      all.push_back(p);
    }
    // The shortest: all 227 of squared length up to 10, and 29 of those of length 12.
    std::ranges::stable_sort(all, {}, [](const Vector& p) { return squared_distance(p, {}); });
    for (int k = 0; k < kPatterns; ++k) {
      float sum = 0.0F;
      for (int i = 0; i < kDim; ++i) sum += absolute[i][k] = all[k][i];
      odd[k] = static_cast<int>(sum) % 2;  // each sign that turns changes the sum by an odd number
    }
  }

  Vector point(unsigned code) const {
    const unsigned pattern = code & 255U;
    unsigned negatives = code >> 8 & 127U;
    if (std::popcount(negatives) % 2 != odd[pattern]) negatives |= 128U;
    Vector p{};
    for (std::size_t i = 0; i < kDim; ++i)
      p[i] = (negatives >> i & 1U) != 0 ? -absolute[i][pattern] : absolute[i][pattern];
    return shifted(p, code >> 15 == 0 ? 0.25F : -0.25F);
  }
};

const Codebook& codebook() {
  static const Codebook book;
  return book;
}

/// The pattern with the signs of y, but for the one that costs least to turn where their number is wrong.
unsigned with_signs(unsigned pattern, const Vector& y) {
  unsigned negatives = negatives_of(y);
  if (std::popcount(negatives) % 2 != codebook().odd[pattern]) {
    const auto cost = [&](std::size_t i) { return std::abs(y[i]) * codebook().absolute[i][pattern]; };
    std::size_t cheapest = 0;
    for (std::size_t i = 1; i < kDim; ++i) cheapest = cost(i) < cost(cheapest) ? i : cheapest;
    negatives ^= 1U << cheapest;
  }
  return pattern | (negatives & 127U) << 8;
}

/// The code of the closest of the 2^16 points.
unsigned nearest_code(const Vector& x) {
  const Codebook& book = codebook();
  float best = std::numeric_limits<float>::infinity();
  unsigned best_pattern = 0;
  unsigned best_minus = 0;
  for (const unsigned minus : {0U, 1U}) {
    const Vector y = shifted(x, minus == 0 ? -0.25F : 0.25F);
    // With the signs of y itself a pattern's distance is that of absolute values. To turn a sign costs
    // (|y| + p)^2 - (|y| - p)^2 = 4 |y| p; where the number of signs is wrong, the cheapest is turned.
    std::array<float, kPatterns> distance{};
    std::array<float, kPatterns> cheapest{};
    cheapest.fill(std::numeric_limits<float>::infinity());
    for (std::size_t i = 0; i < kDim; ++i) {
      const float a = std::abs(y[i]);
      const float* p = book.absolute[i].data();
#pragma omp simd
      for (int k = 0; k < kPatterns; ++k) {
        distance[k] += (a - p[k]) * (a - p[k]);
        cheapest[k] = std::min(cheapest[k], 4.0F * a * p[k]);
      }
    }
    const int odd = std::popcount(negatives_of(y)) % 2;
#pragma omp simd
    for (int k = 0; k < kPatterns; ++k) distance[k] += book.odd[k] == odd ? 0.0F : cheapest[k];
    const auto nearest = std::ranges::min_element(distance);
    if (*nearest >= best) continue;
    best = *nearest;
    best_pattern = static_cast<unsigned>(nearest - distance.begin());
    best_minus = minus;
  }
  return with_signs(best_pattern, shifted(x, best_minus == 0 ? -0.25F : 0.25F)) | best_minus << 15;
}

/// H from both sides, in blocks of the largest power of two that divides the dimension.
void transform(kit::TensorView<float> w) {
  const std::int64_t row_block = w.dim(0) & -w.dim(0);
  const std::int64_t column_block = w.dim(1) & -w.dim(1);
  for (std::int64_t i = 0; i < w.dim(0); ++i) {
    for (std::int64_t j = 0; j < w.dim(1); j += column_block)
      walsh_hadamard(w.row(i).subspan(j, column_block));
  }
  std::vector<float> column(static_cast<std::size_t>(row_block));
  for (std::int64_t begin = 0; begin < w.dim(0); begin += row_block) {
    for (std::int64_t j = 0; j < w.dim(1); ++j) {
      for (std::int64_t i = 0; i < row_block; ++i) column[i] = w(begin + i, j);
      walsh_hadamard(column);
      for (std::int64_t i = 0; i < row_block; ++i) w(begin + i, j) = column[i];
    }
  }
}

/// Rows and columns times their signs; its own inverse.
void apply_signs(const E8Quantized& q, kit::TensorView<float> w) {
  for (std::int64_t i = 0; i < w.dim(0); ++i) {
    for (std::int64_t j = 0; j < w.dim(1); ++j) {
      if (q.row_signs[i] != q.column_signs[j]) w(i, j) = -w(i, j);
    }
  }
}

}  // namespace

void walsh_hadamard(std::span<float> x) {
  const std::size_t n = x.size();
  KIT_CHECK(std::has_single_bit(n), "{} numbers, their number must be a power of two", n);
  for (std::size_t half = 1; half < n; half *= 2) {
    for (std::size_t begin = 0; begin < n; begin += 2 * half) {
#pragma omp simd
      for (std::size_t i = begin; i < begin + half; ++i) {
        const float a = x[i];
        const float b = x[i + half];
        x[i] = a + b;
        x[i + half] = a - b;
      }
    }
  }
  const float scale = 1.0F / std::sqrt(static_cast<float>(n));
  for (float& value : x) value *= scale;
}

void nearest_e8(std::span<const float> x, std::span<float> points) {
  KIT_CHECK(x.size() == points.size() && x.size() % kDim == 0,
            "{} numbers and room for {}: want as many, a multiple of 8", x.size(), points.size());
  for (std::int64_t begin = 0; begin < std::ssize(x); begin += kDim) {
    Vector v{};
    std::ranges::copy(x.subspan(begin, kDim), v.begin());
    // E8 is D8, and D8 moved by 1/2.
    const Vector integers = nearest_d8(v);
    const Vector halves = shifted(nearest_d8(shifted(v, -0.5F)), 0.5F);
    const bool take_integers = squared_distance(v, integers) <= squared_distance(v, halves);
    std::ranges::copy(take_integers ? integers : halves, points.begin() + begin);
  }
}

E8Quantized quantize_e8(kit::TensorView<const float> w, kit::Rng& rng) {
  KIT_CHECK(w.rank() == 2 && w.dim(0) > 0 && w.dim(1) > 0 && w.dim(1) % kDim == 0,
            "a weight {}: want [rows, cols] with cols a multiple of 8", w.shape().to_string());
  double sum_of_squares = 0.0;
  for (const float value : w.span()) {
    KIT_CHECK(std::isfinite(value), "a weight is {}", value);
    sum_of_squares += static_cast<double>(value) * value;
  }
  E8Quantized q;
  q.rows = w.dim(0);
  q.cols = w.dim(1);
  for (std::int64_t i = 0; i < q.rows; ++i) q.row_signs.push_back(static_cast<std::uint8_t>(rng.below(2)));
  for (std::int64_t j = 0; j < q.cols; ++j) q.column_signs.push_back(static_cast<std::uint8_t>(rng.below(2)));

  kit::Tensor<float> incoherent = kit::clone(w);
  apply_signs(q, incoherent);
  transform(incoherent);
  // The transform turns the matrix and keeps its length, so the spread is known beforehand. A matrix of
  // zeros has scale 0, and any code will do.
  q.scale = static_cast<float>(std::sqrt(sum_of_squares / static_cast<double>(w.size())) / kSpread);
  const float inverse = q.scale > 0.0F ? 1.0F / q.scale : 0.0F;

  q.codes.resize(static_cast<std::size_t>(w.size() / kDim));
  kit::parallel_for(w.size() / kDim, 256, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t v = begin; v < end; ++v) {
      Vector x{};
      for (std::int64_t i = 0; i < kDim; ++i) x[i] = incoherent.data()[v * kDim + i] * inverse;
      q.codes[v] = static_cast<std::uint16_t>(nearest_code(x));
    }
  });
  return q;
}

void dequantize_e8(const E8Quantized& q, kit::TensorView<float> w) {
  const bool fits = w.shape() == kit::Shape{q.rows, q.cols} && q.cols % kDim == 0 &&
                    std::ssize(q.codes) == q.rows * (q.cols / kDim) && std::ssize(q.row_signs) == q.rows &&
                    std::ssize(q.column_signs) == q.cols;
  KIT_CHECK(fits, "{} codes, {} row signs, {} column signs for a weight [{}, {}], to be written to {}",
            q.codes.size(), q.row_signs.size(), q.column_signs.size(), q.rows, q.cols, w.shape().to_string());
  for (std::int64_t v = 0; v < std::ssize(q.codes); ++v) {
    const Vector p = codebook().point(q.codes[v]);
    for (std::int64_t i = 0; i < kDim; ++i) w.data()[v * kDim + i] = q.scale * p[i];
  }
  transform(w);
}

}  // namespace lab04
