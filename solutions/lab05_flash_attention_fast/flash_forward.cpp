#include "lab05/flash_forward.h"

// Static dispatch: KIT_NATIVE names the machine. Scalable vectors cannot be array elements; NEON serves those
// machines.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#define HWY_COMPILE_ONLY_STATIC
#include <hwy/highway.h>
// After highway.h, which chooses the instructions.
#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <limits>
#include <memory>
#include <numbers>

#include "kit/parallel.h"

// The fast variant of solutions/lab05_flash_attention/flash_forward.cpp, which is to be read first: the same
// algorithm by vector registers.
//
// All tiles lie transposed: the queries of a tile are the columns, and a vector register holds one number of
// 16 neighbouring queries. Then
//   S^T [Bc, Br] = K [Bc, d] Q^T [d, Br]   and   O^T [d, Br] = O^T alpha + V^T [d, Bc] P^T [Bc, Br]
// are the same product, K and V are read where they lie, one number at a time for 64 queries, and m, l and
// alpha are vectors over the queries: no sum or maximum ever runs across a register. Only Q is copied, once a
// query tile. A tile of one query pays for 16: decoding is task 7's.

namespace lab05 {

namespace {

namespace hn = hwy::HWY_NAMESPACE;
using Lanes = hn::ScalableTag<float>;
using Vector = hn::Vec<Lanes>;
constexpr std::int64_t kLanes = hn::MaxLanes(Lanes());
constexpr float kInfinity = std::numeric_limits<float>::infinity();
/// Below this many multiply-adds waking another core costs more than it saves.
constexpr std::int64_t kSerialWork = 192 * 1024;

// GCC at -O2 unrolls no loop over registers otherwise, and an array indexed by a variable lives in memory.
#if defined(__clang__)
#define LAB05_UNROLL _Pragma("unroll")
#else
#define LAB05_UNROLL _Pragma("GCC unroll 32")
#endif

struct Problem {
  kit::TensorView<const float> q, k, v;
  kit::TensorView<float> out, log_sum_exp;
  FlashConfig config;
  std::int64_t br, bc;   // no larger than the lengths
  std::int64_t columns;  // br rounded up to whole vectors

  std::int64_t position(std::int64_t i) const { return i + k.dim(0) - q.dim(0); }
  /// The keys that query i sees: first_key(i) .. end_key(i) - 1. Both grow with i.
  std::int64_t first_key(std::int64_t i) const {
    return config.window == 0 ? 0 : std::max<std::int64_t>(0, position(i) - config.window + 1);
  }
  std::int64_t end_key(std::int64_t i) const {
    return config.causal ? std::max<std::int64_t>(0, position(i) + 1) : k.dim(0);
  }
};

/// Temporary arrays of one thread, cut from one allocation.
struct Workspace {
  float* q;      // [head_dim, columns]  Q^T, times log2(e) / sqrt(head_dim)
  float* s;      // [bc, columns]        S^T, then P^T
  float* o;      // [head_dim, columns]  O^T, not yet divided by l
  float* m;      // [columns]            running maximum of the scores, in base 2
  float* l;      // [columns]            running sum of 2^(s - m)
  float* alpha;  // [columns]            2^(m before - m after)

  static std::int64_t size(const Problem& p) { return (2 * p.q.dim(2) + p.bc + 3) * p.columns; }
  Workspace(const Problem& p, float* data) {
    const std::int64_t d = p.q.dim(2);
    q = data;
    s = q + d * p.columns;
    o = s + p.bc * p.columns;
    m = o + d * p.columns;
    l = m + p.columns;
    alpha = l + p.columns;
  }
};

/// kRows rows and kVectors vectors of c [rows, columns] = c * factor + a b: a(r, t) = a[r * a_row + t *
/// a_step], b [depth, columns], factor [columns] or null for 0. The sums stay in registers over all of
/// `depth`.
template <int kRows, int kVectors>
void multiply_block(const float* a, std::int64_t a_row, std::int64_t a_step, const float* b,
                    std::int64_t depth, float* c, std::int64_t columns, const float* factor) {
  const Lanes lanes;
  std::array<std::array<Vector, kVectors>, kRows> sums;
  LAB05_UNROLL for (int r = 0; r < kRows; ++r) {
    LAB05_UNROLL for (int i = 0; i < kVectors; ++i) {
      sums[r][i] = factor == nullptr ? hn::Zero(lanes)
                                     : hn::Mul(hn::Load(lanes, c + r * columns + i * kLanes),
                                               hn::Load(lanes, factor + i * kLanes));
    }
  }
  for (std::int64_t t = 0; t < depth; ++t) {
    std::array<Vector, kVectors> row;
    LAB05_UNROLL for (int i = 0; i < kVectors; ++i) row[i] = hn::Load(lanes, b + t * columns + i * kLanes);
    LAB05_UNROLL for (int r = 0; r < kRows; ++r) {
      const Vector x = hn::Set(lanes, a[r * a_row + t * a_step]);
      LAB05_UNROLL for (int i = 0; i < kVectors; ++i) sums[r][i] = hn::MulAdd(x, row[i], sums[r][i]);
    }
  }
  LAB05_UNROLL for (int r = 0; r < kRows; ++r) {
    LAB05_UNROLL for (int i = 0; i < kVectors; ++i) {
      hn::Store(sums[r][i], lanes, c + r * columns + i * kLanes);
    }
  }
}

/// multiply_block for any number of rows.
template <int kVectors>
void multiply_columns(std::int64_t rows, const float* a, std::int64_t a_row, std::int64_t a_step,
                      const float* b, std::int64_t depth, float* c, std::int64_t columns,
                      const float* factor) {
  // 6 x 4 sums, 4 vectors of b and one number of a fill 29 of the 32 registers of AVX-512 and NEON.
  constexpr int kMost = 6;
  std::int64_t r = 0;
  for (; r + kMost <= rows; r += kMost)
    multiply_block<kMost, kVectors>(a + r * a_row, a_row, a_step, b, depth, c + r * columns, columns, factor);
  for (; r + 2 <= rows; r += 2)
    multiply_block<2, kVectors>(a + r * a_row, a_row, a_step, b, depth, c + r * columns, columns, factor);
  if (r < rows)
    multiply_block<1, kVectors>(a + r * a_row, a_row, a_step, b, depth, c + r * columns, columns, factor);
}

void multiply(std::int64_t rows, const float* a, std::int64_t a_row, std::int64_t a_step, const float* b,
              std::int64_t depth, float* c, std::int64_t columns, const float* factor) {
  constexpr int kVectors =
      HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_SSE4 || HWY_TARGET == HWY_SSSE3 ? 2 : 4;
  std::int64_t i = 0;
  const auto factor_at = [&] { return factor == nullptr ? nullptr : factor + i; };
  for (; i + kVectors * kLanes <= columns; i += kVectors * kLanes)
    multiply_columns<kVectors>(rows, a, a_row, a_step, b + i, depth, c + i, columns, factor_at());
  for (; i < columns; i += kLanes)
    multiply_columns<1>(rows, a, a_row, a_step, b + i, depth, c + i, columns, factor_at());
}

/// 2^x for x <= 0, also -infinity; the relative error is below 3e-7. What is below 2^-126 becomes 0.
Vector exp2(Vector x) {
  const Lanes lanes;
  const hn::RebindToSigned<Lanes> integers;
  const Vector lowest = hn::Set(lanes, -126.0F);
  const auto vanishes = hn::Lt(x, lowest);
  x = hn::Max(x, lowest);
  const Vector whole = hn::Round(x);
  const Vector part = hn::Sub(x, whole);  // -0.5 .. 0.5
  // 2^part, interpolated at the 7 Chebyshev nodes.
  constexpr std::array<float, 7> kCoefficients = {
      1.0F,           6.931472067e-1F, 2.402265092e-1F, 5.550327227e-2F, 9.618056679e-3F, 1.340042818e-3F,
      1.546144470e-4F};
  Vector y = hn::Set(lanes, kCoefficients[6]);
  LAB05_UNROLL for (int i = 5; i >= 0; --i) y = hn::MulAdd(y, part, hn::Set(lanes, kCoefficients[i]));
  // Times 2^whole: added to the exponent's bits.
  const auto exponent = hn::ShiftLeft<23>(hn::ConvertTo(integers, whole));
  y = hn::BitCast(lanes, hn::Add(hn::BitCast(integers, y), exponent));
  return hn::IfThenZeroElse(vanishes, y);
}

/// Scores to probabilities, not yet divided by l: algorithm 1, lines 9 to 10, for n_keys rows of S^T.
void update_softmax(const Problem& p, const Workspace& w, std::int64_t n_keys) {
  const Lanes lanes;
  for (std::int64_t i = 0; i < p.columns; i += kLanes) {
    const Vector m_before = hn::Load(lanes, w.m + i);
    Vector m = m_before;
    for (std::int64_t j = 0; j < n_keys; ++j) m = hn::Max(m, hn::Load(lanes, w.s + j * p.columns + i));
    // A query that has seen no key yet: -inf - -inf would be NaN, 2^(-inf - 0) is the 0 it should be.
    const Vector reference = hn::IfThenZeroElse(hn::Eq(m, hn::Set(lanes, -kInfinity)), m);
    Vector sum = hn::Zero(lanes);
    for (std::int64_t j = 0; j < n_keys; ++j) {
      float* s = w.s + j * p.columns + i;
      const Vector probability = exp2(hn::Sub(hn::Load(lanes, s), reference));
      sum = hn::Add(sum, probability);
      hn::Store(probability, lanes, s);
    }
    const Vector alpha = exp2(hn::Sub(m_before, reference));
    hn::Store(alpha, lanes, w.alpha + i);
    hn::Store(hn::MulAdd(hn::Load(lanes, w.l + i), alpha, sum), lanes, w.l + i);
    hn::Store(m, lanes, w.m + i);
  }
}

/// -infinity where queries i0 .. i0 + n - 1 do not see keys j0 .. j0 + n_keys - 1.
void mask(const Problem& p, const Workspace& w, std::int64_t i0, std::int64_t n, std::int64_t j0,
          std::int64_t n_keys) {
  const bool all_visible = p.first_key(i0 + n - 1) <= j0 && j0 + n_keys <= p.end_key(i0);
  if (all_visible) return;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t first = std::clamp<std::int64_t>(p.first_key(i0 + i) - j0, 0, n_keys);
    const std::int64_t end = std::clamp<std::int64_t>(p.end_key(i0 + i) - j0, 0, n_keys);
    for (std::int64_t j = 0; j < first; ++j) w.s[j * p.columns + i] = -kInfinity;
    for (std::int64_t j = end; j < n_keys; ++j) w.s[j * p.columns + i] = -kInfinity;
  }
}

/// Queries i0 .. i0 + n - 1 of one head: algorithm 1, lines 3 to 15.
void attend(const Problem& p, const Workspace& w, std::int64_t head, std::int64_t i0, std::int64_t n) {
  const std::int64_t d = p.q.dim(2);
  const std::int64_t kv_head = head / (p.q.dim(1) / p.k.dim(1));
  const std::int64_t kv_stride = p.k.dim(1) * d;
  const float scale = std::numbers::log2e_v<float> / std::sqrt(static_cast<float>(d));
  std::fill_n(w.q, d * p.columns, 0.0F);  // columns without a query have scores of 0, which nobody reads
  std::fill_n(w.o, d * p.columns, 0.0F);
  std::fill_n(w.l, p.columns, 0.0F);
  std::fill_n(w.m, p.columns, -kInfinity);
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t t = 0; t < d; ++t) w.q[t * p.columns + i] = scale * p.q(i0 + i, head, t);

  // Tiles in which the first query's window has not begun, or behind the last query's position, are not
  // visited.
  const std::int64_t end = p.end_key(i0 + n - 1);
  for (std::int64_t j0 = p.first_key(i0); j0 < end; j0 += p.bc) {
    const std::int64_t n_keys = std::min(p.bc, end - j0);
    const std::int64_t tile = (j0 * p.k.dim(1) + kv_head) * d;
    multiply(n_keys, p.k.data() + tile, kv_stride, 1, w.q, d, w.s, p.columns, nullptr);
    mask(p, w, i0, n, j0, n_keys);
    update_softmax(p, w, n_keys);
    multiply(d, p.v.data() + tile, 1, kv_stride, w.s, n_keys, w.o, p.columns, w.alpha);
  }

  for (std::int64_t i = 0; i < n; ++i) {
    const float l = w.l[i];
    const float inverse = l > 0.0F ? 1.0F / l : 0.0F;  // no key seen: o is 0, and log2(0) is -infinity
    for (std::int64_t t = 0; t < d; ++t) p.out(i0 + i, head, t) = w.o[t * p.columns + i] * inverse;
    p.log_sum_exp(i0 + i, head) =
        l > 0.0F ? (w.m[i] + std::log2(l)) * std::numbers::ln2_v<float> : -kInfinity;
  }
}

void check_arguments(kit::TensorView<const float> q, kit::TensorView<const float> k,
                     kit::TensorView<const float> v, const FlashConfig& config, kit::TensorView<float> out,
                     kit::TensorView<float> log_sum_exp) {
  const bool fits = q.rank() == 3 && k.rank() == 3 && v.shape() == k.shape() && out.shape() == q.shape() &&
                    q.dim(2) > 0 && k.dim(2) == q.dim(2) && k.dim(1) > 0 && q.dim(1) % k.dim(1) == 0 &&
                    log_sum_exp.shape() == kit::Shape({q.dim(0), q.dim(1)});
  KIT_CHECK(fits,
            "q {}, k {}, v {}, out {}, log_sum_exp {}: want q and out [q_len, n_heads, head_dim], k and v "
            "[kv_len, n_kv_heads, head_dim], log_sum_exp [q_len, n_heads], n_heads a multiple of n_kv_heads",
            q.shape().to_string(), k.shape().to_string(), v.shape().to_string(), out.shape().to_string(),
            log_sum_exp.shape().to_string());
  KIT_CHECK(config.br >= 1 && config.bc >= 1, "tiles of br {} by bc {}, want at least 1", config.br,
            config.bc);
  KIT_CHECK(config.window >= 0 && (config.window == 0 || config.causal),
            "window {}, causal {}: a window is positive, and causal", config.window, config.causal);
}

}  // namespace

void flash_attention(kit::TensorView<const float> q, kit::TensorView<const float> k,
                     kit::TensorView<const float> v, const FlashConfig& config,
                     std::pmr::memory_resource& scratch, kit::TensorView<float> out,
                     kit::TensorView<float> log_sum_exp) {
  check_arguments(q, k, v, config, out, log_sum_exp);
  if (q.size() == 0) return;
  Problem p{q, k, v, out, log_sum_exp, config, 0, 0, 0};
  p.br = std::min<std::int64_t>(config.br, q.dim(0));
  p.bc = std::clamp<std::int64_t>(config.bc, 1, std::max<std::int64_t>(k.dim(0), 1));
  p.columns = (p.br + kLanes - 1) / kLanes * kLanes;

  const std::int64_t n_tiles = (q.dim(0) + p.br - 1) / p.br;
  const std::int64_t n_jobs = n_tiles * q.dim(1);
  const bool serial = q.size() * k.dim(0) < kSerialWork;
  const std::int64_t n_workers = serial ? 1 : std::min<std::int64_t>(n_jobs, kit::n_threads());
  // Vectors are loaded from whole cache lines.
  constexpr std::size_t kAlignment = 64;
  const std::int64_t stride = (Workspace::size(p) + 15) / 16 * 16;
  const std::size_t n_bytes = static_cast<std::size_t>(n_workers * stride) * sizeof(float);
  const auto give_back = [&](float* data) { scratch.deallocate(data, n_bytes, kAlignment); };
  const std::unique_ptr<float, decltype(give_back)> data(
      static_cast<float*>(scratch.allocate(n_bytes, kAlignment)), give_back);

  // Tiles cost more the later they are in a causal sequence: whoever is free takes the next, long ones first.
  std::atomic<std::int64_t> next = 0;
  kit::parallel_for(n_workers, 1, [&](std::int64_t begin, std::int64_t /*end*/) {
    const Workspace workspace(p, data.get() + begin * stride);
    for (std::int64_t job = next++; job < n_jobs; job = next++) {
      const std::int64_t i0 = (n_tiles - 1 - job / q.dim(1)) * p.br;
      attend(p, workspace, job % q.dim(1), i0, std::min(p.br, q.dim(0) - i0));
    }
  });
}

}  // namespace lab05
