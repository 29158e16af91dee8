#include "lab02/paged_kv_cache.h"

#include <gtest/gtest.h>

#include <fmt/ranges.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "kit/reference.h"
#include "kit/testing.h"

// The allocator in these tests is the kit's own, so that they say nothing about task 5.

namespace {

using kit::AppendedSlots;
using kit::BlockCopy;
using kit::KvUsage;
using kit::testing::KnownCount;
using kit::testing::matches_count;
using kit::testing::throws_error;
using Slots = std::vector<std::int64_t>;

/// A cache and the allocator that it takes its blocks from.
struct Paged {
  std::shared_ptr<kit::BlockAllocator> allocator;
  std::unique_ptr<kit::PagedKvCache> cache;

  Paged(int block_size, int n_blocks)
      : allocator(kit::make_reference_block_allocator(n_blocks)),
        cache(lab02::make_paged_kv_cache(block_size, allocator)) {}

  int n_taken() const { return allocator->n_blocks() - allocator->n_free(); }
  /// A sequence of n tokens, appended at once.
  int sequence_of(int n) const {
    const int sequence = cache->add_sequence();
    (void)cache->append(sequence, n);
    return sequence;
  }
};

int blocks_for(int n_tokens, int block_size) {
  return (n_tokens + block_size - 1) / block_size;
}

bool all_different(std::vector<int> values) {
  std::ranges::sort(values);
  return std::ranges::adjacent_find(values) == values.end();
}

/// Slots of positions first, first + 1, ... through `slot`, which maps a position.
template <class SlotOf>
Slots slots(int first, std::size_t n, const SlotOf& slot) {
  Slots result;
  for (std::size_t i = 0; i < n; ++i) result.push_back(slot(first + static_cast<int>(i)));
  return result;
}

struct KnownSlots {
  const char* cause;
  Slots slots;
};

/// `got` are the slots of the tokens at `first_pos` and behind, in a sequence with this block table.
::testing::AssertionResult same_slots(const Slots& got, const std::vector<int>& table, int first_pos,
                                      std::size_t n, int block_size) {
  const auto block = [&](int index) {
    return index < static_cast<int>(table.size()) ? table[static_cast<std::size_t>(index)] : -1000;
  };
  const auto right = [&](int pos) {
    return std::int64_t{block(pos / block_size)} * block_size + pos % block_size;
  };
  const Slots expected = slots(first_pos, n, right);
  if (got == expected) return ::testing::AssertionSuccess();
  auto failure = ::testing::AssertionFailure();
  failure << fmt::format(
      "slot_mapping is [{}], expected [{}] for positions {} to {}, block_size {}, table [{}]",
      fmt::join(got, ", "), fmt::join(expected, ", "), first_pos, first_pos + static_cast<int>(n) - 1,
      block_size, fmt::join(table, ", "));
  const std::vector<KnownSlots> mistakes = {
      {"the index in the block table where the block's number is wanted",
       slots(first_pos, n, [](int pos) { return std::int64_t{pos}; })},
      {"% and / exchanged: block_table[pos % block_size], place pos / block_size",
       slots(first_pos, n,
             [&](int pos) { return std::int64_t{block(pos % block_size)} * block_size + pos / block_size; })},
      {"positions that start at 0 in every append instead of at context_len", slots(0, n, right)},
      {"positions counted from the context_len after the append instead of before",
       slots(first_pos + static_cast<int>(n), n, right)},
      {"the first slot of the block for each of its tokens",
       slots(first_pos, n, [&](int pos) { return std::int64_t{block(pos / block_size)} * block_size; })},
      {"block numbers that were not multiplied by block_size", slots(first_pos, n, [&](int pos) {
         return std::int64_t{block(pos / block_size)} + pos % block_size;
       })}};
  for (const KnownSlots& mistake : mistakes) {
    if (got == mistake.slots) return failure << "\nLikely cause: the result matches " << mistake.cause << ".";
  }
  return failure;
}

/// Everything about a cache that a refused call must not change.
struct Snapshot {
  std::vector<int> ref_counts;
  std::vector<std::vector<int>> tables;
  std::vector<int> context_lens;
  bool operator==(const Snapshot&) const = default;
};

Snapshot snapshot(const Paged& p, const std::vector<int>& sequences) {
  Snapshot result;
  for (int block = 0; block < p.allocator->n_blocks(); ++block)
    result.ref_counts.push_back(p.allocator->ref_count(block));
  for (const int sequence : sequences) {
    result.tables.push_back(p.cache->block_table(sequence));
    result.context_lens.push_back(p.cache->context_len(sequence));
  }
  return result;
}

/// `call` must be refused, and leave no trace.
::testing::AssertionResult refused(const Paged& p, const std::vector<int>& sequences,
                                   const std::function<void()>& call, const std::string& needle = "") {
  const Snapshot before = snapshot(p, sequences);
  auto result = throws_error(call, needle);
  if (!result) return result;
  const Snapshot after = snapshot(p, sequences);
  if (after == before) return result;
  return ::testing::AssertionFailure() << fmt::format(
             "the call was refused, but not without a trace:\n  users of blocks 0, 1, ...: [{}] before, [{}] "
             "after\n  context_lens [{}], [{}] after\n  block tables {}, {} after\nLikely cause: half of the "
             "work was done before it turned out that blocks are missing: ask how many are free first, and "
             "take all at once",
             fmt::join(before.ref_counts, ", "), fmt::join(after.ref_counts, ", "),
             fmt::join(before.context_lens, ", "), fmt::join(after.context_lens, ", "), before.tables,
             after.tables);
}

TEST(PagedKvCache, StartsEmpty) {
  const Paged p(16, 8);
  EXPECT_EQ(p.cache->block_size(), 16);
  EXPECT_EQ(p.cache->usage(), KvUsage{});
  const int sequence = p.cache->add_sequence();
  EXPECT_EQ(p.cache->context_len(sequence), 0);
  EXPECT_TRUE(p.cache->block_table(sequence).empty()) << "no tokens need no block";
  EXPECT_EQ(p.n_taken(), 0);
  p.cache->free(sequence);
  EXPECT_EQ(p.n_taken(), 0);
}

TEST(PagedKvCache, RejectsImpossibleConfig) {
  const std::shared_ptr<kit::BlockAllocator> allocator = kit::make_reference_block_allocator(4);
  EXPECT_TRUE(throws_error([&] { (void)lab02::make_paged_kv_cache(0, allocator); }, "0"));
  EXPECT_TRUE(throws_error([&] { (void)lab02::make_paged_kv_cache(-16, allocator); }, "-16"));
  EXPECT_TRUE(throws_error([] { (void)lab02::make_paged_kv_cache(16, nullptr); })) << "no allocator";
}

TEST(PagedKvCache, AllocatesOnDemand) {
  constexpr int kBlockSize = 4;
  const Paged p(kBlockSize, 16);
  const int sequence = p.cache->add_sequence();
  std::vector<int> table;
  for (int pos = 0; pos < 11; ++pos) {
    const AppendedSlots got = p.cache->append(sequence, 1);
    ASSERT_EQ(p.cache->context_len(sequence), pos + 1);
    ASSERT_TRUE(
        matches_count(p.n_taken(), blocks_for(pos + 1, kBlockSize),
                      std::vector<KnownCount>{
                          {"a block a token: a new one is needed only when the last one is full", pos + 1},
                          {"a block too many when context_len is an exact multiple of block_size: the next "
                           "block is due with "
                           "the next token",
                           (pos + 1) / kBlockSize + 1}}))
        << pos + 1 << " tokens in blocks of " << kBlockSize;
    const std::vector<int> grown = p.cache->block_table(sequence);
    ASSERT_EQ(grown.size(), blocks_for(pos + 1, kBlockSize)) << pos + 1 << " tokens";
    ASSERT_TRUE(std::equal(table.begin(), table.end(), grown.begin()))
        << fmt::format("an append behind position {} moved earlier tokens: the table was [{}], it is [{}]",
                       pos, fmt::join(table, ", "), fmt::join(grown, ", "));
    table = grown;
    EXPECT_TRUE(same_slots(got.slot_mapping, table, pos, 1, kBlockSize));
    EXPECT_TRUE(got.copies.empty());
  }
  for (const int block : table) EXPECT_EQ(p.allocator->ref_count(block), 1);
}

TEST(PagedKvCache, ExactMultiplesNeedNoFurtherBlock) {
  for (const int block_size : {1, 4, 16, 33}) {
    SCOPED_TRACE(fmt::format("block_size {}", block_size));
    const Paged p(block_size, 12);
    const std::vector<KnownCount> mistakes(1, {"a block too many when context_len is an exact multiple of "
                                               "block_size: use ceil(context_len / block_size)",
                                               4});
    const int sequence = p.sequence_of(3 * block_size);
    EXPECT_TRUE(matches_count(p.n_taken(), 3, mistakes)) << "3 * block_size tokens at once";
    EXPECT_EQ(p.cache->block_table(sequence).size(), 3U);
    (void)p.cache->append(sequence, 1);
    EXPECT_EQ(p.n_taken(), 4) << "one token more";
    const int other = p.sequence_of(block_size);
    (void)p.cache->append(other, 2 * block_size);
    EXPECT_TRUE(matches_count(p.n_taken() - 4, 3, mistakes)) << "block_size tokens, then twice as many";
    EXPECT_EQ(p.cache->block_table(other).size(), 3U);
  }
}

TEST(PagedKvCache, AppendsAcrossBlockBorders) {
  kit::Rng rng = kit::testing::make_rng(220);
  for (const int block_size : {1, 3, 16, 33}) {
    const Paged p(block_size, 2000 / block_size + 40);
    const int n_taken = static_cast<int>(p.allocator->allocate(3).size());  // no table begins with block 0
    // Two sequences take turns, so that their blocks do not follow each other.
    const std::vector<int> sequences = {p.cache->add_sequence(), p.cache->add_sequence()};
    std::vector<int> lens(2, 0);
    for (int round = 0; round < 20; ++round) {
      const std::size_t i = rng.below(2);
      const int n = static_cast<int>(rng.below(static_cast<std::uint32_t>(3 * block_size + 2)));
      const AppendedSlots got = p.cache->append(sequences[i], n);
      const std::vector<int> table = p.cache->block_table(sequences[i]);
      ASSERT_TRUE(same_slots(got.slot_mapping, table, lens[i], static_cast<std::size_t>(n), block_size));
      lens[i] += n;
      ASSERT_EQ(p.cache->context_len(sequences[i]), lens[i]);
      ASSERT_EQ(table.size(), blocks_for(lens[i], block_size));
    }
    ASSERT_EQ(p.n_taken() - n_taken, blocks_for(lens[0], block_size) + blocks_for(lens[1], block_size));
    std::vector<int> all = p.cache->block_table(sequences[0]);
    for (const int block : p.cache->block_table(sequences[1])) all.push_back(block);
    ASSERT_TRUE(all_different(all)) << "two sequences write into one block";
  }
}

TEST(PagedKvCache, SlotsAreOfTheBlockNotOfTheTable) {
  // 9 tokens in blocks of 3: all the usual ways to mix up indices stay in range, and differ.
  const Paged p(3, 8);
  const std::vector<int> taken = p.allocator->allocate(2);
  const int sequence = p.cache->add_sequence();
  const AppendedSlots got = p.cache->append(sequence, 9);
  EXPECT_TRUE(same_slots(got.slot_mapping, p.cache->block_table(sequence), 0, 9, 3));
}

TEST(PagedKvCache, NothingToAppendChangesNothing) {
  const Paged p(4, 8);
  const int sequence = p.sequence_of(6);
  const int fork = p.cache->fork(sequence);
  const int empty = p.cache->add_sequence();
  const Snapshot before = snapshot(p, {sequence, fork, empty});
  for (const int each : {sequence, fork, empty}) {
    const AppendedSlots got = p.cache->append(each, 0);
    EXPECT_TRUE(got.slot_mapping.empty());
    EXPECT_TRUE(got.copies.empty()) << "nothing is written, so nothing need be copied";
  }
  EXPECT_EQ(snapshot(p, {sequence, fork, empty}), before);
}

TEST(PagedKvCache, RejectsNegativeAndEndlessAppends) {
  const Paged p(4, 8);
  const int sequence = p.sequence_of(5);
  for (const int n : {-1, -4, std::numeric_limits<int>::min()}) {
    EXPECT_TRUE(refused(p, {sequence}, [&] { (void)p.cache->append(sequence, n); })) << n << " tokens";
  }
  // 5 + n overflows an int: wrapped around, it would seem to fit.
  const int many = std::numeric_limits<int>::max() - 2;
  EXPECT_TRUE(refused(p, {sequence}, [&] { (void)p.cache->append(sequence, many); })) << many << " tokens";
}

TEST(PagedKvCache, IdsAreNotUsedTwice) {
  const Paged p(4, 8);
  std::vector<int> ids;
  for (int round = 0; round < 5; ++round) {
    ids.push_back(p.sequence_of(3));
    ids.push_back(p.cache->fork(ids.back()));
    p.cache->free(ids[ids.size() - 2]);
    p.cache->free(ids.back());
  }
  EXPECT_TRUE(all_different(ids)) << fmt::format("an id was given to two sequences: [{}]",
                                                 fmt::join(ids, ", "));
}

TEST(PagedKvCache, FreeReturnsEveryBlock) {
  const Paged p(4, 12);
  const int full = p.sequence_of(8);
  const int partial = p.sequence_of(9);
  const int kept = p.sequence_of(5);
  const std::vector<int> kept_table = p.cache->block_table(kept);
  ASSERT_EQ(p.n_taken(), 7);
  p.cache->free(partial);
  EXPECT_TRUE(matches_count(
      p.n_taken(), 4,
      std::vector<KnownCount>{
          {"a free() that leaks: the block table is forgotten, its blocks are not released", 7},
          {"a free() that leaks the last, partly filled block: it is as much the sequence's as the others",
           5}}))
      << "a sequence of 3 blocks was freed, sequences of 2 and 2 are left";
  p.cache->free(full);
  EXPECT_TRUE(matches_count(p.n_taken(), 2,
                            std::vector<KnownCount>{{"a free() that leaks one block of a sequence", 3}}))
      << "two sequences of 2 and 3 blocks were freed, one of 2 is left";
  EXPECT_EQ(p.cache->block_table(kept), kept_table);
  // What came back can be used again.
  const int next = p.sequence_of(40);
  EXPECT_EQ(p.allocator->n_free(), 0);
  p.cache->free(next);
  p.cache->free(kept);
  EXPECT_EQ(p.n_taken(), 0);
}

TEST(PagedKvCache, UnknownSequencesAreNamed) {
  const Paged p(4, 8);
  const int alive = p.sequence_of(3);
  const int dead = p.sequence_of(6);
  p.cache->free(dead);
  for (const int sequence : {dead, -7, 12345}) {
    const std::string name = std::to_string(sequence);
    const auto names_it = [&](const std::function<void()>& call) { return refused(p, {alive}, call, name); };
    EXPECT_TRUE(names_it([&] { (void)p.cache->append(sequence, 1); })) << "append";
    EXPECT_TRUE(names_it([&] { (void)p.cache->append(sequence, 0); })) << "append of nothing";
    EXPECT_TRUE(names_it([&] { (void)p.cache->fork(sequence); })) << "fork";
    EXPECT_TRUE(names_it([&] { p.cache->free(sequence); })) << "free (of sequence " << dead << " twice)";
    EXPECT_TRUE(names_it([&] { (void)p.cache->context_len(sequence); })) << "context_len";
    EXPECT_TRUE(names_it([&] { (void)p.cache->block_table(sequence); })) << "block_table";
  }
}

TEST(PagedKvCache, ForkSharesEveryBlock) {
  const Paged p(4, 8);
  const int parent = p.sequence_of(10);
  const std::vector<int> table = p.cache->block_table(parent);
  const int child = p.cache->fork(parent);
  EXPECT_NE(child, parent);
  EXPECT_EQ(p.cache->context_len(child), 10);
  EXPECT_EQ(p.cache->context_len(parent), 10);
  EXPECT_EQ(p.cache->block_table(child), table);
  EXPECT_EQ(p.cache->block_table(parent), table);
  EXPECT_TRUE(matches_count(p.n_taken(), 3,
                            std::vector<KnownCount>{{"a fork that copies all blocks", 6},
                                                    {"a fork that copies the last block at once, before "
                                                     "anybody writes into it",
                                                     4}}));
  for (const int block : table) {
    ASSERT_TRUE(matches_count(
        p.allocator->ref_count(block), 2,
        std::vector<KnownCount>{{"a fork that does not share(): when one of the two is freed, the other's "
                                 "blocks go with it",
                                 1}}))
        << "users of block " << block;
  }
  p.cache->free(parent);
  EXPECT_EQ(p.cache->block_table(child), table) << "the child does not need its parent";
  EXPECT_EQ(p.n_taken(), 3);
  p.cache->free(child);
  EXPECT_EQ(p.n_taken(), 0);
}

TEST(PagedKvCache, ForkOfNothing) {
  const Paged p(4, 8);
  const int parent = p.cache->add_sequence();
  const int child = p.cache->fork(parent);
  EXPECT_EQ(p.cache->context_len(child), 0);
  (void)p.cache->append(child, 5);
  EXPECT_EQ(p.cache->context_len(parent), 0);
  EXPECT_TRUE(p.cache->block_table(parent).empty());
}

/// `writer` appends n tokens to a table whose last, partly filled block is shared.
void expect_copy_on_write(const Paged& p, int writer, int reader, int n) {
  const std::vector<int> old_table = p.cache->block_table(writer);
  const std::vector<int> reader_table = p.cache->block_table(reader);
  const int len = p.cache->context_len(writer);
  const int reader_len = p.cache->context_len(reader);
  const int old_block = old_table.back();
  const int n_users = p.allocator->ref_count(old_block);
  const AppendedSlots got = p.cache->append(writer, n);
  const std::vector<int> table = p.cache->block_table(writer);

  ASSERT_EQ(p.cache->block_table(reader), reader_table)
      << "Likely cause: copy-on-write on the wrong side: the reader keeps its block, the writer moves";
  ASSERT_EQ(p.cache->context_len(reader), reader_len);
  ASSERT_FALSE(got.copies.empty()) << "Likely cause: the block is written in place although another sequence "
                                      "reads it: ask for ref_count > 1 before writing";
  ASSERT_EQ(got.copies.size(), 1U) << "Likely cause: full blocks are copied, too; nobody writes into those";
  const std::size_t last = old_table.size() - 1;
  ASSERT_EQ(table.size(), blocks_for(len + n, p.cache->block_size()));
  EXPECT_NE(table[last], old_block) << "the writer's table must have the new block";
  EXPECT_TRUE(std::equal(old_table.begin(), old_table.end() - 1, table.begin()))
      << "full blocks stay where they are";
  EXPECT_EQ(got.copies[0], (BlockCopy{.from = old_block, .to = table[last]}))
      << fmt::format("copy from {} to {}, expected from {} (shared) to {} (the writer's own){}",
                     got.copies[0].from, got.copies[0].to, old_block, table[last],
                     got.copies[0].from == table[last] ? "\nLikely cause: from and to exchanged" : "");
  EXPECT_EQ(p.allocator->ref_count(table[last]), 1) << "users of the writer's new block";
  EXPECT_TRUE(matches_count(p.allocator->ref_count(old_block), n_users - 1,
                            std::vector<KnownCount>{{"a writer that keeps its reference to the block that it "
                                                     "left: release() after the copy is asked for",
                                                     n_users}}))
      << "users of the old block";
  EXPECT_TRUE(same_slots(got.slot_mapping, table, len, static_cast<std::size_t>(n), p.cache->block_size()));
}

TEST(PagedKvCache, OnlyTheWriterCopies) {
  for (const bool parent_writes : {true, false}) {
    SCOPED_TRACE(parent_writes ? "the parent writes first" : "the child writes first");
    const Paged p(4, 8);
    const int parent = p.sequence_of(10);
    const int child = p.cache->fork(parent);
    const int writer = parent_writes ? parent : child;
    const int reader = parent_writes ? child : parent;
    expect_copy_on_write(p, writer, reader, 1);
    EXPECT_EQ(p.n_taken(), 4);
    // Both are the only users of their last block now.
    for (const int each : {reader, writer}) {
      const std::vector<int> table = p.cache->block_table(each);
      EXPECT_TRUE(p.cache->append(each, 1).copies.empty())
          << "Likely cause: a copy although the other one has left the block: ref_count is 1 again";
      EXPECT_EQ(p.cache->block_table(each), table);
    }
    EXPECT_EQ(p.n_taken(), 4);
    p.cache->free(parent);
    p.cache->free(child);
    EXPECT_EQ(p.n_taken(), 0) << "blocks leaked by copy-on-write";
  }
}

TEST(PagedKvCache, OnlyTheLastBlockIsCopied) {
  const Paged p(4, 16);
  const int parent = p.sequence_of(14);
  const int child = p.cache->fork(parent);
  const std::vector<int> table = p.cache->block_table(parent);
  expect_copy_on_write(p, child, parent, 9);  // into the last block and two more
  EXPECT_EQ(p.n_taken(), 7);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(p.allocator->ref_count(table[i]), 2) << "full, shared";
}

TEST(PagedKvCache, FullSharedBlocksAreNeverCopied) {
  for (const bool parent_writes : {true, false}) {
    const Paged p(4, 12);
    const int parent = p.sequence_of(8);
    const int child = p.cache->fork(parent);
    const std::vector<int> table = p.cache->block_table(parent);
    for (const int writer : parent_writes ? std::vector{parent, child} : std::vector{child, parent}) {
      const AppendedSlots got = p.cache->append(writer, 5);
      EXPECT_TRUE(got.copies.empty())
          << "Likely cause: a full shared block is copied: context_len is a multiple of block_size, the new "
             "tokens go into a new block, and nobody writes into a full one";
      const std::vector<int> grown = p.cache->block_table(writer);
      EXPECT_TRUE(std::equal(table.begin(), table.end(), grown.begin()));
      EXPECT_TRUE(same_slots(got.slot_mapping, grown, 8, 5, 4));
    }
    EXPECT_EQ(p.n_taken(), 6);
    for (const int block : table) EXPECT_EQ(p.allocator->ref_count(block), 2);
  }
}

TEST(PagedKvCache, NoCopyWhenTheOtherOneHasGone) {
  const Paged p(4, 8);
  const int parent = p.sequence_of(6);
  const int child = p.cache->fork(parent);
  const std::vector<int> table = p.cache->block_table(child);
  p.cache->free(parent);
  const AppendedSlots got = p.cache->append(child, 1);
  EXPECT_TRUE(got.copies.empty()) << "Likely cause: a copy although the other user was freed: ref_count is 1";
  EXPECT_EQ(p.cache->block_table(child), table);
  EXPECT_EQ(p.n_taken(), 2);
}

TEST(PagedKvCache, ForkOfAFork) {
  const Paged p(4, 12);
  const int first = p.sequence_of(7);
  const int second = p.cache->fork(first);
  const int third = p.cache->fork(second);
  const std::vector<int> table = p.cache->block_table(first);
  for (const int block : table) ASSERT_EQ(p.allocator->ref_count(block), 3);
  expect_copy_on_write(p, second, first, 1);
  EXPECT_EQ(p.cache->block_table(third), table);
  expect_copy_on_write(p, first, third, 3);
  EXPECT_TRUE(p.cache->append(third, 2).copies.empty()) << "the last of three needs no copy";
  EXPECT_EQ(p.cache->block_table(third).front(), table.front());
  EXPECT_EQ(p.allocator->ref_count(table.front()), 3);
  // Freed in an order of their own.
  for (const int sequence : {second, third, first}) p.cache->free(sequence);
  EXPECT_EQ(p.n_taken(), 0);
}

TEST(PagedKvCache, OtherUsersOfABlockCount) {
  // A prefix cache, or another engine, may share the allocator: its references count like a fork's.
  const Paged p(4, 8);
  const int sequence = p.sequence_of(6);
  const int last = p.cache->block_table(sequence).back();
  p.allocator->share(last);
  const AppendedSlots got = p.cache->append(sequence, 1);
  ASSERT_EQ(got.copies.size(), 1U) << "Likely cause: users are counted in the cache's own tables; the "
                                      "allocator's ref_count knows all of them";
  EXPECT_EQ(got.copies[0].from, last);
  EXPECT_EQ(p.allocator->ref_count(last), 1) << "the other user's reference is not the cache's to release";
  p.cache->free(sequence);
  EXPECT_EQ(p.n_taken(), 1);
}

TEST(PagedKvCache, TakesOverBlocks) {
  const Paged p(4, 8);
  const std::vector<int> blocks = p.allocator->allocate(2);
  p.allocator->share(blocks[0]);  // stays the test's
  const int sequence = p.cache->add_sequence(blocks);
  EXPECT_EQ(p.cache->context_len(sequence), 8) << "2 full blocks of 4 tokens";
  EXPECT_EQ(p.cache->block_table(sequence), blocks);
  EXPECT_TRUE(
      matches_count(p.allocator->ref_count(blocks[1]), 1,
                    std::vector<KnownCount>{{"blocks that are shared once more: the caller's reference "
                                             "passes to the sequence",
                                             2}}));
  EXPECT_EQ(p.allocator->ref_count(blocks[0]), 2);
  const AppendedSlots got = p.cache->append(sequence, 1);
  EXPECT_TRUE(got.copies.empty()) << "the blocks taken over are full";
  EXPECT_TRUE(same_slots(got.slot_mapping, p.cache->block_table(sequence), 8, 1, 4));
  EXPECT_EQ(p.n_taken(), 3);
  p.cache->free(sequence);
  EXPECT_EQ(p.allocator->ref_count(blocks[0]), 1);
  EXPECT_EQ(p.allocator->ref_count(blocks[1]), 0);
}

TEST(PagedKvCache, ExhaustionInAnAppendChangesNothing) {
  const Paged p(4, 5);
  const int one = p.sequence_of(10);
  const int other = p.cache->add_sequence();
  EXPECT_TRUE(refused(p, {one, other}, [&] { (void)p.cache->append(one, 11); }))
      << "10 + 11 tokens need 6 blocks of 4, there are 5";
  EXPECT_TRUE(refused(p, {one, other}, [&] { (void)p.cache->append(other, 9); }));
  const AppendedSlots got = p.cache->append(one, 10);  // exactly all
  EXPECT_TRUE(same_slots(got.slot_mapping, p.cache->block_table(one), 10, 10, 4));
  EXPECT_EQ(p.allocator->n_free(), 0);
  EXPECT_TRUE(refused(p, {one, other}, [&] { (void)p.cache->append(one, 1); }));
  p.cache->free(one);
  EXPECT_EQ(p.cache->append(other, 20).slot_mapping.size(), 20U);
}

TEST(PagedKvCache, LastBlockIsFilledWithoutAFreeOne) {
  const Paged p(4, 2);
  const int sequence = p.sequence_of(5);
  EXPECT_EQ(p.allocator->n_free(), 0);
  const AppendedSlots got = p.cache->append(sequence, 3);
  EXPECT_TRUE(same_slots(got.slot_mapping, p.cache->block_table(sequence), 5, 3, 4));
}

TEST(PagedKvCache, ExhaustionInACopyOnWriteChangesNothing) {
  const Paged p(4, 4);
  const int parent = p.sequence_of(6);
  const int child = p.cache->fork(parent);
  const int other = p.sequence_of(4);
  // One block is free: enough for the copy, or for the next block, not for both.
  EXPECT_TRUE(refused(p, {parent, child, other}, [&] { (void)p.cache->append(child, 3); }))
      << "2 of the 3 tokens fit into a copy of the last block, the third needs another block";
  (void)p.cache->append(other, 1);
  EXPECT_TRUE(refused(p, {parent, child, other}, [&] { (void)p.cache->append(parent, 1); }))
      << "no block is free for the copy";
  p.cache->free(other);
  expect_copy_on_write(p, child, parent, 3);
  EXPECT_EQ(p.allocator->n_free(), 0);
}

TEST(PagedKvCache, UsageCountsASharedSlotOnce) {
  const Paged p(4, 16);
  const int parent = p.sequence_of(10);
  (void)p.sequence_of(4);
  EXPECT_EQ(p.cache->usage(), (KvUsage{.n_sequences = 2,
                                       .allocated_blocks = 4,
                                       .allocated_slots = 16,
                                       .used_slots = 14,
                                       .shared_blocks = 0}));
  const int child = p.cache->fork(parent);
  KvUsage usage = p.cache->usage();
  EXPECT_EQ(usage.n_sequences, 3);
  EXPECT_TRUE(matches_count(usage.allocated_blocks, 4,
                            std::vector<KnownCount>{{"shared blocks counted once for each table", 7}}));
  EXPECT_TRUE(matches_count(usage.allocated_slots, 16,
                            std::vector<KnownCount>{{"shared blocks counted once for each table", 28},
                                                    {"blocks where slots are asked for", 4}}));
  EXPECT_TRUE(matches_count(
      usage.used_slots, 14,
      std::vector<KnownCount>{{"the tokens of all sequences: a slot that two share is one slot", 24},
                              {"all slots of the blocks, also those without a token", 16}}));
  EXPECT_EQ(usage.shared_blocks, 3);

  (void)p.cache->append(child, 1);
  const std::vector<int> table = p.cache->block_table(parent);
  p.allocator->share(table.back());  // a user that is no sequence of this cache
  const std::vector<int> elsewhere = p.allocator->allocate(1);
  usage = p.cache->usage();
  EXPECT_EQ(usage, (KvUsage{.n_sequences = 3,
                            .allocated_blocks = 5,
                            .allocated_slots = 20,
                            .used_slots = 8 + 2 + 3 + 4,
                            .shared_blocks = 2}))
      << "8 shared, 2 and 3 in the last blocks of parent and child, 4 of the other; a block counts as shared "
         "when it is in two tables, whatever else uses it";
}

TEST(PagedKvCache, EachSequenceWastesLessThanABlock) {
  // The price of a large block: what is unused in the last one. Counted by the allocator.
  constexpr int kSequences = 48;
  kit::Rng rng = kit::testing::make_rng(221);
  std::vector<int> lens;
  int n_tokens = 0;
  for (int i = 0; i < kSequences; ++i) {
    lens.push_back(1 + static_cast<int>(rng.below(600)));
    n_tokens += lens.back();
  }
  std::vector<double> block_sizes;
  std::vector<double> waste_percent;
  for (int block_size = 1; block_size <= 256; block_size *= 2) {
    int n_blocks = 0;
    for (const int len : lens) n_blocks += blocks_for(len, block_size);
    const Paged p(block_size, n_blocks);  // not one to spare
    for (const int len : lens) (void)p.sequence_of(len);
    ASSERT_EQ(p.n_taken(), n_blocks);
    const double n_slots = static_cast<double>(p.n_taken()) * block_size;
    block_sizes.push_back(block_size);
    waste_percent.push_back(100.0 * (n_slots - n_tokens) / n_slots);
  }
  kit::testing::record_series("block_size", block_sizes);
  kit::testing::record_series("waste_percent", waste_percent);
}

}  // namespace
