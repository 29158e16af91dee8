#include "kit/linear.h"

// Static dispatch: KIT_NATIVE names the machine. Scalable vectors cannot be array elements; NEON serves those
// machines.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#define HWY_COMPILE_ONLY_STATIC
#include <hwy/highway.h>
// After highway.h, which it extends.
#include <hwy/contrib/math/math-inl.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "kit/parallel.h"
#include "unroll.h"

// The order of every sum, whatever n, the tile or the number of threads: lane l of one vector adds x[k] *
// w[k] for k = l, l + lanes, l + 2 lanes, ... in turn (a ragged end is padded with zeros), then reduce_rows()
// adds the lanes. Everything else here (tiles, blocks, threads) only decides when a product is added, never
// in which order.

namespace kit {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using Lanes = hn::ScalableTag<float>;
using Vector = hn::Vec<Lanes>;

constexpr std::int64_t kLanes = hn::MaxLanes(Lanes());
static_assert(kLanes == 1 || kLanes >= 4, "reduce_rows() adds blocks of four lanes");

// A tile is kRows rows of W by up to kTokens tokens: kRows * kTokens sums stay in registers, and each vector
// of W or x loaded serves kTokens or kRows of them. 4 x 6 fills 24 of the 32 registers of AVX-512 and NEON, 4
// x 2 suits AVX2's 16.
constexpr int kRows = 4;
constexpr int kTokens = (HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_SSE4 || HWY_TARGET == HWY_SSSE3) ? 2 : 6;
// Long rows are cut, so that a tile's pieces of W and x (40 KiB) stay in the first-level cache.
constexpr std::int64_t kBlockInputs = 1024;
// Tokens are cut, so that their part of x stays in the second-level cache while W streams by.
constexpr std::int64_t kTokenBlockBytes = 768 * 1024;
// Below this many multiply-adds waking another core costs more than it saves.
constexpr std::int64_t kSerialWork = 192 * 1024;

struct Problem {
  const float* x;  // [n, in]
  const float* w;  // [out, in]
  float* y;        // [n, out]
  std::int64_t n, in, out;
};

/// The first `count` < kLanes elements, the rest zero.
Vector load_ragged(const float* from, std::int64_t count) {
  alignas(64) std::array<float, kLanes> padded{};
  std::memcpy(padded.data(), from, static_cast<std::size_t>(count) * sizeof(float));
  return hn::Load(Lanes(), padded.data());
}

#if HWY_TARGET == HWY_SCALAR
/// One lane: nothing to add.
void reduce_rows(const std::array<Vector, kRows>& v, float* out) {
  KIT_UNROLL
  for (int r = 0; r < kRows; ++r) out[r] = hn::GetLane(v[r]);
}
#else
/// Adds the 128-bit blocks of a vector into one.
template <class D>
auto sum_blocks(D /*d*/, hn::Vec<D> v) {
  if constexpr (hn::MaxLanes(D()) == 4) {
    return v;
  } else {
    const hn::Half<D> half;
    return sum_blocks(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  }
}

/// Sums the lanes of four vectors into out[0..3]: a transpose costs half the shuffles of four single sums.
void reduce_rows(const std::array<Vector, kRows>& v, float* out) {
  const Lanes d;
  const hn::RepartitionToWide<Lanes> wide;
  const auto ab = hn::Add(hn::InterleaveLower(d, v[0], v[1]), hn::InterleaveUpper(d, v[0], v[1]));
  const auto cd = hn::Add(hn::InterleaveLower(d, v[2], v[3]), hn::InterleaveUpper(d, v[2], v[3]));
  const auto ab_wide = hn::BitCast(wide, ab);
  const auto cd_wide = hn::BitCast(wide, cd);
  const auto low = hn::BitCast(d, hn::InterleaveLower(wide, ab_wide, cd_wide));
  const auto high = hn::BitCast(d, hn::InterleaveUpper(wide, ab_wide, cd_wide));
  hn::StoreU(sum_blocks(d, hn::Add(low, high)), hn::FixedTag<float, kRows>(), out);
}
#endif

template <int T>
using Sums = std::array<std::array<Vector, kRows>, T>;

using RowPointers = std::array<const float*, kRows>;

/// Writes row sums of one tile to y; the rows at or past `p.out` were only padding.
template <int T>
void store_tile(const Problem& p, std::int64_t row, std::int64_t token, const Sums<T>& sums) {
  const std::int64_t n_rows = std::min<std::int64_t>(kRows, p.out - row);
  KIT_UNROLL
  for (int t = 0; t < T; ++t) {
    std::array<float, kRows> values;
    reduce_rows(sums[t], values.data());
    std::memcpy(p.y + (token + t) * p.out + row, values.data(),
                static_cast<std::size_t>(n_rows) * sizeof(float));
  }
}

/// Adds inputs [begin, end) to the sums of rows `row`.. by tokens `token`... Between two blocks of inputs the
/// sums rest in `partial` [T, kRows, kLanes]; after the last they go to y.
template <int T>
void run_tile(const Problem& p, std::int64_t row, std::int64_t token, std::int64_t begin, std::int64_t end,
              float* partial) {
  const Lanes d;
  RowPointers w;
  KIT_UNROLL
  for (int r = 0; r < kRows; ++r) w[r] = p.w + std::min(row + r, p.out - 1) * p.in;
  const float* x = p.x + token * p.in;

  Sums<T> sums;
  KIT_UNROLL
  for (int t = 0; t < T; ++t) {
    KIT_UNROLL
    for (int r = 0; r < kRows; ++r) {
      sums[t][r] = begin == 0 ? hn::Zero(d) : hn::Load(d, partial + (t * kRows + r) * kLanes);
    }
  }
  const auto add = [&](const std::array<Vector, kRows>& w_k, const auto& load_x) {
    KIT_UNROLL
    for (int t = 0; t < T; ++t) {
      const Vector x_k = load_x(t);
      KIT_UNROLL
      for (int r = 0; r < kRows; ++r) sums[t][r] = hn::MulAdd(w_k[r], x_k, sums[t][r]);
    }
  };
  std::int64_t k = begin;
  for (; k + kLanes <= end; k += kLanes) {
    if constexpr (T == 1) {
      // A hardware prefetcher stops at the end of a 4 KiB page; this one asks for the next tile's rows, into
      // the second-level cache: the first would throw them out again before their turn.
      KIT_UNROLL
      for (int r = 0; r < kRows; ++r) __builtin_prefetch(w[r] + k + kRows * p.in, 0, 2);
    }
    add({hn::LoadU(d, w[0] + k), hn::LoadU(d, w[1] + k), hn::LoadU(d, w[2] + k), hn::LoadU(d, w[3] + k)},
        [&](int t) { return hn::LoadU(d, x + t * p.in + k); });
  }
  if (k < end) {
    const std::int64_t count = end - k;
    add({load_ragged(w[0] + k, count), load_ragged(w[1] + k, count), load_ragged(w[2] + k, count),
         load_ragged(w[3] + k, count)},
        [&](int t) { return load_ragged(x + t * p.in + k, count); });
  }
  if (end == p.in) return store_tile<T>(p, row, token, sums);
  KIT_UNROLL
  for (int t = 0; t < T; ++t) {
    KIT_UNROLL
    for (int r = 0; r < kRows; ++r) hn::Store(sums[t][r], d, partial + (t * kRows + r) * kLanes);
  }
}

using RunTile = void (*)(const Problem&, std::int64_t, std::int64_t, std::int64_t, std::int64_t, float*);

template <int... I>
constexpr std::array<RunTile, sizeof...(I)> make_tiles(std::integer_sequence<int, I...>) {
  return {run_tile<I + 1>...};
}
/// kRunTile[T - 1] handles T tokens.
constexpr auto kRunTile = make_tiles(std::make_integer_sequence<int, kTokens>());

/// Tokens [token_begin, token_end) of rows [row_begin, row_end).
void run_block(const Problem& p, std::int64_t row_begin, std::int64_t row_end, std::int64_t token_begin,
               std::int64_t token_end, float* partial) {
  // With one tile of tokens there is nothing to keep in the cache, and one long stream is faster than pieces.
  const std::int64_t block = token_end - token_begin <= kTokens ? p.in : kBlockInputs;
  for (std::int64_t row = row_begin; row < row_end; row += kRows) {
    for (std::int64_t begin = 0; begin < p.in; begin += block) {
      const std::int64_t end = std::min(p.in, begin + block);
      for (std::int64_t token = token_begin; token < token_end; token += kTokens) {
        const std::int64_t n_tokens = std::min<std::int64_t>(kTokens, token_end - token);
        kRunTile[n_tokens - 1](p, row, token, begin, end, partial + (token - token_begin) * kRows * kLanes);
      }
    }
  }
}

void run_rows(const Problem& p, std::int64_t row_begin, std::int64_t row_end) {
  const std::int64_t row_bytes = p.in * static_cast<std::int64_t>(sizeof(float));
  const std::int64_t tiles = std::clamp<std::int64_t>(kTokenBlockBytes / (kTokens * row_bytes), 1, 64);
  const std::int64_t token_block = std::min(p.n, tiles * kTokens);
  AlignedVector<float> partial;
  if (token_block > kTokens) partial.resize(static_cast<std::size_t>(token_block * kRows * kLanes));
  for (std::int64_t token = 0; token < p.n; token += token_block) {
    run_block(p, row_begin, row_end, token, std::min(p.n, token + token_block), partial.data());
  }
}

/// `count` items of `work` multiply-adds each: items a thread should take at least, a multiple of `multiple`.
std::int64_t grain_for(std::int64_t work, std::int64_t multiple) {
  const std::int64_t items = (kSerialWork - 1) / std::max<std::int64_t>(work, 1) + 1;
  return ((items - 1) / multiple + 1) * multiple;
}

void rms_norm_row(const float* x, const float* gain, float eps, float* out, std::int64_t dim) {
  const Lanes d;
  Vector squares = hn::Zero(d);
  const std::int64_t whole = dim - dim % kLanes;
  for (std::int64_t i = 0; i < whole; i += kLanes) {
    const Vector v = hn::LoadU(d, x + i);
    squares = hn::MulAdd(v, v, squares);
  }
  if (whole < dim) {
    const Vector v = load_ragged(x + whole, dim - whole);
    squares = hn::MulAdd(v, v, squares);
  }
  const float sum = hn::GetLane(hn::SumOfLanes(d, squares));
  const float scale = 1.0F / std::sqrt(sum / static_cast<float>(dim) + eps);
  for (std::int64_t i = 0; i < dim; ++i) out[i] = x[i] * scale * gain[i];
}

/// silu(gate) * up on one vector.
Vector swiglu_vector(Vector gate, Vector up) {
  const Lanes d;
  // Exp is wrong where its result overflows. A NaN that Min hides comes back with the division.
  const Vector exponent = hn::Min(hn::Neg(gate), hn::Set(d, 88.0F));
  const Vector denominator = hn::Add(hn::Set(d, 1.0F), hn::Exp(d, exponent));
  return hn::Mul(hn::Div(gate, denominator), up);
}

void swiglu_range(float* gate, const float* up, std::int64_t n) {
  const Lanes d;
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    hn::StoreU(swiglu_vector(hn::LoadU(d, gate + i), hn::LoadU(d, up + i)), d, gate + i);
  }
  if (i == n) return;
  alignas(64) std::array<float, kLanes> last;
  hn::Store(swiglu_vector(load_ragged(gate + i, n - i), load_ragged(up + i, n - i)), d, last.data());
  std::memcpy(gate + i, last.data(), static_cast<std::size_t>(n - i) * sizeof(float));
}

}  // namespace

void linear(TensorView<const float> x, TensorView<const float> w, TensorView<float> y) {
  KIT_CHECK(x.rank() == 2 && w.rank() == 2 && y.rank() == 2 && x.dim(1) == w.dim(1) && y.dim(0) == x.dim(0) &&
                y.dim(1) == w.dim(0),
            "linear: x {} (n, in), w {} (out, in) and y {} (n, out) do not fit", x.shape().to_string(),
            w.shape().to_string(), y.shape().to_string());
  const Problem p{x.data(), w.data(), y.data(), x.dim(0), x.dim(1), w.dim(0)};
  if (p.n == 0 || p.out == 0) return;
  if (p.in == 0) {
    std::fill_n(p.y, p.n * p.out, 0.0F);
    return;
  }
  parallel_for(p.out, grain_for(p.n * p.in, kRows),
               [&](std::int64_t begin, std::int64_t end) { run_rows(p, begin, end); });
}

void rms_norm(TensorView<const float> x, TensorView<const float> gain, float eps, TensorView<float> out) {
  KIT_CHECK(x.rank() == 2 && x.shape() == out.shape() && gain.rank() == 1 && gain.dim(0) == x.dim(1),
            "rms_norm: x {} (n, dim), gain {} (dim) and out {} (n, dim) do not fit", x.shape().to_string(),
            gain.shape().to_string(), out.shape().to_string());
  const std::int64_t dim = x.dim(1);
  if (dim == 0) return;
  parallel_for(x.dim(0), grain_for(dim, 1), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      rms_norm_row(x.data() + t * dim, gain.data(), eps, out.data() + t * dim, dim);
    }
  });
}

void swiglu(TensorView<float> gate, TensorView<const float> up) {
  KIT_CHECK(gate.rank() == 2 && gate.shape() == up.shape(),
            "swiglu: gate {} and up {} are not [n, hidden_dim] both", gate.shape().to_string(),
            up.shape().to_string());
  // An exponential and a division cost about as much as eight multiply-adds.
  parallel_for(gate.size(), grain_for(8, kLanes), [&](std::int64_t begin, std::int64_t end) {
    swiglu_range(gate.data() + begin, up.data() + begin, end - begin);
  });
}

}  // namespace kit
