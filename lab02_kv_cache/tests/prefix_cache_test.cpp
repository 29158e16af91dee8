#include "lab02/prefix_cache.h"

#include <gtest/gtest.h>

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "kit/reference.h"
#include "kit/testing.h"

// The allocator in these tests is the kit's own, so that they say nothing about task 5, and counts the users
// of each block on the kit's side.

namespace {

using kit::testing::throws_error;
using Tokens = std::vector<int>;

// -- The hash ---------------------------------------------------------------------------------------------

TEST(HashBlock, DependsOnEveryTokenTheirOrderAndTheParent) {
  kit::Rng rng = kit::testing::make_rng(700);
  for (const int block_size : {1, 2, 16, 31}) {
    Tokens tokens(static_cast<std::size_t>(block_size));
    for (int& token : tokens) token = static_cast<int>(rng.below(50000));
    const std::uint64_t hash = lab02::hash_block(0, tokens);
    ASSERT_EQ(lab02::hash_block(0, tokens), hash) << "the same block hashed twice";
    for (const std::uint64_t parent : {std::uint64_t{1}, std::uint64_t{1} << 40, hash}) {
      EXPECT_NE(lab02::hash_block(parent, tokens), hash)
          << "parents 0 and " << parent
          << " give the same hash of the same tokens. Likely cause: the hash does "
          << "not depend on the parent, so that equal blocks behind different prefixes are taken for one";
    }
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      Tokens changed = tokens;
      ++changed[i];
      EXPECT_NE(lab02::hash_block(0, changed), hash)
          << "another token " << i << " of " << block_size << " gives the same hash";
      if (i == 0 || tokens[i] == tokens[i - 1]) continue;
      changed = tokens;
      std::swap(changed[i], changed[i - 1]);
      EXPECT_NE(lab02::hash_block(0, changed), hash)
          << "tokens " << i - 1 << " and " << i
          << " exchanged give the same hash. Likely cause: tokens are added "
          << "up (or xored) without regard to their order";
    }
  }
}

TEST(HashBlock, SpreadsSimilarBlocks) {
  // Two of 3,000 good hashes of 64 bits agree with a probability of 3e-13.
  std::set<std::uint64_t> single;   // of one block
  std::set<std::uint64_t> chained;  // of a block behind another
  for (int a = 0; a < 32; ++a) {
    const std::uint64_t parent = lab02::hash_block(0, Tokens{a});
    for (int b = 0; b < 32; ++b) {
      single.insert(lab02::hash_block(0, Tokens{a, b}));
      single.insert(lab02::hash_block(7, Tokens{a, 0, 0, b}));
      chained.insert(lab02::hash_block(parent, Tokens{b}));
    }
  }
  EXPECT_EQ(single.size(), 2048U)
      << "different hashes of 2048 blocks of small token numbers: not a good hash";
  EXPECT_EQ(chained.size(), 1024U)
      << "different hashes of 32 blocks behind each of 32 others: not a good hash";
}

// -- One cache, step by step ------------------------------------------------------------------------------

constexpr int kBlockSize = 4;
constexpr int kBlocks = 32;

/// n tokens that no other first_token gives.
Tokens numbered(int n, int first_token) {
  Tokens tokens(static_cast<std::size_t>(n));
  for (int i = 0; i < n; ++i) tokens[static_cast<std::size_t>(i)] = first_token + i;
  return tokens;
}

Tokens operator+(Tokens a, const Tokens& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

/// A running sequence: it is one user of each block of its table.
struct Sequence {
  Tokens tokens;
  std::vector<int> table;
};

class PrefixCache : public ::testing::Test {
 protected:
  void make(int hash_bits = 64, int block_size = kBlockSize) {
    block_size_ = block_size;
    allocator_ = kit::make_reference_block_allocator(kBlocks);
    cache_ = lab02::make_prefix_cache({block_size, hash_bits}, allocator_);
  }
  /// A sequence that computes all its tokens in blocks of its own, and is inserted.
  Sequence compute(const Tokens& tokens) {
    const int n = (static_cast<int>(tokens.size()) + block_size_ - 1) / block_size_;
    Sequence s{tokens, allocator_->allocate(n)};
    cache_->insert(s.tokens, s.table);
    return s;
  }
  void finish(const Sequence& s) {
    for (const int block : s.table) allocator_->release(block);
  }
  /// A sequence that has come and gone; its blocks.
  std::vector<int> keep(const Tokens& tokens) {
    const Sequence s = compute(tokens);
    finish(s);
    return s.table;
  }
  /// match(), and the references given back at once.
  std::vector<int> found(const Tokens& tokens) {
    kit::PrefixMatch match;
    try {
      match = cache_->match(tokens);
    } catch (const kit::Error& error) {
      ADD_FAILURE() << "match of " << tokens.size() << " tokens threw: " << error.what()
                    << "\nLikely cause: a block was found after it had been evicted";
      return {};
    }
    EXPECT_EQ(match.n_tokens, static_cast<int>(match.blocks.size()) * block_size_)
        << "n_tokens of a match of " << match.blocks.size() << " blocks of " << block_size_;
    for (const int block : match.blocks) allocator_->release(block);
    return match.blocks;
  }
  /// found() of a prompt that goes on behind `tokens`, so that all of them may be matched.
  std::vector<int> found_behind(const Tokens& tokens) { return found(tokens + Tokens{-1}); }

  static std::vector<int> first(const std::vector<int>& blocks, std::size_t n) {
    return {blocks.begin(), blocks.begin() + static_cast<std::ptrdiff_t>(n)};
  }

  int block_size_ = 0;
  std::shared_ptr<kit::BlockAllocator> allocator_;
  std::unique_ptr<kit::PrefixCache> cache_;
};

TEST_F(PrefixCache, FindsTheLongestPrefixInWholeBlocks) {
  make();
  EXPECT_EQ(cache_->match(numbered(9, 100)), kit::PrefixMatch{}) << "an empty cache has nothing";
  const Tokens prompt = numbered(11, 100);
  const std::vector<int> blocks = keep(prompt);  // two full blocks and three tokens
  EXPECT_EQ(found(prompt), first(blocks, 2)) << "the same prompt again";
  EXPECT_EQ(found(prompt + numbered(20, 500)), first(blocks, 2)) << "a prompt that goes on";
  EXPECT_EQ(found(first(prompt, 10) + numbered(5, 500)), first(blocks, 2)) << "10 tokens in common";
  EXPECT_EQ(found(first(prompt, 7) + numbered(5, 500)), first(blocks, 1)) << "7 tokens in common";
  EXPECT_EQ(found(first(prompt, 3) + numbered(9, 500)), std::vector<int>{}) << "3 tokens in common";
  EXPECT_EQ(found(numbered(1, 7) + prompt), std::vector<int>{}) << "the same tokens one position later";
  EXPECT_EQ(found(numbered(8, 104)), std::vector<int>{}) << "tokens of the second block at the beginning";
}

TEST_F(PrefixCache, NeverMatchesTheWholePrompt) {
  make();
  const Tokens prompt = numbered(5 * kBlockSize, 100);
  const std::vector<int> blocks = keep(prompt);
  for (int n = 1; n <= 5 * kBlockSize; ++n) {
    const auto got = static_cast<int>(found(first(prompt, static_cast<std::size_t>(n))).size());
    ASSERT_EQ(got, (n - 1) / kBlockSize)
        << "a prompt of " << n << " tokens, all cached, in blocks of " << kBlockSize
        << (got * kBlockSize == n
                ? ". Likely cause: the whole prompt was matched; one token at least must be left, or "
                  "the model has nothing to run and there are no logits"
                : "");
  }
}

TEST_F(PrefixCache, MatchGivesTheCallerAReferenceToEachBlock) {
  make();
  const Tokens prompt = numbered(9, 100);
  const std::vector<int> blocks = keep(prompt);
  for (int n_users = 1; n_users <= 3; ++n_users) {
    ASSERT_EQ(allocator_->ref_count(blocks[0]), n_users) << "the cache and " << n_users - 1 << " sequences";
    ASSERT_EQ(cache_->match(prompt).blocks, first(blocks, 2));
    for (std::size_t i = 0; i < 2; ++i) {
      const int ref_count = allocator_->ref_count(blocks[i]);
      ASSERT_EQ(ref_count, n_users + 1)
          << "users of matched block " << i << ", the cache and " << n_users << " sequences"
          << (ref_count == n_users
                  ? ". Likely cause: match does not share the blocks that it returns: when the sequence "
                    "releases them, they are gone under the cache"
                  : "");
    }
  }
  EXPECT_EQ(allocator_->ref_count(blocks[2]), 0) << "the partly filled block";
}

TEST_F(PrefixCache, KeepsFullBlocksOnly) {
  make();
  const Sequence s = compute(numbered(2 * kBlockSize + 3, 100));
  EXPECT_EQ(cache_->n_blocks(), 2) << "of 11 tokens in blocks of 4"
                                   << (cache_->n_blocks() == 3
                                           ? ". Likely cause: the last, partly filled block was kept, too; "
                                             "its sequence goes on writing to it"
                                           : "");
  EXPECT_EQ(allocator_->ref_count(s.table[1]), 2) << "a full block: the sequence and the cache";
  EXPECT_EQ(allocator_->ref_count(s.table[2]), 1) << "the partly filled block: the sequence alone";
  const Sequence tiny = compute(numbered(kBlockSize - 1, 200));
  EXPECT_EQ(cache_->n_blocks(), 2) << "a sequence without a full block";
  EXPECT_EQ(allocator_->ref_count(tiny.table[0]), 1);
}

TEST_F(PrefixCache, EqualBlocksBehindOtherPrefixesAreOthers) {
  for (const int hash_bits : {64, 4, 0}) {
    make(hash_bits);
    const Tokens a = numbered(kBlockSize, 100);
    const Tokens b = numbered(kBlockSize, 200);
    const Tokens shared = numbered(kBlockSize, 300);  // the same tokens, but their keys have seen other ones
    const std::vector<int> behind_a = keep(a + shared);
    const std::vector<int> only_b = keep(b);
    const auto cause = [&](const std::vector<int>& got) {
      return fmt::format(
          ", hash_bits {}{}", hash_bits,
          std::ranges::count(got, behind_a[1]) == 0
              ? ""
              : ". Likely cause: a block is found by its own tokens, whatever came before it; its keys and "
                "values belong to another prefix");
    };
    const std::vector<int> got_b = found_behind(b + shared);
    EXPECT_EQ(got_b, only_b) << "tokens cached behind another first block" << cause(got_b);
    const std::vector<int> got_none = found_behind(shared);
    EXPECT_EQ(got_none, std::vector<int>{}) << "tokens cached as a second block" << cause(got_none);
    const Sequence behind_b = compute(b + shared);
    EXPECT_EQ(cache_->n_blocks(), 4) << "A, A+X, B, B+X are four blocks, hash_bits " << hash_bits;
    EXPECT_EQ(found_behind(a + shared), behind_a) << "hash_bits " << hash_bits;
    EXPECT_EQ(found_behind(b + shared), (std::vector<int>{only_b[0], behind_b.table[1]}))
        << "hash_bits " << hash_bits;
  }
}

TEST_F(PrefixCache, TokensDecideWhenHashesCollide) {
  for (const int hash_bits : {0, 1, 2, 3, 4, 8}) {
    make(hash_bits);
    std::vector<Tokens> prompts;
    std::vector<std::vector<int>> kept;
    for (int i = 0; i < 10; ++i) {
      prompts.push_back(numbered(3 * kBlockSize, 1000 * i));
      kept.push_back(keep(prompts.back()));
    }
    ASSERT_EQ(cache_->n_blocks(), 30)
        << "10 prompts of 3 different blocks, hash_bits " << hash_bits
        << (cache_->n_blocks() < 30 ? ". Likely cause: a hit was not verified; a block was taken for another "
                                      "one with the same hash"
                                    : "");
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      ASSERT_EQ(found_behind(prompts[i]), kept[i]) << "prompt " << i << ", hash_bits " << hash_bits;
      const std::vector<int> got = found_behind(numbered(3 * kBlockSize, -1000 * static_cast<int>(i) - 500));
      ASSERT_EQ(got, std::vector<int>{}) << "tokens that were never cached, hash_bits " << hash_bits
                                         << ". Likely cause: a hit was not verified; blocks "
                                         << "with equal hashes may hold different tokens";
    }
  }
}

TEST_F(PrefixCache, WhatIsCachedIsNotKeptTwice) {
  make();
  const Tokens prompt = numbered(2 * kBlockSize, 100);
  const Sequence s = compute(prompt);
  const Sequence same = compute(prompt);  // computed at the same time, in blocks of its own
  EXPECT_EQ(cache_->n_blocks(), 2) << "the same two blocks from two sequences";
  EXPECT_EQ(allocator_->ref_count(s.table[0]), 2) << "kept: its sequence and the cache";
  EXPECT_EQ(allocator_->ref_count(same.table[0]), 1) << "not kept: its sequence alone";
  cache_->insert(s.tokens, s.table);
  EXPECT_EQ(allocator_->ref_count(s.table[0]), 2) << "inserted twice, the cache is still one user";
  // What the second one computes next continues the blocks that the cache has.
  const Sequence longer{prompt + numbered(kBlockSize, 300),
                        {same.table[0], same.table[1], allocator_->allocate(1)[0]}};
  cache_->insert(longer.tokens, longer.table);
  EXPECT_EQ(cache_->n_blocks(), 3);
  EXPECT_EQ(found_behind(longer.tokens), (std::vector<int>{s.table[0], s.table[1], longer.table[2]}));
  EXPECT_EQ(allocator_->ref_count(longer.table[2]), 2);
}

TEST_F(PrefixCache, InsertGoesOnBehindAMatchedPrefix) {
  make();
  const Tokens system = numbered(2 * kBlockSize, 100);
  const std::vector<int> kept = keep(system);
  Sequence s{system + numbered(kBlockSize + 2, 300), cache_->match(system + Tokens{300}).blocks};
  ASSERT_EQ(s.table, kept);
  for (const int block : allocator_->allocate(2)) s.table.push_back(block);
  cache_->insert(s.tokens, s.table);
  EXPECT_EQ(cache_->n_blocks(), 3) << "two blocks were there, one is new";
  EXPECT_EQ(allocator_->ref_count(s.table[0]), 2) << "the cache and the sequence, as before the insert";
  EXPECT_EQ(allocator_->ref_count(s.table[2]), 2) << "newly kept";
  s.tokens = s.tokens + numbered(2, 400);  // the sequence goes on and fills its fourth block
  cache_->insert(s.tokens, s.table);
  EXPECT_EQ(cache_->n_blocks(), 4);
  finish(s);
  EXPECT_EQ(found_behind(s.tokens), s.table);
}

// -- Eviction ---------------------------------------------------------------------------------------------

TEST_F(PrefixCache, EvictsTheLeastRecentlyUsedFirst) {
  make();
  std::vector<Tokens> prompts;
  std::vector<int> blocks;
  for (int i = 0; i < 4; ++i) {
    prompts.push_back(numbered(kBlockSize, 1000 * i));
    blocks.push_back(keep(prompts.back())[0]);
  }
  found_behind(prompts[0]);                              // a match is a use
  cache_->insert(prompts[1], std::span(&blocks[1], 1));  // and so is an insert of what is there
  // The order of last use is now 2, 3, 0, 1.
  ASSERT_EQ(cache_->evict(1), 1);
  const auto is_free = [&](int i) { return allocator_->ref_count(blocks[static_cast<std::size_t>(i)]) == 0; };
  EXPECT_TRUE(is_free(2)) << "prompt 2 was used least recently"
                          << (is_free(1) ? ". Likely cause: the most recently used block was evicted"
                              : is_free(0)
                                  ? ". Likely cause: the first kept was evicted, although it was used again"
                                  : "");
  EXPECT_EQ(cache_->evict(2), 2);
  EXPECT_TRUE(is_free(3)) << "then comes prompt 3";
  EXPECT_TRUE(is_free(0)) << "then comes prompt 0, used by a match";
  EXPECT_FALSE(is_free(1)) << "last comes prompt 1, used by an insert";
  EXPECT_EQ(found_behind(prompts[1]), std::vector<int>{blocks[1]});
  EXPECT_EQ(cache_->n_blocks(), 1);
}

TEST_F(PrefixCache, EvictsOnlyWhatNobodyUses) {
  make();
  const Sequence running = compute(numbered(3 * kBlockSize, 100));
  EXPECT_EQ(cache_->evict(0), 0);
  const int n_evicted = cache_->evict(2);
  EXPECT_EQ(n_evicted, 0) << "all blocks are in use"
                          << (n_evicted > 0
                                  ? ". Likely cause: blocks were evicted that a running sequence reads"
                                  : "");
  ASSERT_EQ(cache_->n_blocks(), 3);
  const std::vector<int> kept = keep(numbered(2 * kBlockSize, 200));
  EXPECT_EQ(cache_->evict(100), 2) << "two blocks are in nobody's use, three in a running sequence's";
  for (const int block : kept) EXPECT_EQ(allocator_->ref_count(block), 0) << "evicted";
  for (const int block : running.table) EXPECT_EQ(allocator_->ref_count(block), 2) << "in use";
  EXPECT_EQ(found_behind(running.tokens), running.table);
  finish(running);
  EXPECT_EQ(cache_->evict(100), 3) << "the sequence has ended";
  EXPECT_EQ(allocator_->n_free(), kBlocks) << "nothing is held any more";
}

TEST_F(PrefixCache, EvictsTheEndOfASequenceBeforeItsBeginning) {
  make();
  const Tokens prompt = numbered(4 * kBlockSize, 100);
  const std::vector<int> blocks = keep(prompt);
  for (std::size_t n_left = 4; n_left > 0; --n_left) {
    ASSERT_EQ(found_behind(prompt), first(blocks, n_left))
        << "after " << 4 - n_left
        << " evictions of one block each. Blocks used at the same time go from the end: without "
        << "its beginning the rest cannot be found";
    ASSERT_EQ(cache_->evict(1), 1);
  }
  EXPECT_EQ(cache_->n_blocks(), 0);
}

TEST_F(PrefixCache, KeepsABlockThatAnotherOneContinues) {
  make();
  const Tokens prompt = numbered(kBlockSize, 100);
  const Sequence s = compute(prompt);
  // Another sequence has computed the same block for itself and continues it: its second block is kept behind
  // the first one's block, which nobody uses once that has ended.
  const Sequence longer = compute(prompt + numbered(kBlockSize, 200));
  finish(s);
  ASSERT_EQ(allocator_->ref_count(s.table[0]), 1);
  EXPECT_EQ(cache_->evict(10), 0) << "the second block is in use and would not be found without the first";
  EXPECT_EQ(found_behind(longer.tokens), (std::vector<int>{s.table[0], longer.table[1]}));
  finish(longer);
  EXPECT_EQ(cache_->evict(10), 2);
}

TEST_F(PrefixCache, AReusedBlockIsNotFoundByItsOldTokens) {
  for (const int hash_bits : {64, 0}) {
    make(hash_bits);
    const Tokens old_prompt = numbered(2 * kBlockSize, 100);
    const std::vector<int> old_blocks = keep(old_prompt);
    ASSERT_EQ(cache_->evict(1), 1);
    EXPECT_EQ(found_behind(old_prompt), first(old_blocks, 1)) << "the second block was evicted";
    ASSERT_EQ(cache_->evict(1), 1);
    EXPECT_EQ(allocator_->n_free(), kBlocks) << "an evicted block is free";
    const Tokens new_prompt = numbered(2 * kBlockSize, 500);
    const Sequence s = compute(new_prompt);
    ASSERT_EQ(s.table, old_blocks) << "the allocator gives the lowest free blocks, these again";
    const std::vector<int> got = found_behind(old_prompt);
    EXPECT_EQ(got, std::vector<int>{})
        << "hash_bits " << hash_bits
        << (got.empty()
                ? ""
                : ". Likely cause: the evicted block's hash was kept; the block now holds other tokens");
    EXPECT_EQ(found_behind(new_prompt), s.table) << "hash_bits " << hash_bits;
  }
}

TEST_F(PrefixCache, RejectsBadArguments) {
  make();
  EXPECT_TRUE(throws_error([&] { lab02::make_prefix_cache({0, 64}, allocator_); })) << "blocks of 0 tokens";
  EXPECT_TRUE(throws_error([&] { lab02::make_prefix_cache({-4, 64}, allocator_); })) << "blocks of -4 tokens";
  EXPECT_TRUE(throws_error([&] { lab02::make_prefix_cache({4, 65}, allocator_); })) << "65 bits of 64";
  EXPECT_TRUE(throws_error([&] { lab02::make_prefix_cache({4, -1}, allocator_); })) << "-1 bits";
  EXPECT_TRUE(throws_error([&] { lab02::make_prefix_cache({4, 64}, nullptr); })) << "no allocator";
  const Sequence s = compute(numbered(2 * kBlockSize, 100));
  EXPECT_TRUE(throws_error([&] { cache_->match({}); })) << "a prompt of no tokens";
  EXPECT_TRUE(throws_error([&] { cache_->evict(-1); })) << "-1 blocks";
  EXPECT_TRUE(throws_error([&] { cache_->insert(numbered(3 * kBlockSize, 500), s.table); }))
      << "three full blocks, a table of two";
  EXPECT_EQ(cache_->n_blocks(), 2) << "a refused call keeps nothing";
  for (const int block : s.table) EXPECT_EQ(allocator_->ref_count(block), 2);
}

// -- Random use against an oracle -------------------------------------------------------------------------

/// The cache as its contract puts it: a map from a prefix, all its tokens, to the block that ends it.
class Oracle {
 public:
  explicit Oracle(int block_size) : block_size_(static_cast<std::size_t>(block_size)) {}

  std::vector<int> match(const Tokens& tokens) {
    ++now_;
    std::vector<int> blocks;
    for (std::size_t n = block_size_; n < tokens.size(); n += block_size_) {
      const auto found = held_.find(prefix(tokens, n));
      if (found == held_.end()) break;
      found->second.last_used = now_;
      blocks.push_back(found->second.block);
    }
    return blocks;
  }
  void insert(const Tokens& tokens, const std::vector<int>& table) {
    ++now_;
    for (std::size_t n = block_size_; n <= tokens.size(); n += block_size_) {
      const auto [entry, is_new] = held_.try_emplace(prefix(tokens, n));
      if (is_new) entry->second.block = table[n / block_size_ - 1];
      entry->second.last_used = now_;
    }
  }
  /// `n_users` of every block, the cache not counted. Returns the blocks let go.
  std::vector<int> evict(int n, const std::vector<int>& n_users) {
    std::vector<int> evicted;
    while (static_cast<int>(evicted.size()) < n) {
      auto chosen = held_.end();
      for (auto entry = held_.begin(); entry != held_.end(); ++entry) {
        if (n_users[static_cast<std::size_t>(entry->second.block)] > 0 || is_continued(entry->first))
          continue;
        if (chosen == held_.end() || goes_before(*entry, *chosen)) chosen = entry;
      }
      if (chosen == held_.end()) break;
      evicted.push_back(chosen->second.block);
      held_.erase(chosen);
    }
    return evicted;
  }
  bool holds(int block) const {
    return std::ranges::any_of(held_, [&](const auto& entry) { return entry.second.block == block; });
  }
  int size() const { return static_cast<int>(held_.size()); }

 private:
  struct Held {
    int block = 0;
    int last_used = 0;
  };
  using Entry = std::pair<const Tokens, Held>;

  static Tokens prefix(const Tokens& tokens, std::size_t n) {
    return {tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(n)};
  }
  static bool goes_before(const Entry& a, const Entry& b) {
    if (a.second.last_used != b.second.last_used) return a.second.last_used < b.second.last_used;
    return a.first.size() > b.first.size();
  }
  bool is_continued(const Tokens& prefix) const {
    const auto longer = held_.upper_bound(prefix);  // in lexical order, what continues it comes next
    return longer != held_.end() && longer->first.size() > prefix.size() &&
           std::equal(prefix.begin(), prefix.end(), longer->first.begin());
  }

  std::size_t block_size_;
  std::map<Tokens, Held> held_;
  int now_ = 0;
};

/// Random sequences that come, grow and go on one cache, beside the oracle. Every step says whether both
/// agree.
class RandomUse {
 public:
  RandomUse(int block_size, int hash_bits, std::uint64_t stream)
      : block_size_(block_size),
        rng_(kit::testing::make_rng(stream)),
        allocator_(kit::make_reference_block_allocator(kPoolBlocks)),
        cache_(lab02::make_prefix_cache({block_size, hash_bits}, allocator_)),
        oracle_(block_size) {}

  ::testing::AssertionResult step() {
    const int choice = below(100);
    if (choice < 35) return start(/*looks_up=*/true);
    if (choice < 45) return start(/*looks_up=*/false);
    if (choice < 60) return grow();
    if (choice < 90) return finish();
    return evict(below(5));
  }

 private:
  static constexpr int kPoolBlocks = 24;
  static constexpr int kMaxPromptBlocks = 5;

  int below(int n) { return static_cast<int>(rng_.below(static_cast<std::uint32_t>(n))); }
  std::size_t pick(std::size_t n) { return rng_.below(static_cast<std::uint32_t>(n)); }

  /// Of three tokens, and often with the beginning of an earlier one, so that prefixes meet. Lengths that are
  /// multiples of the block size are drawn on purpose.
  Tokens random_prompt() {
    int len = 1 + below(kMaxPromptBlocks * block_size_);
    if (below(3) == 0) len = block_size_ * (1 + below(kMaxPromptBlocks));
    Tokens prompt;
    if (!earlier_.empty() && below(4) > 0) prompt = earlier_[pick(earlier_.size())];
    if (below(2) == 0) prompt.resize(pick(prompt.size() + 1));
    while (static_cast<int>(prompt.size()) < len) prompt.push_back(below(3));
    prompt.resize(static_cast<std::size_t>(len));
    if (earlier_.size() < 30)
      earlier_.push_back(prompt);
    else
      earlier_[pick(earlier_.size())] = prompt;
    return prompt;
  }

  ::testing::AssertionResult start(bool looks_up) {
    Sequence s{random_prompt(), {}};
    if (looks_up) {
      const kit::PrefixMatch match = cache_->match(s.tokens);
      const std::vector<int> expected = oracle_.match(s.tokens);
      if (match.blocks != expected || match.n_tokens != static_cast<int>(expected.size()) * block_size_)
        return wrong_match(s.tokens, match, expected);
      s.table = expected;
    }
    sequences_.push_back(s);
    return extend_last(below(5) > 0);
  }

  ::testing::AssertionResult grow() {
    if (sequences_.empty()) return start(true);
    std::swap(sequences_[pick(sequences_.size())], sequences_.back());
    for (int n = 1 + below(block_size_ + 1); n > 0; --n) sequences_.back().tokens.push_back(below(3));
    return extend_last(true);
  }

  /// Gives the last sequence the blocks that it lacks, evicting where needed, and inserts it. It ends when
  /// there is no room.
  ::testing::AssertionResult extend_last(bool inserts) {
    const auto len = static_cast<int>(sequences_.back().tokens.size());
    const int n = (len + block_size_ - 1) / block_size_ - static_cast<int>(sequences_.back().table.size());
    if (n > allocator_->n_free()) {
      if (const auto result = evict(n - allocator_->n_free()); !result) return result;
    }
    if (n > allocator_->n_free()) return finish_last();
    for (const int block : allocator_->allocate(n)) sequences_.back().table.push_back(block);
    if (inserts) {
      cache_->insert(sequences_.back().tokens, sequences_.back().table);
      oracle_.insert(sequences_.back().tokens, sequences_.back().table);
    }
    return agrees(fmt::format("insert of {} tokens", len));
  }

  ::testing::AssertionResult finish() {
    if (sequences_.empty()) return start(true);
    std::swap(sequences_[pick(sequences_.size())], sequences_.back());
    return finish_last();
  }
  ::testing::AssertionResult finish_last() {
    for (const int block : sequences_.back().table) allocator_->release(block);
    sequences_.pop_back();
    return agrees("the end of a sequence");
  }

  ::testing::AssertionResult evict(int n) {
    const int got = cache_->evict(n);
    const std::vector<int> expected = oracle_.evict(n, users());
    if (got != static_cast<int>(expected.size())) {
      return ::testing::AssertionFailure()
             << "evict(" << n << ") returned " << got << ", " << expected.size() << " blocks could go";
    }
    return agrees(fmt::format("evict({}), which had to take blocks [{}]", n, fmt::join(expected, ", ")));
  }

  /// Users of each block, the cache not counted.
  std::vector<int> users() const {
    std::vector<int> n_users(kPoolBlocks, 0);
    for (const Sequence& s : sequences_) {
      for (const int block : s.table) ++n_users[static_cast<std::size_t>(block)];
    }
    return n_users;
  }

  /// What must hold after every step: the cache holds the oracle's blocks, and each block has exactly its
  /// users.
  ::testing::AssertionResult agrees(const std::string& what) const {
    const std::vector<int> n_users = users();
    for (int block = 0; block < kPoolBlocks; ++block) {
      const int expected = n_users[static_cast<std::size_t>(block)] + (oracle_.holds(block) ? 1 : 0);
      const int got = allocator_->ref_count(block);
      if (got == expected) continue;
      return ::testing::AssertionFailure()
             << "after " << what << ", block " << block << " has " << got << " users, expected " << expected
             << (oracle_.holds(block) ? ": the cache and " : ": not the cache, and ")
             << n_users[static_cast<std::size_t>(block)] << " sequences";
    }
    if (cache_->n_blocks() == oracle_.size()) return ::testing::AssertionSuccess();
    return ::testing::AssertionFailure()
           << "after " << what << ", n_blocks() is " << cache_->n_blocks() << ", expected " << oracle_.size();
  }

  ::testing::AssertionResult wrong_match(const Tokens& tokens, const kit::PrefixMatch& got,
                                         const std::vector<int>& expected) const {
    auto failure = ::testing::AssertionFailure()
                   << "match of [" << fmt::format("{}", fmt::join(tokens, " ")) << "] gave blocks ["
                   << fmt::format("{}", fmt::join(got.blocks, ", ")) << "] and n_tokens " << got.n_tokens
                   << ", expected [" << fmt::format("{}", fmt::join(expected, ", ")) << "] and "
                   << static_cast<int>(expected.size()) * block_size_;
    if (got.blocks.size() * static_cast<std::size_t>(block_size_) >= tokens.size())
      return failure << ". Likely cause: the whole prompt was matched";
    for (const int block : got.blocks) {
      if (!oracle_.holds(block))
        return failure << ". Likely cause: block " << block << " was found after it was evicted";
      if (std::ranges::count(expected, block) == 0)
        return failure << ". Likely cause: block " << block
                       << " holds other tokens, or follows others: a hit was not verified";
    }
    return failure;
  }

  int block_size_;
  kit::Rng rng_;
  std::shared_ptr<kit::BlockAllocator> allocator_;
  std::unique_ptr<kit::PrefixCache> cache_;
  Oracle oracle_;
  std::vector<Sequence> sequences_;
  std::vector<Tokens> earlier_;
};

TEST_F(PrefixCache, EqualsAnOracleInRandomUse) {
  std::uint64_t stream = 750;
  for (const int block_size : {1, 2, 3}) {
    for (const int hash_bits : {64, 8, 3, 0}) {
      RandomUse use(block_size, hash_bits, ++stream);
      for (int i = 0; i < 300; ++i) {
        ASSERT_TRUE(use.step()) << "\nin step " << i << ", block_size " << block_size << ", hash_bits "
                                << hash_bits;
      }
    }
  }
}

}  // namespace
