#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kit/rng.h"
#include "lab05/io_model.h"

/// Global-memory traffic of attention, counted load by load, and counted wrong on purpose.
namespace lab05_tests {

inline constexpr std::int64_t kFloatBytes = 4;

/// What the counts below can get wrong on purpose.
struct IoVariant {
  bool exchange_tiles = false;
  bool one_head = false;
  bool shared_kv = false;  ///< keys and values once for each key/value head
  bool causal = true;      ///< if the shape is
  bool top_left = false;
  bool visible_rows_only = false;  ///< not whole tiles: of the last key tile only what is seen
  bool full_last_tile = false;     ///< rows beyond kv_len are loaded, too
  bool keys_once = false;
  bool keys_for_every_query = false;
  bool q_for_every_key_tile = false;
  bool keys_without_values = false;
  bool log_sum_exps = true;
  bool out_in_elements = false;
  int element_bytes = 0;
};

/// Pairs of a query and a key that it sees.
std::int64_t visible_pairs(const lab05::AttentionShape& s, const IoVariant& v = {});

/// Every load and store of flash attention, tile by tile; a pair of tiles is worked on if any query in it
/// sees any key in it.
struct Loads {
  std::int64_t pairs = 0;
  std::int64_t bytes = 0;
};

Loads flash_loads(const lab05::AttentionShape& s, lab05::TileSizes t, const IoVariant& v = {});

struct NamedIoVariant {
  const char* cause;
  IoVariant variant;
};
std::vector<NamedIoVariant> flash_variants();

/// Bytes that standard attention moves. n_scores: how often a matrix of scores or probabilities is moved.
std::int64_t standard_loads(const lab05::AttentionShape& s, std::int64_t n_scores, std::int64_t n_heads,
                            std::int64_t kv_heads, std::int64_t element, std::int64_t pairs,
                            std::int64_t lse_bytes = 0);

/// "q_len 5, kv_len 7, ...", for traces.
std::string to_text(const lab05::AttentionShape& s, const lab05::TileSizes& t = {});

/// low to high, both included.
int between(kit::Rng& rng, int low, int high);
lab05::AttentionShape random_shape(kit::Rng& rng, bool causal);

}  // namespace lab05_tests
