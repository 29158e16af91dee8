// Scalable vectors cannot be array elements; NEON serves those machines.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#define HWY_COMPILE_ONLY_STATIC
#include <hwy/highway.h>
// After highway.h, which chooses the instructions.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "kit/aligned_vector.h"
#include "kit/parallel.h"
#include "lab04/quantized_products.h"

// Task 6 at the speed of memory. Codes arrive at some 5 (8 bits) or 10 (4 bits) a cycle and core; making a
// float of each takes three instructions for 16 codes, which is too slow for 4 bits. So x comes to the codes:
// 16-bit integers with a scale for each 128 inputs ("block floating point": more mantissa than binary16 has,
// for all but the smallest of a block). A product is then integer, two a lane and instruction, exact until
// the block ends.
//
// Codes are never moved, only shifted and masked within 16-bit words; it is x that is rearranged, once.

namespace lab04 {

// Declared where they are called: the lab's contract has the plain names alone.
bool matvec_w8a16_fast(kit::TensorView<const std::int8_t> w, std::span<const float> scales,
                       std::span<const float> x, std::span<float> y);
bool matvec_w4a16_fast(const GroupQuantized& w, std::span<const float> x, std::span<float> y);

#if HWY_TARGET == HWY_SCALAR
// No vectors, nothing to gain.
bool matvec_w8a16_fast(kit::TensorView<const std::int8_t> /*w*/, std::span<const float> /*scales*/,
                       std::span<const float> /*x*/, std::span<float> /*y*/) {
  return false;
}
bool matvec_w4a16_fast(const GroupQuantized& /*w*/, std::span<const float> /*x*/, std::span<float> /*y*/) {
  return false;
}
#else

namespace {

namespace hn = hwy::HWY_NAMESPACE;
using Words = hn::ScalableTag<std::int16_t>;
using Sums = hn::Repartition<std::int32_t, Words>;
using Floats = hn::Repartition<float, Words>;

/// Inputs that share a scale.
constexpr std::int64_t kBlock = 128;
/// Rows at a time: a vector of x that was loaded serves all of them.
constexpr int kRows = 4;
/// Below this many multiply-adds waking another core costs more than it saves.
constexpr std::int64_t kSerialWork = 192 * 1024;
constexpr std::int64_t kLanes = hn::MaxLanes(Words());
constexpr std::int64_t kVectorBytes = 2 * kLanes;

/// 128 inputs to 16 bits; their scale, and the sum of what they now are.
void round_block(const float* x, std::int16_t* rounded, float& scale, float& sum) {
  float largest = 0.0F;
#pragma omp simd reduction(max : largest)
  for (std::int64_t i = 0; i < kBlock; ++i) largest = std::max(largest, std::abs(x[i]));
  scale = largest > 0.0F ? largest / 32767.0F : 1.0F;
  const float steps = 1.0F / scale;
  std::int32_t total = 0;
#pragma omp simd reduction(+ : total)
  for (std::int64_t i = 0; i < kBlock; ++i) {
    const auto code = static_cast<std::int32_t>(std::nearbyint(x[i] * steps));
    rounded[i] = static_cast<std::int16_t>(code);
    total += code;
  }
  sum = scale * static_cast<float>(total);
}

/// x in 16 bits, as the codes meet it: a word of codes holds kPerWord neighbours, a vector kLanes words.
template <int kPerWord>
struct Inputs {
  static constexpr std::int64_t kVectors = kBlock / (kPerWord * kLanes);  // of codes, in a block
  static_assert(kVectors >= 1, "a vector holds more codes than a block");

  kit::AlignedVector<std::int16_t> codes;  // [n_blocks, kVectors, kPerWord, kLanes]
  std::vector<float> scales;               // [n_blocks], and zeros to a whole vector
  std::vector<float> sums;                 // [n_blocks], of the rounded inputs; as above

  std::int64_t n_blocks() const { return static_cast<std::int64_t>(codes.size()) / kBlock; }

  explicit Inputs(std::span<const float> x) : codes(x.size()) {
    const auto lanes = static_cast<std::int64_t>(hn::MaxLanes(Floats()));
    scales.resize(static_cast<std::size_t>((n_blocks() + lanes - 1) / lanes * lanes));
    sums.resize(scales.size());
    for (std::int64_t b = 0; b < n_blocks(); ++b) {
      std::array<std::int16_t, kBlock> rounded;
      round_block(x.data() + b * kBlock, rounded.data(), scales[b], sums[b]);
      for (std::int64_t v = 0; v < kVectors; ++v) {
        deal(rounded.data() + v * kPerWord * kLanes, codes.data() + b * kBlock + v * kPerWord * kLanes);
      }
    }
  }

  /// kPerWord * kLanes neighbours, to one vector for each place in a word.
  static void deal(const std::int16_t* from, std::int16_t* to) {
    const Words d;
    hn::Vec<Words> v0, v1, v2, v3;
    if constexpr (kPerWord == 2) {
      hn::LoadInterleaved2(d, from, v0, v1);
    } else {
      hn::LoadInterleaved4(d, from, v0, v1, v2, v3);
      hn::Store(v2, d, to + 2 * kLanes);
      hn::Store(v3, d, to + 3 * kLanes);
    }
    hn::Store(v0, d, to);
    hn::Store(v1, d, to + kLanes);
  }
};

/// Neighbour j of every word, as a number: signed for 8 bits, code + 8 or the unsigned code for 4.
template <int kPerWord, int j>
hn::Vec<Words> codes_at(hn::Vec<Words> words, hn::Vec<Words> flip) {
  if constexpr (kPerWord == 4) {
    return hn::Xor(hn::And(hn::ShiftRight<4 * j>(words), hn::Set(Words(), 15)), flip);
  } else if constexpr (j == 0) {
    return hn::ShiftRight<8>(hn::ShiftLeft<8>(words));
  } else {
    return hn::ShiftRight<8>(words);
  }
}

/// even + odd += the products of neighbouring words, added in pairs.
void add_products(hn::Vec<Words> codes, hn::Vec<Words> x, hn::Vec<Sums>& even,
                  [[maybe_unused]] hn::Vec<Sums>& odd) {
#if HWY_TARGET == HWY_AVX3_DL
  even.raw = _mm512_dpwssd_epi32(even.raw, codes.raw, x.raw);  // Highway 1.0 takes two instructions
#else
  even = hn::ReorderWidenMulAccumulate(Sums(), codes, x, even, odd);
#endif
}

/// The same for a vector of codes and all its neighbours' vectors of x.
template <int kPerWord, int j = 0>
void add_codes(hn::Vec<Words> words, hn::Vec<Words> flip, const std::int16_t* x, hn::Vec<Sums>& even,
               hn::Vec<Sums>& odd) {
  add_products(codes_at<kPerWord, j>(words, flip), hn::Load(Words(), x + j * kLanes), even, odd);
  if constexpr (j + 1 < kPerWord) add_codes<kPerWord, j + 1>(words, flip, x, even, odd);
}

/// sums[r] = totals[r] + sum over blocks b of scales[r, b] * (codes of row r, block b) . x, for N rows.
/// totals are in lanes; scales: [N, scales_stride].
template <int kPerWord, int N>
void multiply(const std::uint8_t* codes, std::int64_t row_bytes, std::int16_t flip, const float* scales,
              std::int64_t scales_stride, const Inputs<kPerWord>& x, hn::Vec<Floats>* totals, float* sums) {
  const auto flips = hn::Set(Words(), flip);
  const std::int16_t* inputs = x.codes.data();
  for (std::int64_t b = 0; b < x.n_blocks(); ++b) {
    hn::Vec<Sums> even[N];
    hn::Vec<Sums> odd[N];
#pragma GCC unroll 8
    for (int r = 0; r < N; ++r) even[r] = odd[r] = hn::Zero(Sums());
#pragma GCC unroll 8
    for (int v = 0; v < Inputs<kPerWord>::kVectors; ++v) {
#pragma GCC unroll 8
      for (int r = 0; r < N; ++r) {
        const std::uint8_t* from = codes + r * row_bytes;
        // The prefetcher of the hardware stops at the end of a page; this asks for the next N rows.
        __builtin_prefetch(from + N * row_bytes, 0, 2);
        const auto words = hn::LoadU(Words(), reinterpret_cast<const std::int16_t*>(from));
        add_codes<kPerWord>(words, flips, inputs, even[r], odd[r]);
      }
      codes += kVectorBytes;
      inputs += kPerWord * kLanes;
    }
#pragma GCC unroll 8
    for (int r = 0; r < N; ++r) {
      const auto scale = hn::Set(Floats(), scales[r * scales_stride + b]);
      totals[r] = hn::MulAdd(scale, hn::ConvertTo(Floats(), hn::Add(even[r], odd[r])), totals[r]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < N; ++r) sums[r] = hn::GetLane(hn::SumOfLanes(Floats(), totals[r]));
}

#if HWY_TARGET == HWY_AVX3_DL
// 8 bits without any shift, where the machine multiplies bytes (VNNI), one of them unsigned, and adds four
// products a lane: x = 256 * high + low, so c * x = 256 * (c + 128) * high + c * low, less a constant of x. A
// lane adds eight products of a block: below 2^27.
struct ByteInputs {
  kit::AlignedVector<std::int8_t> high;  // [cols]
  kit::AlignedVector<std::uint8_t> low;  // [cols]
  std::vector<float> scales;             // [n_blocks]
  float offset = 0.0F;                   // what the 128 adds to every row

  explicit ByteInputs(std::span<const float> x)
      : high(x.size()), low(x.size()), scales(x.size() / static_cast<std::size_t>(kBlock)) {
    for (std::size_t b = 0; b < scales.size(); ++b) {
      std::array<std::int16_t, kBlock> rounded;
      float sum = 0.0F;
      const std::size_t first = b * rounded.size();
      round_block(x.data() + first, rounded.data(), scales[b], sum);
      std::int8_t* blocks_high = high.data() + first;
      std::uint8_t* blocks_low = low.data() + first;
      std::int32_t total = 0;
#pragma omp simd reduction(+ : total)
      for (std::int64_t i = 0; i < kBlock; ++i) {
        blocks_high[i] = static_cast<std::int8_t>(rounded[i] >> 8);
        blocks_low[i] = static_cast<std::uint8_t>(rounded[i]);
        total += rounded[i] >> 8;
      }
      offset += scales[b] * 128.0F * 256.0F * static_cast<float>(total);
    }
  }
};

/// sums[r] = codes of row r . x, for N rows.
template <int N>
void multiply_bytes(const std::int8_t* codes, std::int64_t row_bytes, const ByteInputs& x, float* sums) {
  constexpr std::int64_t kBytes = 64;
  static_assert(kBlock == 2 * kBytes);
  const __m512i flip = _mm512_set1_epi8(-128);
  __m512 totals[N];
  for (int r = 0; r < N; ++r) totals[r] = _mm512_setzero_ps();
  for (std::size_t b = 0; b < x.scales.size(); ++b) {
    const std::size_t first = b * kBlock;
    const __m512i high[2] = {_mm512_load_si512(&x.high[first]), _mm512_load_si512(&x.high[first + kBytes])};
    const __m512i low[2] = {_mm512_load_si512(&x.low[first]), _mm512_load_si512(&x.low[first + kBytes])};
    const __m512 scale = _mm512_set1_ps(x.scales[b]);
#pragma GCC unroll 8
    for (int r = 0; r < N; ++r) {
      const std::int8_t* from = codes + r * row_bytes;
      __builtin_prefetch(from + N * row_bytes, 0, 2);  // see multiply()
      __builtin_prefetch(from + N * row_bytes + kBytes, 0, 2);
      const __m512i c[2] = {_mm512_loadu_si512(from), _mm512_loadu_si512(from + kBytes)};
      __m512i sum = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_xor_si512(c[0], flip), high[0]);
      sum = _mm512_slli_epi32(_mm512_dpbusd_epi32(sum, _mm512_xor_si512(c[1], flip), high[1]), 8);
      sum = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(sum, low[0], c[0]), low[1], c[1]);
      totals[r] = _mm512_fmadd_ps(scale, _mm512_cvtepi32_ps(sum), totals[r]);
    }
    codes += kBlock;
  }
#pragma GCC unroll 8
  for (int r = 0; r < N; ++r) sums[r] = _mm512_reduce_add_ps(totals[r]) - x.offset;
}
#endif

/// run(row, N) for kRows rows at a time and for each that is left, on all cores.
template <class Run>
void for_rows(std::int64_t rows, std::int64_t cols, std::int64_t n_scratch, const Run& run) {
  const std::int64_t enough = kSerialWork / std::max<std::int64_t>(cols, 1) + 1;
  kit::parallel_for(rows, (enough + kRows - 1) / kRows * kRows, [&](std::int64_t row, std::int64_t end) {
    kit::AlignedVector<float> scratch(static_cast<std::size_t>(n_scratch));
    for (; row + kRows <= end; row += kRows) run(row, std::integral_constant<int, kRows>(), scratch.data());
    for (; row < end; ++row) run(row, std::integral_constant<int, 1>(), scratch.data());
  });
}

/// Scales and zero points of a row, for each block of x. Groups of more than a block have theirs repeated.
struct Int4Scales {
  const GroupQuantized& w;
  const Inputs<4>& x;
  std::int64_t blocks_per_group;

  /// Writes the products of the row's and x's scales. Returns what the zero points take away, in lanes.
  hn::Vec<Floats> decode(std::int64_t row, float* scales) const {
    const Floats d;
    const hn::Rebind<hwy::float16_t, Floats> halves;
    const hn::Rebind<std::uint16_t, Floats> bits;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    auto offset = hn::Zero(d);
    for (std::int64_t b = 0; b < x.n_blocks(); b += lanes) {
      const std::int64_t n = std::min(lanes, x.n_blocks() - b);
      std::array<std::uint16_t, hn::MaxLanes(d)> in_bits{};
      const std::int64_t first = row * w.n_groups() + b / blocks_per_group;
      if (blocks_per_group == 1 && n == lanes) {
        std::memcpy(in_bits.data(), w.scales.data() + first, sizeof in_bits);
      } else {
        for (std::int64_t l = 0; l < n; ++l)
          in_bits[l] = w.scales[row * w.n_groups() + (b + l) / blocks_per_group].bits;
      }
      const auto scale = hn::PromoteTo(d, hn::BitCast(halves, hn::LoadU(bits, in_bits.data())));
      auto zero_point = hn::Set(d, 8.0F);
      if (!w.config.symmetric) {
        std::array<float, hn::MaxLanes(d)> in_floats{};
        for (std::int64_t l = 0; l < n; ++l)
          in_floats[l] = w.zero_points[row * w.n_groups() + (b + l) / blocks_per_group];
        zero_point = hn::LoadU(d, in_floats.data());
      }
      offset = hn::NegMulAdd(hn::Mul(scale, zero_point), hn::LoadU(d, x.sums.data() + b), offset);
      hn::StoreU(hn::Mul(scale, hn::LoadU(d, x.scales.data() + b)), d, scales + b);
    }
    return offset;
  }
};

}  // namespace

bool matvec_w8a16_fast(kit::TensorView<const std::int8_t> w, std::span<const float> scales,
                       std::span<const float> x, std::span<float> y) {
  const std::int64_t cols = w.dim(1);
  if (cols % kBlock != 0) return false;
#if HWY_TARGET == HWY_AVX3_DL
  const ByteInputs inputs(x);
  for_rows(w.dim(0), cols, 0, [&](std::int64_t row, auto n, float* /*scratch*/) {
    multiply_bytes<n>(w.data() + row * cols, cols, inputs, y.data() + row);
    for (std::int64_t r = row; r < row + n; ++r) y[r] *= scales[r];
  });
#else
  const Inputs<2> inputs(x);
  const auto* codes = reinterpret_cast<const std::uint8_t*>(w.data());
  for_rows(w.dim(0), cols, 0, [&](std::int64_t row, auto n, float* /*scratch*/) {
    hn::Vec<Floats> totals[n];
    for (int r = 0; r < n; ++r) totals[r] = hn::Zero(Floats());
    multiply<2, n>(codes + row * cols, cols, 0, inputs.scales.data(), 0, inputs, totals, y.data() + row);
    for (std::int64_t r = row; r < row + n; ++r) y[r] *= scales[r];
  });
#endif
  return true;
}

bool matvec_w4a16_fast(const GroupQuantized& w, std::span<const float> x, std::span<float> y) {
  const bool whole_groups = w.n_groups() == 1 || w.config.group_size % kBlock == 0;
  if (w.cols == 0 || w.cols % kBlock != 0 || !whole_groups) return false;
  const Inputs<4> inputs(x);
  const Int4Scales groups{w, inputs, w.n_groups() == 1 ? inputs.n_blocks() : w.config.group_size / kBlock};
  // Two's complement with its sign bit flipped is the code plus 8.
  const auto flip = static_cast<std::int16_t>(w.config.symmetric ? 8 : 0);
  const auto stride = static_cast<std::int64_t>(inputs.scales.size());
  for_rows(w.rows, w.cols, kRows * stride, [&](std::int64_t row, auto n, float* scales) {
    hn::Vec<Floats> totals[n];
    for (int r = 0; r < n; ++r) totals[r] = groups.decode(row + r, scales + r * stride);
    multiply<4, n>(w.codes.data() + row * w.row_bytes(), w.row_bytes(), flip, scales, stride, inputs, totals,
                   y.data() + row);
  });
  return true;
}

#endif

}  // namespace lab04
