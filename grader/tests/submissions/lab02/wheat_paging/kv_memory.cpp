#include "lab02/kv_memory.h"

#include <algorithm>
#include <limits>

#include "kit/check.h"

namespace lab02 {

namespace {

__extension__ using Wide = __int128;

void require(bool condition, const char* name, std::int64_t value) {
  if (!condition) throw kit::Error(fmt::format("{} cannot be {}", name, value));
}

std::int64_t fit(Wide bytes, std::int64_t budget_bytes) {
  return static_cast<std::int64_t>(Wide{budget_bytes} / bytes);
}

}  // namespace

std::int64_t kv_bytes_per_token(const kit::ModelConfig& model, HeadSharing sharing,
                                kit::NumberFormat format) {
  model.validate();
  std::int64_t kv_heads = model.n_kv_heads;
  if (sharing == HeadSharing::kMultiHead) kv_heads = model.n_heads;
  if (sharing == HeadSharing::kMultiQuery) kv_heads = 1;
  const Wide bits = Wide{kit::bits(format)} * 2 * model.head_dim * kv_heads * model.n_layers;
  const Wide bytes = (bits + 7) / 8;
  if (bytes > std::numeric_limits<std::int64_t>::max()) throw kit::Error("more bytes than 64 bits count");
  return static_cast<std::int64_t>(bytes);
}

std::int64_t max_sequences_contiguous(std::int64_t bytes_per_token, std::int64_t max_len,
                                      std::int64_t budget_bytes) {
  require(bytes_per_token > 0, "bytes_per_token", bytes_per_token);
  require(max_len > 0, "max_len", max_len);
  require(budget_bytes >= 0, "budget_bytes", budget_bytes);
  return fit(Wide{bytes_per_token} * max_len, budget_bytes);
}

std::int64_t blocks_in_budget(std::int64_t bytes_per_token, std::int64_t block_size,
                              std::int64_t budget_bytes) {
  require(bytes_per_token > 0, "bytes_per_token", bytes_per_token);
  require(block_size > 0, "block_size", block_size);
  require(budget_bytes >= 0, "budget_bytes", budget_bytes);
  return fit(Wide{bytes_per_token} * block_size, budget_bytes);
}

std::int64_t max_sequences_paged(std::span<const std::int64_t> context_lens, std::int64_t block_size,
                                 std::int64_t n_blocks) {
  require(block_size > 0, "block_size", block_size);
  require(n_blocks >= 0, "n_blocks", n_blocks);
  for (const std::int64_t len : context_lens) require(len >= 0, "a length", len);
  Wide left = n_blocks;
  const auto first_too_long = std::ranges::find_if(context_lens, [&](std::int64_t len) {
    left -= (Wide{len} + block_size - 1) / block_size;
    return left < 0;
  });
  return first_too_long - context_lens.begin();
}

std::int64_t max_sequences_shared(std::span<const std::int64_t> context_lens, std::int64_t shared_len,
                                  std::int64_t block_size, std::int64_t n_blocks) {
  require(block_size > 0, "block_size", block_size);
  require(n_blocks >= 0, "n_blocks", n_blocks);
  require(shared_len >= 0, "shared_len", shared_len);
  for (const std::int64_t len : context_lens) require(len >= 0, "a length", len);
  // A block of the prefix is charged to the first sequence that reaches it.
  Wide left = n_blocks;
  std::int64_t reached = 0;
  for (std::size_t i = 0; i < context_lens.size(); ++i) {
    const std::int64_t full = std::min(context_lens[i], shared_len) / block_size;
    left -= (Wide{context_lens[i]} + block_size - 1) / block_size - std::min(full, reached);
    if (left < 0) return static_cast<std::int64_t>(i);
    reached = std::max(reached, full);
  }
  return static_cast<std::int64_t>(context_lens.size());
}

}  // namespace lab02
