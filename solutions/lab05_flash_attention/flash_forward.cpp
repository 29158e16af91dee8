#include "lab05/flash_forward.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <memory>

#include "kit/parallel.h"

// The algorithm in plain loops. The variant whose products run in registers, for all queries of a tile at
// once, is solutions/lab05_flash_attention_fast/flash_forward.cpp.

namespace lab05 {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
/// Below this many multiply-adds waking another core costs more than it saves.
constexpr std::int64_t kSerialWork = 192 * 1024;

struct Problem {
  kit::TensorView<const float> q, k, v;
  kit::TensorView<float> out, log_sum_exp;
  FlashConfig config;
  std::int64_t br, bc;  // no larger than the lengths

  std::int64_t position(std::int64_t i) const { return i + k.dim(0) - q.dim(0); }
  /// The keys that query i sees: first_key(i) .. end_key(i) - 1. Both grow with i.
  std::int64_t first_key(std::int64_t i) const {
    return config.window == 0 ? 0 : std::max<std::int64_t>(0, position(i) - config.window + 1);
  }
  std::int64_t end_key(std::int64_t i) const {
    return config.causal ? std::max<std::int64_t>(0, position(i) + 1) : k.dim(0);
  }
};

/// What one thread needs for a tile of queries; on a GPU it would be on chip.
struct Workspace {
  float* scores;  // [bc]            of one query
  float* o;       // [br, head_dim]  not yet divided by l
  float* m;       // [br]            running maximum of the scores
  float* l;       // [br]            running sum of exp(score - m)

  static std::int64_t size(const Problem& p) { return p.bc + p.br * (p.q.dim(2) + 2); }
  Workspace(const Problem& p, float* data)
      : scores(data), o(scores + p.bc), m(o + p.br * p.q.dim(2)), l(m + p.br) {}
};

float dot(const float* a, const float* b, std::int64_t n) {
  float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t t = 0; t < n; ++t) sum += a[t] * b[t];
  return sum;
}

/// Takes the scores of n > 0 more keys, and their values (rows of v, `stride` apart), into one query's m, l
/// and o.
void take(const float* scores, std::int64_t n, const float* v, std::int64_t stride, std::int64_t head_dim,
          float& m, float& l, float* o) {
  const float m_before = m;
  m = std::max(m, *std::max_element(scores, scores + n));
  const float alpha = std::exp(m_before - m);  // exp(-infinity) = 0 before the first key
  l *= alpha;
  for (std::int64_t t = 0; t < head_dim; ++t) o[t] *= alpha;
  for (std::int64_t j = 0; j < n; ++j) {
    const float probability = std::exp(scores[j] - m);
    l += probability;
    const float* const value = v + j * stride;
#pragma omp simd
    for (std::int64_t t = 0; t < head_dim; ++t) o[t] += probability * value[t];
  }
}

/// Queries i0 .. i0 + n - 1 of one head: algorithm 1 of FlashAttention-2, lines 3 to 15.
void attend(const Problem& p, const Workspace& w, std::int64_t head, std::int64_t i0, std::int64_t n) {
  const std::int64_t d = p.q.dim(2);
  const std::int64_t kv_head = head / (p.q.dim(1) / p.k.dim(1));
  const std::int64_t stride = p.k.dim(1) * d;
  const float* const k = p.k.data() + kv_head * d;
  const float* const v = p.v.data() + kv_head * d;
  const float scale = 1.0F / std::sqrt(static_cast<float>(d));
  std::fill_n(w.o, n * d, 0.0F);
  std::fill_n(w.l, n, 0.0F);
  std::fill_n(w.m, n, -kInfinity);

  // Tiles before the first query's window, or behind the last query's position, are not visited. A tile of
  // keys and values is read from memory for the first of n queries and from the cache for the others.
  for (std::int64_t j0 = p.first_key(i0); j0 < p.end_key(i0 + n - 1); j0 += p.bc) {
    for (std::int64_t i = 0; i < n; ++i) {
      // What a query sees is one piece: no mask, and no score of -infinity.
      const std::int64_t first = std::max(j0, p.first_key(i0 + i));
      const std::int64_t end = std::min(j0 + p.bc, p.end_key(i0 + i));
      if (first >= end) continue;
      const float* const q = &p.q(i0 + i, head, 0);
      for (std::int64_t j = first; j < end; ++j) w.scores[j - first] = scale * dot(q, k + j * stride, d);
      take(w.scores, end - first, v + first * stride, stride, d, w.m[i], w.l[i], w.o + i * d);
    }
  }

  for (std::int64_t i = 0; i < n; ++i) {
    const float l = w.l[i];
    const float inverse = l > 0.0F ? 1.0F / l : 0.0F;  // no key seen: o is 0, and ln(0) is -infinity
    for (std::int64_t t = 0; t < d; ++t) p.out(i0 + i, head, t) = w.o[i * d + t] * inverse;
    p.log_sum_exp(i0 + i, head) = l > 0.0F ? w.m[i] + std::log(l) : -kInfinity;
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
  Problem p{q, k, v, out, log_sum_exp, config, 0, 0};
  p.br = std::min<std::int64_t>(config.br, q.dim(0));
  p.bc = std::clamp<std::int64_t>(config.bc, 1, std::max<std::int64_t>(k.dim(0), 1));

  const std::int64_t n_tiles = (q.dim(0) + p.br - 1) / p.br;
  const std::int64_t n_jobs = n_tiles * q.dim(1);
  const bool serial = q.size() * k.dim(0) < kSerialWork;
  const std::int64_t n_workers = serial ? 1 : std::min<std::int64_t>(n_jobs, kit::n_threads());
  const std::int64_t stride = Workspace::size(p);
  const std::size_t n_bytes = static_cast<std::size_t>(n_workers * stride) * sizeof(float);
  const auto give_back = [&](float* data) { scratch.deallocate(data, n_bytes, alignof(float)); };
  const std::unique_ptr<float, decltype(give_back)> data(
      static_cast<float*>(scratch.allocate(n_bytes, alignof(float))), give_back);

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
