#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kit/model.h"
#include "kit/rng.h"
#include "kit/testing.h"
#include "lab01/memory.h"

// Closed forms that the tests compute themselves, as plainly as possible. Sizes in tests are such that
// nothing here overflows, unless a test is about that.

namespace lab01_tests {

using kit::NumberFormat;
using kit::testing::KnownCount;
using kit::testing::KnownValue;

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kSanitized = true;  // every access is checked, which is slow and unevenly so
#else
constexpr bool kSanitized = false;
#endif

constexpr double kGigabyte = 1e9;
constexpr double kGibibyte = 1024.0 * 1024.0 * 1024.0;

inline std::int64_t bits_of(NumberFormat format) {
  switch (format) {
    case NumberFormat::kFp32:
      return 32;
    case NumberFormat::kFp16:
    case NumberFormat::kBf16:
      return 16;
    case NumberFormat::kFp8:
    case NumberFormat::kInt8:
      return 8;
    case NumberFormat::kInt4:
      return 4;
  }
  return 0;
}

/// n numbers packed, the last byte filled up.
inline std::int64_t packed(std::int64_t n, NumberFormat format) {
  return (n * bits_of(format) + 7) / 8;
}

inline std::int64_t reference_weight_bytes(std::int64_t n, const lab01::WeightFormat& f) {
  if (f.group_size == 0) return packed(n, f.number);
  const std::int64_t n_groups = (n + f.group_size - 1) / f.group_size;
  return packed(n, f.number) + 2 * n_groups + (f.zero_points ? packed(n_groups, f.number) : 0);
}

inline std::int64_t reference_kv_bytes(const kit::ModelConfig& m, std::int64_t batch, std::int64_t kv_len,
                                       NumberFormat format) {
  return packed(2 * batch * kv_len * m.n_layers * m.n_kv_heads * m.head_dim, format);
}

inline std::int64_t reference_activation_bytes(const kit::ModelConfig& m, std::int64_t batch,
                                               std::int64_t q_len, NumberFormat format) {
  const std::int64_t n = batch * q_len;
  const std::int64_t attention = n * (2 * std::int64_t{m.dim} + 2 * std::int64_t{m.n_heads} * m.head_dim +
                                      2 * std::int64_t{m.n_kv_heads} * m.head_dim);
  const std::int64_t mlp = n * (2 * std::int64_t{m.dim} + 2 * std::int64_t{m.hidden_dim});
  const std::int64_t head = n * m.dim + batch * m.vocab_size;
  return std::max({attention, mlp, head}) * bits_of(format) / 8;
}

/// A whole number in [low, high].
inline int between(kit::Rng& rng, int low, int high) {
  return low + static_cast<int>(rng.below(static_cast<std::uint32_t>(high - low + 1)));
}

/// A model of random sizes with `group` query heads to a key/value head; all factors different, so that none
/// can stand in for another.
inline kit::ModelConfig random_model(kit::Rng& rng, int group) {
  kit::ModelConfig m;
  m.n_layers = between(rng, 3, 50);
  m.n_kv_heads = between(rng, 2, 9);
  m.n_heads = m.n_kv_heads * group;
  m.head_dim = 2 * between(rng, 20, 70);
  m.dim = m.n_heads * m.head_dim +
          2 * between(rng, 1, 30);  // usually equal; here not, so that the two can be told
  m.hidden_dim = m.dim * 2 + between(rng, 1, 500);
  m.vocab_size = between(rng, 1000, 40000);
  m.max_seq_len = 1 << 20;
  return m;
}

inline std::string describe(const kit::ModelConfig& m) {
  return fmt::format(
      "n_layers {}, dim {}, n_heads {}, n_kv_heads {}, head_dim {}, hidden_dim {}, vocab_size {}", m.n_layers,
      m.dim, m.n_heads, m.n_kv_heads, m.head_dim, m.hidden_dim, m.vocab_size);
}

}  // namespace lab01_tests
