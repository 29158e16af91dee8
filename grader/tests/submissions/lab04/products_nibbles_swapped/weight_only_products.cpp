#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <type_traits>

#include "kit/aligned_vector.h"
#include "kit/parallel.h"
#include "lab04/quantized_products.h"

// Each product twice: by the book, for any shape, and in vectors. The vectors are there because codes arrive
// from memory at some 5 (8 bits) or 10 (4 bits) a cycle, and every one has to become a float. So codes stay
// where they are: a vector is 16 words of 32 bits, a word holds 4 or 8 neighbours of a row, and a few shifts
// and masks make floats of all 16 words at once, one neighbour after the other. It is x that is rearranged.

namespace lab04 {

namespace {

using Floats = float __attribute__((vector_size(64)));
using HalfOfFloats = float __attribute__((vector_size(32)));
using Ints = std::int32_t __attribute__((vector_size(64)));
using Binary16s = std::uint16_t __attribute__((vector_size(32)));

constexpr std::int64_t kLanes = 16;
constexpr std::int64_t kVectorBytes = 64;
constexpr std::int64_t kInt4sInVector = 2 * kVectorBytes;
/// Rows at a time: a vector of x that was loaded serves all of them.
constexpr std::int64_t kRows = 4;
/// Below this many multiply-adds waking another core costs more than it saves.
constexpr std::int64_t kSerialWork = 192 * 1024;

// An array of vectors is kept in registers only where the loops over it are unrolled.
#define LAB_UNROLL _Pragma("GCC unroll 8")

template <class Vector>
Vector load(const void* from) {
  Vector v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

float sum_of_lanes(Floats v) {
  const auto halves = std::bit_cast<std::array<HalfOfFloats, 2>>(v);
  const HalfOfFloats sum = halves[0] + halves[1];
  return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

float sum_of(std::span<const float> x) {
  float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
  for (std::size_t i = 0; i < x.size(); ++i) sum += x[i];
  return sum;
}

/// x as the codes meet it: [n_vectors, kPerWord, kLanes], element (v, j, l) is the one of neighbour j of word
/// l of vector v, divided by 2^(j % 4 * place_bits).
template <std::int64_t kPerWord>
kit::AlignedVector<float> rearrange(std::span<const float> x, int place_bits) {
  kit::AlignedVector<float> result(x.size());
  for (std::size_t begin = 0; begin < x.size(); begin += kPerWord * kLanes) {
    for (std::int64_t j = 0; j < kPerWord; ++j) {
      const float place = 1.0F / static_cast<float>(1 << j % 4 * place_bits);
      float* to = result.data() + begin + j * kLanes;
      for (std::int64_t l = 0; l < kLanes; ++l) to[l] = place * x[begin + l * kPerWord + j];
    }
  }
  return result;
}

/// Calls run(begin, end) on all cores, for multiples of kRows rows but at the end.
template <class Run>
void for_rows(std::int64_t rows, std::int64_t cols, const Run& run) {
  const std::int64_t enough = kSerialWork / std::max<std::int64_t>(cols, 1) + 1;
  kit::parallel_for(rows, (enough + kRows - 1) / kRows * kRows, run);
}

/// A hardware prefetcher stops at the end of a page of 4 KiB; this asks for the next N rows, into the
/// second-level cache.
template <int N>
void prefetch(const std::uint8_t* codes, std::int64_t row_bytes) {
  LAB_UNROLL
  for (int r = 0; r < N; ++r) __builtin_prefetch(codes + (N + r) * row_bytes, 0, 2);
}

/// y[r] = scales[r] * row r of w times x, for N rows in vectors.
template <int N>
void multiply_int8(const std::uint8_t* w, std::int64_t cols, const float* x, const float* scales, float* y) {
  Floats sums[N] = {};
  for (std::int64_t at = 0; at < cols; at += kVectorBytes) {
    prefetch<N>(w + at, cols);
    LAB_UNROLL
    for (int r = 0; r < N; ++r) {
      const Ints words = load<Ints>(w + r * cols + at);
      LAB_UNROLL
      for (int j = 0; j < 4; ++j) {
        const Ints code = (words << (24 - 8 * j)) >> 24;  // up and down again: the sign is kept
        sums[r] += __builtin_convertvector(code, Floats) * load<Floats>(x + at + j * kLanes);
      }
    }
  }
  LAB_UNROLL
  for (int r = 0; r < N; ++r) y[r] = scales[r] * sum_of_lanes(sums[r]);
}

/// What the rows of a W4A16 product share. A code is masked out of its half-word, not shifted: the one at
/// place j is then 16^j too large, and its x is divided by that, exactly. Symmetric codes are made unsigned,
/// code + 8 with zero point 8, so that both kinds are one: scale * (code - zero_point).
struct Int4Product {
  const GroupQuantized& w;
  std::int64_t group_bytes;
  kit::AlignedVector<float> x;  // [n_vectors, 8, kLanes], divided
  std::vector<float> x_sums;    // [n_groups], filled up with zeros to whole vectors

  Int4Product(const GroupQuantized& weights, std::span<const float> inputs)
      : w(weights),
        group_bytes(w.n_groups() == 1 ? w.row_bytes() : w.config.group_size / 2),
        x(rearrange<8>(inputs, 4)) {
    for (std::int64_t begin = 0; begin < w.cols; begin += 2 * group_bytes) {
      const std::int64_t end = std::min(w.cols, begin + 2 * group_bytes);
      x_sums.push_back(sum_of(inputs.subspan(begin, end - begin)));
    }
    x_sums.resize((x_sums.size() + kLanes - 1) / kLanes * kLanes);
  }
};

/// Writes a row's scales as floats. Returns what its zero points take away, the sum of scale * zero_point *
/// x, in lanes. Scales are no infinities and no NaNs, so their exponents need another bias and that is all; a
/// call of kit::to_float for every 64 bytes of codes would be too slow.
Floats decode_scales(const Int4Product& p, std::int64_t row, float* scales) {
  const std::int64_t n_groups = p.w.n_groups();
  Floats offset{};
  for (std::int64_t first = 0; first < n_groups; first += kLanes) {
    const std::int64_t at = row * n_groups + first;
    const std::int64_t count = std::min(kLanes, n_groups - first);
    Binary16s bits{};
    if (count == kLanes) {
      bits = load<Binary16s>(p.w.scales.data() + at);
    } else {
      std::memcpy(&bits, p.w.scales.data() + at, static_cast<std::size_t>(count) * sizeof(kit::Half));
    }
    const Ints magnitude = __builtin_convertvector(bits & 0x7FFF, Ints) << 13;
    const Ints sign = __builtin_convertvector(bits & 0x8000, Ints) << 16;
    const Floats scale = std::bit_cast<Floats>(magnitude | sign) * 0x1p112F;
    std::memcpy(scales + first, &scale, sizeof scale);
    Floats zero_point = Floats{} + 8.0F;
    for (std::int64_t l = 0; l < count && !p.w.config.symmetric; ++l) zero_point[l] = p.w.zero_points[at + l];
    offset += scale * zero_point * load<Floats>(p.x_sums.data() + first);
  }
  return offset;
}

/// y[r] = row `row` + r times x, for N rows in vectors. scales: room for [N, x_sums.size()].
template <int N>
void multiply_int4(const Int4Product& p, std::int64_t row, float* scales, float* y) {
  const std::int64_t row_bytes = p.w.row_bytes();
  const std::uint8_t* w = p.w.codes.data() + row * row_bytes;
  const Ints flip = Ints{} + static_cast<int>(p.w.config.symmetric ? 0x88888888U : 0U);
  const auto stride = std::ssize(p.x_sums);
  Floats sums[N];
  LAB_UNROLL
  for (int r = 0; r < N; ++r) sums[r] = -decode_scales(p, row + r, scales + r * stride);
  for (std::int64_t begin = 0; begin < row_bytes; begin += p.group_bytes, ++scales) {
    Floats in_group[N] = {};
    const std::int64_t end = std::min(row_bytes, begin + p.group_bytes);
    for (std::int64_t at = begin; at < end; at += kVectorBytes) {
      prefetch<N>(w + at, row_bytes);
      LAB_UNROLL
      for (int r = 0; r < N; ++r) {
        const Ints pairs = load<Ints>(w + r * row_bytes + at) ^ flip;
        const Ints words = ((pairs & 0x0F0F0F0F) << 4) | ((pairs >> 4) & 0x0F0F0F0F);
        LAB_UNROLL
        for (int j = 0; j < 8; ++j) {
          const Ints code = (words >> j / 4 * 16) & (15 << j % 4 * 4);
          in_group[r] +=
              __builtin_convertvector(code, Floats) * load<Floats>(p.x.data() + 2 * at + j * kLanes);
        }
      }
    }
    LAB_UNROLL
    for (int r = 0; r < N; ++r) sums[r] += scales[r * stride] * in_group[r];
  }
  LAB_UNROLL
  for (int r = 0; r < N; ++r) y[r] = sum_of_lanes(sums[r]);
}

/// By the book.
float multiply_int8_row(std::span<const std::int8_t> w, std::span<const float> x) {
  float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
  for (std::size_t i = 0; i < x.size(); ++i) sum += static_cast<float>(w[i]) * x[i];
  return sum;
}

float multiply_int4_row(const GroupQuantized& w, std::int64_t row, std::span<const float> x) {
  const std::uint8_t* codes = w.codes.data() + row * w.row_bytes();
  const std::int64_t group_size = w.config.group_size == 0 ? w.cols : w.config.group_size;
  float total = 0.0F;
  for (std::int64_t g = 0; g < w.n_groups(); ++g) {
    const int zero_point = w.config.symmetric ? 8 : w.zero_points[row * w.n_groups() + g];
    float sum = 0.0F;
    for (std::int64_t i = g * group_size; i < std::min(w.cols, (g + 1) * group_size); ++i) {
      const int code = i % 2 == 0 ? codes[i / 2] >> 4 : codes[i / 2] & 15;
      sum += static_cast<float>((w.config.symmetric ? code ^ 8 : code) - zero_point) * x[i];
    }
    total += kit::to_float(w.scales[row * w.n_groups() + g]) * sum;
  }
  return total;
}

void check_parts(const GroupQuantized& w, std::span<const float> x, std::span<float> y) {
  KIT_CHECK(w.config.bits == 4, "matvec_w4a16: the codes have {} bits, not 4", w.config.bits);
  KIT_CHECK(w.config.group_size >= 0 && w.rows >= 0 && w.cols >= 0,
            "matvec_w4a16: w is [{}, {}] in groups of {}", w.rows, w.cols, w.config.group_size);
  const std::int64_t n_scales = w.rows * w.n_groups();
  const std::int64_t n_zero_points = w.config.symmetric ? 0 : n_scales;
  KIT_CHECK(std::ssize(w.codes) == w.rows * w.row_bytes() && std::ssize(w.scales) == n_scales &&
                std::ssize(w.zero_points) == n_zero_points,
            "matvec_w4a16: w [{}, {}] in groups of {} has {} bytes of codes, {} scales and {} zero points, "
            "not {}, {} and {}",
            w.rows, w.cols, w.config.group_size, w.codes.size(), w.scales.size(), w.zero_points.size(),
            w.rows * w.row_bytes(), n_scales, n_zero_points);
  KIT_CHECK(std::ssize(x) == w.cols && std::ssize(y) == w.rows,
            "matvec_w4a16: x has {} elements and y {}, for w [{}, {}]", x.size(), y.size(), w.rows, w.cols);
}

}  // namespace

void matvec_w8a16(kit::TensorView<const std::int8_t> w, std::span<const float> scales,
                  std::span<const float> x, std::span<float> y) {
  KIT_CHECK(
      w.rank() == 2 && std::ssize(x) == w.dim(1) && std::ssize(y) == w.dim(0) && scales.size() == y.size(),
      "matvec_w8a16: w {} (out, in), {} scales (out), x of {} (in) and y of {} (out) do not fit",
      w.shape().to_string(), scales.size(), x.size(), y.size());
  const std::int64_t cols = w.dim(1);
  const bool in_vectors = cols % kVectorBytes == 0;
  const auto dealt = in_vectors ? rearrange<4>(x, 0) : kit::AlignedVector<float>();
  for_rows(w.dim(0), cols, [&](std::int64_t row, std::int64_t end) {
    for (; in_vectors && row + kRows <= end; row += kRows) {
      const auto* codes = reinterpret_cast<const std::uint8_t*>(w.row(row).data());
      multiply_int8<kRows>(codes, cols, dealt.data(), scales.data() + row, y.data() + row);
    }
    for (; row < end; ++row) y[row] = scales[row] * multiply_int8_row(w.row(row), x);
  });
}

void matvec_w4a16(const GroupQuantized& w, std::span<const float> x, std::span<float> y) {
  check_parts(w, x, y);
  const bool in_vectors = w.cols > 0 && w.cols % kInt4sInVector == 0 &&
                          (w.n_groups() == 1 || w.config.group_size % kInt4sInVector == 0);
  if (!in_vectors) {
    return for_rows(w.rows, w.cols, [&](std::int64_t row, std::int64_t end) {
      for (; row < end; ++row) y[row] = multiply_int4_row(w, row, x);
    });
  }
  const Int4Product product(w, x);
  for_rows(w.rows, w.cols, [&](std::int64_t row, std::int64_t end) {
    std::vector<float> scales(kRows * product.x_sums.size());
    for (; row + kRows <= end; row += kRows)
      multiply_int4<kRows>(product, row, scales.data(), y.data() + row);
    for (; row < end; ++row) multiply_int4<1>(product, row, scales.data(), y.data() + row);
  });
}

}  // namespace lab04
