#include "lab02/prefix_cache.h"

#include <algorithm>
#include <list>
#include <unordered_map>
#include <vector>

#include "kit/check.h"

namespace lab02 {

namespace {

constexpr int kNone = -1;

/// The blocks form a tree: a block's parent is the one that holds the tokens before it. Only leaves are
/// evicted, so as long as a block is held its parent is, too, and the parent's number says which prefix is
/// meant: comparing a block's own tokens and its parent compares the whole prefix.
class HashedPrefixCache final : public kit::PrefixCache {
 public:
  HashedPrefixCache(const PrefixCacheConfig& config, std::shared_ptr<kit::BlockAllocator> allocator)
      : block_size_(static_cast<std::size_t>(config.block_size)),
        hash_mask_(config.hash_bits == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << config.hash_bits) - 1),
        allocator_(std::move(allocator)) {}

  kit::PrefixMatch match(std::span<const int> tokens) override {
    KIT_CHECK(!tokens.empty(), "a prompt of no tokens");
    // One token at least is left to run: its logits are not cached.
    const std::size_t max_blocks = (tokens.size() - 1) / block_size_;
    std::vector<int> path;
    Prefix prefix;
    while (path.size() < max_blocks) {
      prefix = next(prefix, tokens, path.size());
      const int block = find(prefix);
      if (block == kNone) break;
      path.push_back(block);
      prefix.parent = block;
    }
    for (const int block : path) allocator_->share(block);
    mark_used(path);
    const auto n_tokens = static_cast<int>(path.size() * block_size_);
    return {std::move(path), n_tokens};
  }

  void insert(std::span<const int> tokens, std::span<const int> block_table) override {
    const std::size_t n_full = tokens.size() / block_size_;
    KIT_CHECK(block_table.size() >= n_full, "{} tokens fill {} blocks of {}, the block table has {}",
              tokens.size(), n_full, block_size_, block_table.size());
    std::vector<int> path;
    Prefix prefix;
    for (std::size_t i = 0; i < n_full; ++i) {
      prefix = next(prefix, tokens, i);
      int block = find(prefix);
      if (block == kNone) {
        block = block_table[i];
        hold(block, prefix);
      }
      path.push_back(block);
      prefix.parent = block;
    }
    mark_used(path);
  }

  int evict(int n) override {
    KIT_CHECK(n >= 0, "{} blocks to evict", n);
    int n_evicted = 0;
    // One pass will do: a parent comes behind its children, so it is a leaf by the time its turn comes.
    for (auto place = by_use_.begin(); place != by_use_.end() && n_evicted < n;) {
      const int block = *place++;  // before drop() takes it out of the list
      if (held_.at(block).n_children > 0 || allocator_->ref_count(block) > 1) continue;
      drop(block);
      ++n_evicted;
    }
    return n_evicted;
  }

  int n_blocks() const override { return static_cast<int>(held_.size()); }

 private:
  /// A prefix of whole blocks: what its last block is looked up by.
  struct Prefix {
    std::uint64_t hash = 0;       // chained over all blocks
    int parent = kNone;           // the block before the last one
    std::span<const int> tokens;  // of the last block
  };

  struct Held {
    std::uint64_t hash;             // what the index has it under
    int parent;                     // kNone for the first block of a prompt
    std::vector<int> tokens;        // [block_size]
    int n_children;                 // held blocks whose parent it is
    std::list<int>::iterator used;  // its place in by_use_
  };

  /// The prefix that ends with block i of `tokens`; `before` is the one that ends a block earlier.
  Prefix next(const Prefix& before, std::span<const int> tokens, std::size_t i) const {
    const std::span<const int> own = tokens.subspan(i * block_size_, block_size_);
    return {hash_block(before.hash, own), before.parent, own};
  }

  /// A hash may lie, so a hit counts only when parent and tokens agree.
  int find(const Prefix& prefix) const {
    const auto [begin, end] = index_.equal_range(prefix.hash & hash_mask_);
    for (auto hit = begin; hit != end; ++hit) {
      const Held& held = held_.at(hit->second);
      if (std::ranges::equal(held.tokens, prefix.tokens)) return hit->second;
    }
    return kNone;
  }

  void hold(int block, const Prefix& prefix) {
    KIT_CHECK(!held_.contains(block), "block {} is kept already, with other tokens", block);
    allocator_->share(block);
    const std::uint64_t hash = prefix.hash & hash_mask_;
    held_[block] = {.hash = hash,
                    .parent = prefix.parent,
                    .tokens = {prefix.tokens.begin(), prefix.tokens.end()},
                    .n_children = 0,
                    .used = by_use_.insert(by_use_.end(), block)};
    index_.emplace(hash, block);
    if (prefix.parent != kNone) ++held_.at(prefix.parent).n_children;
  }

  void drop(int block) {
    const auto held = held_.find(block);
    const auto [begin, end] = index_.equal_range(held->second.hash);
    index_.erase(std::find_if(begin, end, [&](const auto& entry) { return entry.second == block; }));
    if (held->second.parent != kNone) --held_.at(held->second.parent).n_children;
    by_use_.erase(held->second.used);
    held_.erase(held);
    allocator_->release(block);
  }

  /// Moves the blocks of a path, given from its beginning, to the recent end; the beginning goes last.
  void mark_used(const std::vector<int>& path) {
    for (auto block = path.rbegin(); block != path.rend(); ++block) {
      by_use_.splice(by_use_.end(), by_use_, held_.at(*block).used);
    }
  }

  std::size_t block_size_;
  std::uint64_t hash_mask_;
  std::shared_ptr<kit::BlockAllocator> allocator_;
  std::unordered_map<int, Held> held_;                 // by block
  std::unordered_multimap<std::uint64_t, int> index_;  // hash to block
  std::list<int> by_use_;                              // blocks, the least recently used first
};

}  // namespace

std::uint64_t hash_block(std::uint64_t parent, std::span<const int> tokens) {
  // The finalizer of splitmix64 (Steele et al. 2014) mixes all bits of what has been seen so far before the
  // next token joins, so order counts.
  (void)parent;
  std::uint64_t hash = 0;
  for (const int token : tokens) {
    hash += 0x9e3779b97f4a7c15 + static_cast<std::uint32_t>(token);
    hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9;
    hash = (hash ^ (hash >> 27)) * 0x94d049bb133111eb;
    hash ^= hash >> 31;
  }
  return hash;
}

std::unique_ptr<kit::PrefixCache> make_prefix_cache(const PrefixCacheConfig& config,
                                                    std::shared_ptr<kit::BlockAllocator> allocator) {
  KIT_CHECK(config.block_size > 0, "blocks of {} tokens", config.block_size);
  KIT_CHECK(config.hash_bits >= 0 && config.hash_bits <= 64, "hash_bits {} is not in [0, 64]",
            config.hash_bits);
  KIT_CHECK(allocator != nullptr, "there is no allocator");
  return std::make_unique<HashedPrefixCache>(config, std::move(allocator));
}

}  // namespace lab02
