#include "lab05/io_model.h"

#include <algorithm>

#include "kit/check.h"
#include "kit/checked.h"

// Task 5.

namespace lab05 {

namespace {

constexpr int kFloatBytes = 4;
constexpr int kTileStep = 16;  // rows of a tensor core's matrix
constexpr std::int64_t kLargestChip = std::int64_t{1} << 30;

void check_positive(const char* name, std::int64_t value) {
  KIT_CHECK(value > 0, "{} is {}, must be positive", name, value);
}

void check_shape(const AttentionShape& shape) {
  check_positive("q_len", shape.q_len);
  check_positive("kv_len", shape.kv_len);
  check_positive("n_heads", shape.n_heads);
  check_positive("n_kv_heads", shape.n_kv_heads);
  check_positive("head_dim", shape.head_dim);
  check_positive("element_bytes", shape.element_bytes);
  check_positive("out_bytes", shape.out_bytes);
  KIT_CHECK(shape.n_heads % shape.n_kv_heads == 0, "{} query heads cannot share {} key/value heads evenly",
            shape.n_heads, shape.n_kv_heads);
}

void check_tiles(const TileSizes& tiles) {
  check_positive("br", tiles.br);
  check_positive("bc", tiles.bc);
}

/// Bytes of out and log-sum-exps, all heads.
std::int64_t written_bytes(const AttentionShape& s) {
  return kit::checked_sum("out + log-sum-exps",
                          {kit::checked_product("n_heads * q_len * head_dim * out_bytes",
                                                {s.n_heads, s.q_len, s.head_dim, s.out_bytes}),
                           kit::checked_product("n_heads * q_len * 4", {s.n_heads, s.q_len, kFloatBytes})});
}

/// What a query tile works on.
struct KeyRange {
  std::int64_t n_tiles = 0;
  std::int64_t n_rows = 0;
};

KeyRange keys_of_tile(const AttentionShape& s, const TileSizes& tiles, std::int64_t first_row) {
  std::int64_t n_visible = s.kv_len;
  if (s.causal) {
    // The tile's last row sees most; it sits at position last_row + kv_len - q_len.
    const std::int64_t last_row = std::min<std::int64_t>(first_row + tiles.br, s.q_len) - 1;
    n_visible = std::max<std::int64_t>(0, last_row + s.kv_len - s.q_len + 1);
  }
  const std::int64_t n_tiles = kit::divide_round_up(n_visible, tiles.bc);
  return {.n_tiles = n_tiles, .n_rows = std::min<std::int64_t>(n_tiles * tiles.bc, s.kv_len)};
}

/// The sum over all query tiles of one head. Both stay below q_len * kv_len < 2^62.
KeyRange keys_of_head(const AttentionShape& s, const TileSizes& tiles) {
  check_shape(s);
  check_tiles(tiles);
  KeyRange sum;
  for (std::int64_t row = 0; row < s.q_len; row += tiles.br) {
    const KeyRange keys = keys_of_tile(s, tiles, row);
    sum.n_tiles += keys.n_tiles;
    sum.n_rows += keys.n_rows;
  }
  return sum;
}

}  // namespace

std::int64_t attention_flops(const AttentionShape& shape) {
  check_shape(shape);
  const std::int64_t q = shape.q_len;
  const std::int64_t kv = shape.kv_len;
  const std::int64_t n = std::min(q, kv);
  // Causal: the last n queries see kv - n + 1, ..., kv keys; those before them, if any, none.
  const std::int64_t n_visible = shape.causal ? n * (kv - n) + n * (n + 1) / 2 : q * kv;
  return kit::checked_product("n_heads * visible pairs * 4 * head_dim",
                              {shape.n_heads, n_visible, 4, shape.head_dim});
}

std::int64_t compulsory_bytes(const AttentionShape& shape) {
  check_shape(shape);
  const auto [q_len, kv_len, n_heads, n_kv_heads, head_dim, causal, element_bytes, out_bytes] = shape;
  return kit::checked_sum("q + k + v + out + log-sum-exps",
                          {kit::checked_product("n_heads * q_len * head_dim * element_bytes",
                                                {n_heads, q_len, head_dim, element_bytes}),
                           kit::checked_product("2 * n_kv_heads * kv_len * head_dim * element_bytes",
                                                {2, n_kv_heads, kv_len, head_dim, element_bytes}),
                           written_bytes(shape)});
}

std::int64_t standard_attention_bytes(const AttentionShape& shape) {
  check_shape(shape);
  const auto [q_len, kv_len, n_heads, n_kv_heads, head_dim, causal, element_bytes, out_bytes] = shape;
  return kit::checked_sum("Q + K + V + 4 matrices of scores + O",
                          {kit::checked_product("n_heads * q_len * head_dim * element_bytes",
                                                {n_heads, q_len, head_dim, element_bytes}),
                           kit::checked_product("2 * n_heads * kv_len * head_dim * element_bytes",
                                                {2, n_heads, kv_len, head_dim, element_bytes}),
                           // S written, S read, P written, P read.
                           kit::checked_product("4 * n_heads * q_len * kv_len * element_bytes",
                                                {4, n_heads, q_len, kv_len, element_bytes}),
                           kit::checked_product("n_heads * q_len * head_dim * out_bytes",
                                                {n_heads, q_len, head_dim, out_bytes})});
}

std::int64_t flash_tile_pairs(const AttentionShape& shape, const TileSizes& tiles) {
  return keys_of_head(shape, tiles).n_tiles;
}

std::int64_t flash_attention_bytes(const AttentionShape& shape, const TileSizes& tiles) {
  const std::int64_t n_key_rows = keys_of_head(shape, tiles).n_rows;
  return static_cast<int>(kit::checked_sum(
      "Q + rows of K and V + O + log-sum-exps",
      {kit::checked_product("n_heads * q_len * head_dim * element_bytes",
                            {shape.n_heads, shape.q_len, shape.head_dim, shape.element_bytes}),
       kit::checked_product("2 * n_heads * key rows read * head_dim * element_bytes",
                            {2, shape.n_heads, n_key_rows, shape.head_dim, shape.element_bytes}),
       written_bytes(shape)}));
}

std::int64_t tile_bytes(const TileSizes& tiles, int head_dim, int element_bytes) {
  check_tiles(tiles);
  check_positive("head_dim", head_dim);
  check_positive("element_bytes", element_bytes);
  const std::int64_t n_staged = tiles.br + 2 * std::int64_t{tiles.bc};  // rows of Q, K, V
  const std::int64_t n_summed = std::int64_t{head_dim} + tiles.bc;      // a row's outputs and scores
  return kit::checked_sum(
      "Q, K, V tiles + sums and scores",
      {kit::checked_product("(br + 2 bc) * head_dim * element_bytes", {n_staged, head_dim, element_bytes}),
       kit::checked_product("br * (head_dim + bc) * 4", {tiles.br, n_summed, kFloatBytes})});
}

TileSizes tile_sizes(std::int64_t on_chip_bytes, int head_dim, int element_bytes) {
  check_positive("on_chip_bytes", on_chip_bytes);
  KIT_CHECK(on_chip_bytes <= kLargestChip, "on_chip_bytes is {}, no chip has more than 2^30", on_chip_bytes);
  // Not bc = br: of the two only br lowers traffic, and scores, br * bc, would take all the room.
  const auto with = [head_dim](int br) { return TileSizes{.br = br, .bc = std::min(br, head_dim)}; };
  check_positive("head_dim", head_dim);
  int br = 0;
  while (tile_bytes(with(br + kTileStep), head_dim, element_bytes) <= on_chip_bytes) br += kTileStep;
  KIT_CHECK(br > 0, "{} bytes on chip do not hold tiles of {} rows of head_dim {}, {} bytes an element",
            on_chip_bytes, kTileStep, head_dim, element_bytes);
  return with(br);
}

double traffic_ratio(const AttentionShape& shape, const TileSizes& tiles) {
  return static_cast<double>(standard_attention_bytes(shape)) /
         static_cast<double>(flash_attention_bytes(shape, tiles));
}

double flash_intensity(const AttentionShape& shape, const TileSizes& tiles) {
  return static_cast<double>(attention_flops(shape)) /
         static_cast<double>(flash_attention_bytes(shape, tiles));
}

}  // namespace lab05
