#include "lab02/block_allocator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "kit/testing.h"

namespace {

using kit::BlockAllocator;
using kit::testing::KnownCount;
using kit::testing::matches_count;
using kit::testing::throws_error;

int between(kit::Rng& rng, int low, int high) {
  return low + static_cast<int>(rng.below(static_cast<std::uint32_t>(high - low + 1)));
}

/// `blocks` are `n` different ones of the allocator's, each with one user.
void expect_fresh(const BlockAllocator& allocator, std::vector<int> blocks, std::size_t n) {
  ASSERT_EQ(blocks.size(), n);
  for (const int block : blocks) {
    ASSERT_GE(block, 0);
    ASSERT_LT(block, allocator.n_blocks());
    EXPECT_EQ(allocator.ref_count(block), 1) << "block " << block << " was just allocated: one user";
  }
  std::ranges::sort(blocks);
  const auto twice = std::ranges::adjacent_find(blocks);
  EXPECT_TRUE(twice == blocks.end()) << "block " << *twice << " was handed out twice";
}

TEST(BlockAllocator, StartsWithAllBlocksFree) {
  for (const int n : {0, 1, 31, 1000}) {
    const auto allocator = lab02::make_block_allocator(n);
    EXPECT_EQ(allocator->n_blocks(), n);
    EXPECT_EQ(allocator->n_free(), n);
    for (int block = 0; block < n; block += 7) EXPECT_EQ(allocator->ref_count(block), 0);
  }
}

TEST(BlockAllocator, RejectsANegativeNumberOfBlocks) {
  EXPECT_TRUE(throws_error([] { (void)lab02::make_block_allocator(-3); }, "-3"));
}

TEST(BlockAllocator, HandsOutEveryBlockOnce) {
  const auto allocator = lab02::make_block_allocator(33);
  std::vector<int> all;
  for (const int n : {1, 0, 5, 1, 26}) {
    const std::vector<int> blocks = allocator->allocate(n);
    expect_fresh(*allocator, blocks, static_cast<std::size_t>(n));
    all.insert(all.end(), blocks.begin(), blocks.end());
    EXPECT_EQ(allocator->n_free(), 33 - static_cast<int>(all.size()));
  }
  expect_fresh(*allocator, all, 33);
  // And once more, when all have come back in another order.
  kit::Rng rng = kit::testing::make_rng(200);
  for (std::size_t i = all.size(); i > 1; --i)
    std::swap(all[i - 1], all[rng.below(static_cast<std::uint32_t>(i))]);
  for (const int block : all) allocator->release(block);
  EXPECT_EQ(allocator->n_free(), 33);
  expect_fresh(*allocator, allocator->allocate(33), 33);
}

TEST(BlockAllocator, MoreThanThereIsTakesNothing) {
  const auto allocator = lab02::make_block_allocator(7);
  const std::vector<int> taken = allocator->allocate(3);
  EXPECT_TRUE(throws_error([&] { (void)allocator->allocate(5); }, "5"))
      << "4 of 7 blocks are free, 5 are wanted: the message names both numbers";
  EXPECT_TRUE(throws_error([&] { (void)allocator->allocate(6); }, "4"))
      << "4 of 7 blocks are free, 6 are wanted: the message names both numbers";
  EXPECT_TRUE(matches_count(allocator->n_free(), 4,
                            std::vector<KnownCount>{{"an allocation that takes what there is and then fails: "
                                                     "check n against n_free() first, then take all or none",
                                                     0}}));
  expect_fresh(*allocator, allocator->allocate(4), 4);
  EXPECT_TRUE(throws_error([&] { (void)allocator->allocate(1); }, "1")) << "nothing is free";
  EXPECT_EQ(allocator->n_free(), 0);
  EXPECT_TRUE(allocator->allocate(0).empty()) << "no blocks can always be had";
  for (const int block : taken) EXPECT_EQ(allocator->ref_count(block), 1) << "of before the refusals";
}

TEST(BlockAllocator, RejectsNegativeAllocations) {
  const auto allocator = lab02::make_block_allocator(4);
  EXPECT_TRUE(throws_error([&] { (void)allocator->allocate(-2); }, "-2"));
  EXPECT_TRUE(throws_error([&] { (void)allocator->allocate(std::numeric_limits<int>::min()); }));
  EXPECT_EQ(allocator->n_free(), 4);
}

TEST(BlockAllocator, SharedBlockLivesUntilItsLastUserIsGone) {
  const auto allocator = lab02::make_block_allocator(4);
  const std::vector<int> blocks = allocator->allocate(2);
  allocator->share(blocks[0]);
  allocator->share(blocks[0]);
  EXPECT_EQ(allocator->ref_count(blocks[0]), 3);
  EXPECT_EQ(allocator->ref_count(blocks[1]), 1) << "its neighbour has one user still";
  EXPECT_EQ(allocator->n_free(), 2) << "sharing takes no block";
  for (const int left : {2, 1}) {
    allocator->release(blocks[0]);
    EXPECT_EQ(allocator->ref_count(blocks[0]), left);
    EXPECT_EQ(allocator->n_free(), 2)
        << "Likely cause: release() frees a block that still has " << left << " users";
  }
  allocator->release(blocks[0]);
  EXPECT_EQ(allocator->ref_count(blocks[0]), 0);
  EXPECT_EQ(allocator->n_free(), 3)
      << "Likely cause: release() leaks: a block without users must be free again";
  // Its next life begins with one user.
  expect_fresh(*allocator, allocator->allocate(3), 3);
}

TEST(BlockAllocator, ReleasingTwiceIsAnError) {
  const auto allocator = lab02::make_block_allocator(5);
  const std::vector<int> blocks = allocator->allocate(3);
  allocator->release(blocks[1]);
  EXPECT_TRUE(throws_error([&] { allocator->release(blocks[1]); }, std::to_string(blocks[1])))
      << "Likely cause: release() accepts a block that is free already. It would be on the free list twice, "
         "and two sequences would write into it";
  EXPECT_EQ(allocator->n_free(), 3);
  EXPECT_EQ(allocator->ref_count(blocks[1]), 0);
  expect_fresh(*allocator, allocator->allocate(3), 3);
}

TEST(BlockAllocator, FreeBlocksCannotBeShared) {
  const auto allocator = lab02::make_block_allocator(12);
  const std::vector<int> blocks = allocator->allocate(12);
  allocator->release(blocks[11]);
  EXPECT_TRUE(throws_error([&] { allocator->share(blocks[11]); }, std::to_string(blocks[11])))
      << "a block without users has no second one";
  EXPECT_EQ(allocator->ref_count(blocks[11]), 0);
  EXPECT_EQ(allocator->n_free(), 1);
  EXPECT_EQ(allocator->allocate(1), std::vector<int>{blocks[11]}) << "the only free block";
}

TEST(BlockAllocator, RejectsBlocksThatDoNotExist) {
  const auto allocator = lab02::make_block_allocator(9);
  const std::vector<int> blocks = allocator->allocate(9);
  allocator->release(blocks[4]);
  for (const int block : {-1, 9, std::numeric_limits<int>::max(), std::numeric_limits<int>::min()}) {
    const std::string name = std::to_string(block);
    EXPECT_TRUE(throws_error([&] { allocator->share(block); }, name)) << "share(" << block << ") of 9";
    EXPECT_TRUE(throws_error([&] { allocator->release(block); }, name)) << "release(" << block << ") of 9";
    EXPECT_TRUE(throws_error([&] { (void)allocator->ref_count(block); }, name))
        << "ref_count(" << block << ") of 9";
  }
  EXPECT_EQ(allocator->n_free(), 1);
}

TEST(BlockAllocator, AllocatorsAreIndependent) {
  const auto one = lab02::make_block_allocator(6);
  const auto other = lab02::make_block_allocator(4);
  const std::vector<int> blocks = one->allocate(6);
  EXPECT_EQ(other->n_free(), 4) << "Likely cause: state outside the object (static, or global)";
  EXPECT_EQ(other->n_blocks(), 4);
  expect_fresh(*other, other->allocate(4), 4);
}

TEST(BlockAllocator, CallsDoNotLookAtEveryBlock) {
  // A call that walks over all 8 million blocks, or over all free ones, takes milliseconds, and this test
  // more time than it is given. With constant-time calls it is a fraction of a second.
  constexpr int kBlocks = 1 << 23;
  constexpr int kChunk = 1 << 16;
  constexpr int kRounds = 3000;
  const auto allocator = lab02::make_block_allocator(kBlocks);
  const auto take_and_give_back = [&](int n_free) {
    for (int round = 0; round < kRounds; ++round) {
      const std::vector<int> block = allocator->allocate(1);
      ASSERT_EQ(allocator->n_free(), n_free - 1);
      allocator->release(block.at(0));
    }
  };
  take_and_give_back(kBlocks);  // all free: a list of them is long
  for (int taken = 0; taken < kBlocks - kChunk; taken += kChunk)
    ASSERT_EQ(allocator->allocate(kChunk).size(), kChunk);
  ASSERT_EQ(allocator->allocate(kChunk - 5).size(), kChunk - 5);
  take_and_give_back(5);  // nearly none: they are hard to find
}

/// What an allocator must be like: the users of each block, and nothing else.
class Oracle {
 public:
  explicit Oracle(int n_blocks) : users_(static_cast<std::size_t>(n_blocks), 0) {}

  int n_free() const { return static_cast<int>(std::ranges::count(users_, 0)); }
  bool exists(int block) const { return block >= 0 && block < static_cast<int>(users_.size()); }
  bool is_used(int block) const { return exists(block) && users(block) > 0; }
  int users(int block) const { return users_[static_cast<std::size_t>(block)]; }
  void change_users(int block, int by) { users_[static_cast<std::size_t>(block)] += by; }

 private:
  std::vector<int> users_;
};

/// Random operations on an allocator and the oracle, some of which must be refused.
class RandomDriver {
 public:
  RandomDriver(int n_blocks, std::uint64_t stream)
      : n_blocks_(n_blocks),
        rng_(kit::testing::make_rng(stream)),
        allocator_(lab02::make_block_allocator(n_blocks)),
        oracle_(n_blocks) {}

  void run(int n_operations) {
    for (int i = 0; i < n_operations && !::testing::Test::HasFailure(); ++i) {
      const std::uint32_t kind = rng_.below(10);
      if (kind < 3) {
        allocate();
      } else {
        // One past either end, too: those must be refused.
        const int block = between(rng_, -1, n_blocks_);
        change(block, kind < 5);
      }
      EXPECT_EQ(allocator_->n_free(), oracle_.n_free()) << "after operation " << i << ": " << last_;
      if (i % 16 == 0) check_all();
    }
    check_all();
    drain();
  }

 private:
  void allocate() {
    const int n = rng_.below(12) == 0 ? between(rng_, -2, n_blocks_ + 2) : between(rng_, 0, 3);
    last_ = fmt::format("allocate({}) with {} free", n, oracle_.n_free());
    SCOPED_TRACE(last_);
    if (n < 0 || n > oracle_.n_free()) {
      EXPECT_TRUE(throws_error([&] { (void)allocator_->allocate(n); }, std::to_string(n)));
      return;
    }
    const std::vector<int> blocks = allocator_->allocate(n);
    ASSERT_EQ(static_cast<int>(blocks.size()), n);
    for (const int block : blocks) {
      ASSERT_TRUE(oracle_.exists(block)) << "block " << block;
      ASSERT_EQ(oracle_.users(block), 0) << "block " << block << " is in use, or was handed out twice";
      oracle_.change_users(block, +1);
      EXPECT_EQ(allocator_->ref_count(block), 1) << "block " << block;
    }
  }

  void change(int block, bool share) {
    last_ = fmt::format("{}({})", share ? "share" : "release", block);
    SCOPED_TRACE(last_);
    const auto call = [&] { share ? allocator_->share(block) : allocator_->release(block); };
    if (!oracle_.is_used(block)) {
      EXPECT_TRUE(throws_error(call, std::to_string(block)));
    } else {
      call();
      oracle_.change_users(block, share ? +1 : -1);
    }
    if (!oracle_.exists(block)) return;
    EXPECT_EQ(allocator_->ref_count(block), oracle_.users(block));
  }

  void check_all() {
    for (int block = 0; block < n_blocks_; ++block) {
      ASSERT_EQ(allocator_->ref_count(block), oracle_.users(block))
          << "block " << block << " after " << last_;
    }
  }

  /// Everything is given back, then everything can be had.
  void drain() {
    for (int block = 0; block < n_blocks_; ++block) {
      for (; oracle_.users(block) > 0; oracle_.change_users(block, -1)) allocator_->release(block);
    }
    EXPECT_EQ(allocator_->n_free(), n_blocks_);
    expect_fresh(*allocator_, allocator_->allocate(n_blocks_), static_cast<std::size_t>(n_blocks_));
  }

  int n_blocks_;
  kit::Rng rng_;
  std::unique_ptr<BlockAllocator> allocator_;
  Oracle oracle_;
  std::string last_ = "the start";
};

TEST(BlockAllocator, AgreesWithAnOracleOnRandomOperations) {
  for (const int n_blocks : {1, 5, 31}) {
    SCOPED_TRACE(fmt::format("{} blocks, seed {}", n_blocks, kit::testing::seed()));
    RandomDriver(n_blocks, 210 + static_cast<std::uint64_t>(n_blocks)).run(1500);
  }
}

}  // namespace
