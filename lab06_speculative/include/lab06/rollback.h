#pragma once

#include <memory>
#include <span>
#include <vector>

#include "kit/block_allocator.h"
#include "kit/kv_cache.h"

/// Lab 06, task 4: caches that take rejected tokens back.
/// A forward pass writes keys and values of all draft tokens before anybody knows which are accepted. What
/// was rejected must go, or every later token attends to words that were never said, at positions that are
/// off by their number. In a contiguous cache that is a length; in a paged one blocks go back, too.
namespace lab06 {

/// An empty contiguous cache of `config.max_len` tokens for every layer, as lab02::make_kv_cache, with
/// truncate. What each member must do, and when it throws, is written at kit::KvCache in
/// common/include/kit/kv_cache.h. Throws kit::Error naming the value when a field of `config` is not
/// positive.
std::unique_ptr<kit::KvCache> make_contiguous_cache(const kit::KvCacheConfig& config);

struct RolledBackTable {
  std::vector<int> block_table;  ///< the blocks that are left, in order: the first ceil(length / block_size)
  /// The next token would go into the last block of the table, and that block has other users: it must be
  /// copied before it is written (copy-on-write is the next append's work, kit::PagedKvCache::append). False
  /// where the next token begins a new block.
  bool tail_is_shared = false;

  bool operator==(const RolledBackTable&) const = default;
};

/// Cuts a sequence of context_len tokens in a paged cache down to `length`: the blocks that no token of it
/// needs any more lose one user each (BlockAllocator::release), so what other sequences share stays theirs.
/// Nothing else is called that changes the allocator.
///   block_table: [ceil(context_len / block_size)], position t is in block_table[t / block_size]
/// Throws kit::Error on block_size < 1, a length that is negative or more than context_len, a table of
/// another size, and on a block of the table that the allocator does not have or that is free; nothing is
/// released then.
RolledBackTable rollback_blocks(std::span<const int> block_table, int block_size, int context_len, int length,
                                kit::BlockAllocator& allocator);

}  // namespace lab06
