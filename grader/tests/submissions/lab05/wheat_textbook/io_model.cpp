#include "lab05/io_model.h"

#include <algorithm>
#include <cmath>

#include "kit/check.h"

namespace lab05 {

namespace {

__extension__ typedef __int128 Wide;  // NOLINT: `using` takes no __extension__

std::int64_t narrow(Wide value) {
  KIT_CHECK(value <= std::numeric_limits<std::int64_t>::max(), "more than 64 bits hold");
  return static_cast<std::int64_t>(value);
}

void check(const AttentionShape& s) {
  for (const int count :
       {s.q_len, s.kv_len, s.n_heads, s.n_kv_heads, s.head_dim, s.element_bytes, s.out_bytes}) {
    KIT_CHECK(count >= 1, "a count of {}", count);
  }
  KIT_CHECK(s.n_heads % s.n_kv_heads == 0, "n_kv_heads is {}", s.n_kv_heads);
}

void check(const TileSizes& t) {
  KIT_CHECK(t.br >= 1 && t.bc >= 1, "tiles of {} and {} rows", t.br, t.bc);
}

/// Keys that query i sees.
Wide n_seen(const AttentionShape& s, Wide i) {
  return s.causal ? std::clamp<Wide>(i + 1 + s.kv_len - s.q_len, 0, s.kv_len) : Wide{s.kv_len};
}

Wide q_and_out(const AttentionShape& s, Wide lse_bytes) {
  return Wide{s.n_heads} * s.q_len * (Wide{s.head_dim} * (Wide{s.element_bytes} + s.out_bytes) + lse_bytes);
}

/// Calls visit(number of key tiles, rows in them) for each query tile.
template <class Visit>
void for_each_query_tile(const AttentionShape& s, const TileSizes& t, Visit&& visit) {
  check(s);
  check(t);
  const Wide n_query_tiles = (Wide{s.q_len} + t.br - 1) / t.br;
  for (Wide tile = 0; tile < n_query_tiles; ++tile) {
    const Wide last = std::min<Wide>((tile + 1) * t.br, s.q_len) - 1;
    const Wide n_key_tiles = (n_seen(s, last) + t.bc - 1) / t.bc;
    visit(n_key_tiles, std::min<Wide>(n_key_tiles * t.bc, s.kv_len));
  }
}

}  // namespace

std::int64_t attention_flops(const AttentionShape& s) {
  check(s);
  Wide pairs = Wide{s.q_len} * s.kv_len;
  if (s.causal) {
    // All pairs but the triangle of keys after a query, whose lower part may lie before the first key.
    const Wide first_unseen = Wide{s.q_len} - 1;
    const Wide cut = std::max<Wide>(0, Wide{s.q_len} - s.kv_len);
    pairs -= (first_unseen * (first_unseen + 1) - cut * (cut - 1)) / 2;
  }
  return narrow(4 * pairs * s.head_dim * s.n_heads);
}

std::int64_t compulsory_bytes(const AttentionShape& s) {
  check(s);
  return narrow(q_and_out(s, 4) + Wide{2} * s.n_kv_heads * s.kv_len * s.head_dim * s.element_bytes);
}

std::int64_t standard_attention_bytes(const AttentionShape& s) {
  check(s);
  const Wide keys = Wide{2} * s.kv_len * s.head_dim;
  return narrow(q_and_out(s, 0) + s.n_heads * (keys + Wide{4} * s.q_len * s.kv_len) * s.element_bytes);
}

std::int64_t flash_tile_pairs(const AttentionShape& s, const TileSizes& t) {
  Wide pairs = 0;
  for_each_query_tile(s, t, [&](Wide n_key_tiles, Wide /*rows*/) { pairs += n_key_tiles; });
  return narrow(pairs);
}

std::int64_t flash_attention_bytes(const AttentionShape& s, const TileSizes& t) {
  Wide rows = 0;
  for_each_query_tile(s, t, [&](Wide /*n_key_tiles*/, Wide n_rows) { rows += n_rows; });
  return narrow(q_and_out(s, 4) + Wide{2} * s.n_heads * rows * s.head_dim * s.element_bytes);
}

std::int64_t tile_bytes(const TileSizes& t, int head_dim, int element_bytes) {
  check(t);
  KIT_CHECK(head_dim >= 1, "head_dim {}", head_dim);
  KIT_CHECK(element_bytes >= 1, "element_bytes {}", element_bytes);
  const Wide q = Wide{t.br} * head_dim;
  const Wide k = Wide{t.bc} * head_dim;
  return narrow((q + k + k) * element_bytes + (q + Wide{t.br} * t.bc) * 4);
}

TileSizes tile_sizes(std::int64_t on_chip_bytes, int head_dim, int element_bytes) {
  KIT_CHECK(on_chip_bytes >= 1 && on_chip_bytes <= (std::int64_t{1} << 30), "{} bytes", on_chip_bytes);
  const auto fits = [&](int steps) {
    const TileSizes tiles{16 * steps, std::min(16 * steps, head_dim)};
    return tile_bytes(tiles, head_dim, element_bytes) <= on_chip_bytes;
  };
  KIT_CHECK(head_dim >= 1, "head_dim {}", head_dim);
  KIT_CHECK(fits(1), "no tile fits {} bytes", on_chip_bytes);
  int low = 1;
  int high = 1 << 26;  // 2^30 rows: more than fit 2^30 bytes
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (fits(middle) ? low : high) = middle;
  }
  return {16 * low, std::min(16 * low, head_dim)};
}

double traffic_ratio(const AttentionShape& s, const TileSizes& t) {
  return static_cast<double>(standard_attention_bytes(s)) / static_cast<double>(flash_attention_bytes(s, t));
}

double flash_intensity(const AttentionShape& s, const TileSizes& t) {
  return static_cast<double>(attention_flops(s)) / static_cast<double>(flash_attention_bytes(s, t));
}

}  // namespace lab05
