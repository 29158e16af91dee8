#include "lab02/block_allocator.h"

#include <numeric>

#include "kit/check.h"

namespace lab02 {

namespace {

/// The free blocks lie on a stack: taking and giving back are pushes and pops, and n_free is its height.
/// A block is on the stack exactly when its ref_count is 0.
class StackBlockAllocator : public kit::BlockAllocator {
 public:
  explicit StackBlockAllocator(int n_blocks)
      : ref_counts_(static_cast<std::size_t>(n_blocks), 0), free_(ref_counts_.size()) {
    std::iota(free_.rbegin(), free_.rend(), 0);  // block 0 on top
  }

  int n_blocks() const override { return static_cast<int>(ref_counts_.size()); }
  int n_free() const override { return static_cast<int>(free_.size()); }

  std::vector<int> allocate(int n) override {
    KIT_CHECK(n >= 0, "{} blocks wanted, {} of {} are free", n, n_free(), n_blocks());
    const int n_before = n_free();
    std::vector<int> blocks;
    for (int i = 0; i < n; ++i) {
      KIT_CHECK(!free_.empty(), "{} blocks wanted, {} of {} are free", n, n_before, n_blocks());
      blocks.push_back(free_.back());
      free_.pop_back();
      ref_count_of(blocks.back()) = 1;
    }
    return blocks;
  }

  void share(int block) override {
    KIT_CHECK(ref_count(block) > 0, "block {} is free: it has no user who could share it", block);
    ++ref_count_of(block);
  }

  void release(int block) override {
    KIT_CHECK(ref_count(block) > 0, "block {} is free already: released once too often", block);
    // The stack never grows beyond what it was made for, so push_back does not allocate.
    if (--ref_count_of(block) == 0) free_.push_back(block);
  }

  int ref_count(int block) const override {
    KIT_CHECK(block >= 0 && block < n_blocks(), "block {} is not in [0, {})", block, n_blocks());
    return ref_counts_[static_cast<std::size_t>(block)];
  }

 private:
  int& ref_count_of(int block) { return ref_counts_[static_cast<std::size_t>(block)]; }

  std::vector<int> ref_counts_;  // [n_blocks], users
  std::vector<int> free_;        // stack, the next one to hand out at the back
};

}  // namespace

std::unique_ptr<kit::BlockAllocator> make_block_allocator(int n_blocks) {
  KIT_CHECK(n_blocks >= 0, "n_blocks is {}, must not be negative", n_blocks);
  return std::make_unique<StackBlockAllocator>(n_blocks);
}

}  // namespace lab02
