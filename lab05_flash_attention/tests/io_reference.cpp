#include "io_reference.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace lab05_tests {

using lab05::AttentionShape;
using lab05::TileSizes;

namespace {

bool sees(const AttentionShape& s, int i, int j, const IoVariant& v) {
  if (!s.causal || !v.causal) return true;
  return j <= i + (v.top_left ? 0 : s.kv_len - s.q_len);
}

}  // namespace

std::int64_t visible_pairs(const AttentionShape& s, const IoVariant& v) {
  std::int64_t n = 0;
  for (int i = 0; i < s.q_len; ++i) {
    for (int j = 0; j < s.kv_len; ++j) n += sees(s, i, j, v) ? 1 : 0;
  }
  return n;
}

Loads flash_loads(const AttentionShape& s, TileSizes t, const IoVariant& v) {
  if (v.exchange_tiles) std::swap(t.br, t.bc);
  const std::int64_t element = v.element_bytes > 0 ? v.element_bytes : s.element_bytes;
  const std::int64_t row = s.head_dim * element;
  Loads head;
  std::int64_t key_rows = 0;
  for (int q0 = 0; q0 < s.q_len; q0 += t.br) {
    const int q1 = std::min(q0 + t.br, s.q_len);
    std::int64_t n_tiles = 0;
    for (int k0 = 0; k0 < s.kv_len; k0 += t.bc) {
      const int k1 = std::min(k0 + t.bc, s.kv_len);
      int last_seen = -1;
      for (int i = q0; i < q1; ++i) {
        for (int j = k0; j < k1; ++j) last_seen = sees(s, i, j, v) ? std::max(last_seen, j) : last_seen;
      }
      if (last_seen < 0) continue;
      ++n_tiles;
      const int end = v.visible_rows_only ? last_seen + 1 : v.full_last_tile ? k0 + t.bc : k1;
      key_rows += (v.keys_for_every_query ? q1 - q0 : 1) * (end - k0);
    }
    head.pairs += n_tiles;
    head.bytes += (q1 - q0) * row * (v.q_for_every_key_tile ? std::max<std::int64_t>(n_tiles, 1) : 1);
    head.bytes += (q1 - q0) * (s.head_dim * std::int64_t{v.out_in_elements ? element : s.out_bytes} +
                               (v.log_sum_exps ? kFloatBytes : 0));
  }
  if (v.keys_once) key_rows = s.kv_len;
  const std::int64_t kv_bytes = (v.keys_without_values ? 1 : 2) * key_rows * row;
  const std::int64_t n_heads = v.one_head ? 1 : s.n_heads;
  return {head.pairs, n_heads * head.bytes + (v.shared_kv ? s.n_kv_heads : n_heads) * kv_bytes};
}

std::vector<NamedIoVariant> flash_variants() {
  return {
      {"Bc read where Br is meant: keys are read once for each query tile, of Br rows",
       {.exchange_tiles = true}},
      {"one head: n_heads is forgotten", {.one_head = true}},
      {"keys and values once for a group: each query head reads them by itself", {.shared_kv = true}},
      {"a causal mask that skips no tile", {.causal = false}},
      {"a causal mask aligned to the first key: it is aligned to the last", {.top_left = true}},
      {"the visible rows of the diagonal tile alone: a tile is loaded whole", {.visible_rows_only = true}},
      {"whole tiles beyond the last key: the last tile ends with the sequence", {.full_last_tile = true}},
      {"keys and values read once: they are read again for each query tile", {.keys_once = true}},
      {"keys and values read for each query: a tile of queries shares them", {.keys_for_every_query = true}},
      {"Q read again for each key tile: it stays on chip", {.q_for_every_key_tile = true}},
      {"keys without values, or values without keys", {.keys_without_values = true}},
      {"a count without the log-sum-exps", {.log_sum_exps = false}},
      {"out in element_bytes: it has out_bytes", {.out_in_elements = true}},
      {"4 bytes an element, whatever element_bytes says", {.element_bytes = 4}},
      {"2 bytes an element, whatever element_bytes says", {.element_bytes = 2}}};
}

std::int64_t standard_loads(const AttentionShape& s, std::int64_t n_scores, std::int64_t n_heads,
                            std::int64_t kv_heads, std::int64_t element, std::int64_t pairs,
                            std::int64_t lse_bytes) {
  const std::int64_t d = s.head_dim;
  return element * (n_heads * s.q_len * d + 2 * kv_heads * s.kv_len * d + n_scores * n_heads * pairs) +
         n_heads * s.q_len * (d * s.out_bytes + lse_bytes);
}

std::string to_text(const AttentionShape& s, const TileSizes& t) {
  return fmt::format(
      "q_len {}, kv_len {}, n_heads {}, n_kv_heads {}, head_dim {}, {}, {} bytes, br {}, bc {}", s.q_len,
      s.kv_len, s.n_heads, s.n_kv_heads, s.head_dim, s.causal ? "causal" : "no mask", s.element_bytes, t.br,
      t.bc);
}

int between(kit::Rng& rng, int low, int high) {
  return low + static_cast<int>(rng.below(static_cast<std::uint32_t>(high - low + 1)));
}

AttentionShape random_shape(kit::Rng& rng, bool causal) {
  const int n_kv_heads = between(rng, 2, 4);
  return {.q_len = between(rng, 1, 120),
          .kv_len = between(rng, 1, 120),
          .n_heads = n_kv_heads * between(rng, 2, 5),
          .n_kv_heads = n_kv_heads,
          .head_dim = between(rng, 3, 130),
          .causal = causal,
          .element_bytes = 1 << rng.below(3),
          .out_bytes = rng.below(2) == 0 ? 4 : 8};
}

}  // namespace lab05_tests
