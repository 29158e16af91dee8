#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "kit/block_allocator.h"
#include "kit/prefix_cache.h"

/// Lab 02, task 7: a shared beginning is computed once.
/// Source: vLLM, "Automatic Prefix Caching" (the design document of its hash-based cache).
namespace lab02 {

/// Hash of a full block, chained: `parent` is the hash of the block before it, 0 for the first. So it depends
/// on every token up to the block's end, in order. Any good 64-bit hash will do.
std::uint64_t hash_block(std::uint64_t parent, std::span<const int> tokens);

struct PrefixCacheConfig {
  int block_size = 0;
  /// Blocks are looked up by this many low bits of hash_block, 0 to 64. Fewer make collisions likely, and
  /// every result must be the same: a hash only narrows the search, tokens decide.
  int hash_bits = 64;
};

/// An empty cache. What each member must do, and when it throws, is written at kit::PrefixCache in
/// common/include/kit/prefix_cache.h. match and insert look at each token a constant number of times (hashes
/// that do not collide assumed). Throws kit::Error naming the value when block_size is not positive,
/// hash_bits is not in [0, 64], or there is no allocator.
std::unique_ptr<kit::PrefixCache> make_prefix_cache(const PrefixCacheConfig& config,
                                                    std::shared_ptr<kit::BlockAllocator> allocator);

}  // namespace lab02
