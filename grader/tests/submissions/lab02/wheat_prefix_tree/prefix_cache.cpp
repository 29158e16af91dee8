#include "lab02/prefix_cache.h"

#include <map>
#include <vector>

#include "kit/check.h"

namespace lab02 {

namespace {

struct Node {
  int block = -1;
  std::int64_t last_used = 0;
  std::map<std::vector<int>, std::unique_ptr<Node>> children;  // by the tokens of their block
};

class PrefixTree final : public kit::PrefixCache {
 public:
  PrefixTree(int block_size, std::shared_ptr<kit::BlockAllocator> allocator)
      : block_size_(block_size), allocator_(std::move(allocator)) {}

  kit::PrefixMatch match(std::span<const int> tokens) override {
    KIT_CHECK(tokens.size() > 0, "no tokens");
    ++now_;
    kit::PrefixMatch result;
    for (Node* node = &root_; result.n_tokens + block_size_ < static_cast<int>(tokens.size());) {
      const auto child = node->children.find(block_at(tokens, result.n_tokens));
      if (child == node->children.end()) break;
      node = child->second.get();
      node->last_used = now_;
      allocator_->share(node->block);
      result.blocks.push_back(node->block);
      result.n_tokens += block_size_;
    }
    return result;
  }

  void insert(std::span<const int> tokens, std::span<const int> block_table) override {
    const auto n_full = tokens.size() / static_cast<std::size_t>(block_size_);
    KIT_CHECK(n_full <= block_table.size(), "{} blocks for {} full ones", block_table.size(), n_full);
    ++now_;
    Node* node = &root_;
    for (std::size_t i = 0; i < n_full; ++i) {
      std::unique_ptr<Node>& child = node->children[block_at(tokens, static_cast<int>(i) * block_size_)];
      if (!child) {
        child = std::make_unique<Node>();
        child->block = block_table[i];
        allocator_->share(child->block);
        ++n_blocks_;
      }
      node = child.get();
      node->last_used = now_;
    }
  }

  int evict(int n) override {
    KIT_CHECK(n >= 0, "{} blocks", n);
    for (int i = 0; i < n; ++i) {
      const Leaf oldest = oldest_leaf(root_);
      if (oldest.parent == nullptr) return i;
      allocator_->release(oldest.child->second->block);
      oldest.parent->children.erase(oldest.child);
      --n_blocks_;
    }
    return n;
  }

  int n_blocks() const override { return n_blocks_; }

 private:
  struct Leaf {
    Node* parent = nullptr;
    std::map<std::vector<int>, std::unique_ptr<Node>>::iterator child;
  };

  std::vector<int> block_at(std::span<const int> tokens, int pos) const {
    const auto own = tokens.subspan(static_cast<std::size_t>(pos), static_cast<std::size_t>(block_size_));
    return {own.begin(), own.end()};
  }

  /// Two leaves are never used at the same time: a call follows one path.
  Leaf oldest_leaf(Node& parent) const {
    Leaf oldest;
    for (auto child = parent.children.begin(); child != parent.children.end(); ++child) {
      Leaf leaf = oldest_leaf(*child->second);
      if (child->second->children.empty() && allocator_->ref_count(child->second->block) == 1)
        leaf = {&parent, child};
      if (leaf.parent == nullptr) continue;
      if (oldest.parent == nullptr || leaf.child->second->last_used < oldest.child->second->last_used)
        oldest = leaf;
    }
    return oldest;
  }

  int block_size_;
  std::shared_ptr<kit::BlockAllocator> allocator_;
  Node root_;
  int n_blocks_ = 0;
  std::int64_t now_ = 0;
};

}  // namespace

std::uint64_t hash_block(std::uint64_t parent, std::span<const int> tokens) {
  // FNV-1a, byte by byte, the parent first.
  std::uint64_t hash = 0xcbf29ce484222325;
  const auto add = [&](std::uint64_t value, int n_bytes) {
    for (int i = 0; i < n_bytes; ++i) hash = (hash ^ ((value >> (8 * i)) & 255)) * 0x100000001b3;
  };
  add(parent, 8);
  for (const int token : tokens) add(static_cast<std::uint32_t>(token), 4);
  return hash;
}

std::unique_ptr<kit::PrefixCache> make_prefix_cache(const PrefixCacheConfig& config,
                                                    std::shared_ptr<kit::BlockAllocator> allocator) {
  KIT_CHECK(config.block_size >= 1, "block_size {}", config.block_size);
  KIT_CHECK(0 <= config.hash_bits && config.hash_bits <= 64, "hash_bits {}", config.hash_bits);
  KIT_CHECK(allocator, "no allocator");
  return std::make_unique<PrefixTree>(config.block_size, allocator);
}

}  // namespace lab02
