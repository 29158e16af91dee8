#pragma once

#include <span>
#include <vector>

namespace kit {

/// The cached beginning of a prompt.
struct PrefixMatch {
  std::vector<int> blocks;  ///< in the order of positions
  int n_tokens = 0;         ///< blocks.size() * block_size
  bool operator==(const PrefixMatch&) const = default;
};

/// Full blocks that are kept after their sequence has ended, to be found again by the tokens they hold and
/// all tokens before them. Lab 02 implements it.
///
/// The cache is one user (BlockAllocator) of each block it holds. "Unreferenced" is a block that nobody else
/// uses: its ref_count is 1.
class PrefixCache {
 public:
  virtual ~PrefixCache() = default;

  /// The longest cached prefix of `tokens` in whole blocks, but never all of them: a model must run at least
  /// one token to have logits, so at most (tokens.size() - 1) / block_size blocks. Each block gets one more
  /// user (share), which is the caller's; PagedKvCache::add_sequence takes it over. The blocks found count as
  /// used now. Throws kit::Error when tokens is empty.
  virtual PrefixMatch match(std::span<const int> tokens) = 0;

  /// Keeps the full blocks of a sequence whose first tokens.size() keys and values have been computed;
  /// block_table[i] holds tokens i * block_size .. (i + 1) * block_size - 1. A block whose tokens and prefix
  /// are cached already, in whatever block, is not kept a second time. Each block newly kept gets one more
  /// user, the cache. All blocks concerned, kept now or before, count as used now. The last, partly filled
  /// block is not kept. Throws kit::Error when block_table is shorter than the full blocks.
  virtual void insert(std::span<const int> tokens, std::span<const int> block_table) = 0;

  /// Lets go of up to n unreferenced blocks, the least recently used first, and of blocks used at the same
  /// time the one farthest from its sequence's beginning first. A block stays while another held one
  /// continues it: without it the other could not be found. Blocks that go become free and are never found
  /// again. Returns how many; fewer than n when all others are in use, or stay for one that is. Throws
  /// kit::Error when n is negative.
  virtual int evict(int n) = 0;

  /// Blocks held.
  virtual int n_blocks() const = 0;
};

}  // namespace kit
