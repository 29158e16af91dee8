#include "lab02/block_allocator.h"

#include <algorithm>

#include "kit/check.h"

namespace lab02 {

namespace {

struct Block {
  int n_users = 0;
  int next_free = -1;
};

/// The free blocks are a linked list through the blocks themselves: taken at the head, given back at the
/// tail, so that a block rests as long as possible.
class ListBlockAllocator : public kit::BlockAllocator {
 public:
  explicit ListBlockAllocator(int n_blocks)
      : blocks_(static_cast<std::size_t>(n_blocks)), n_free_(n_blocks), head_(n_blocks > 0 ? 0 : -1) {
    for (int block = 0; block + 1 < n_blocks; ++block) at(block).next_free = block + 1;
    tail_ = n_blocks - 1;
  }

  int n_blocks() const override { return static_cast<int>(blocks_.size()); }
  int n_free() const override { return n_free_; }

  std::vector<int> allocate(int n) override {
    if (n < 0 || n > n_free_) throw kit::Error(fmt::format("cannot take {} blocks of {} free", n, n_free_));
    std::vector<int> result(static_cast<std::size_t>(n));
    std::ranges::generate(result, [this] {
      const int block = head_;
      head_ = at(block).next_free;
      at(block) = {.n_users = 1};
      return block;
    });
    n_free_ -= n;
    if (n_free_ == 0) tail_ = -1;
    return result;
  }

  void share(int block) override { used(block).n_users += 1; }

  void release(int block) override {
    if (--used(block).n_users > 0) return;
    if (n_free_ == 0) {
      head_ = block;
    } else {
      at(tail_).next_free = block;
    }
    tail_ = block;
    ++n_free_;
  }

  int ref_count(int block) const override {
    if (block < 0 || block >= n_blocks()) throw kit::Error(fmt::format("no block {}", block));
    return blocks_[static_cast<std::size_t>(block)].n_users;
  }

 private:
  Block& at(int block) { return blocks_[static_cast<std::size_t>(block)]; }
  Block& used(int block) {
    if (ref_count(block) == 0) throw kit::Error(fmt::format("block {} is not in use", block));
    return at(block);
  }

  std::vector<Block> blocks_;
  int n_free_;
  int head_;
  int tail_ = -1;
};

}  // namespace

std::unique_ptr<kit::BlockAllocator> make_block_allocator(int n_blocks) {
  if (n_blocks < 0) throw kit::Error(fmt::format("{} blocks", n_blocks));
  return std::make_unique<ListBlockAllocator>(n_blocks);
}

}  // namespace lab02
