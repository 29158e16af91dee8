#include <gtest/gtest.h>

#include <fmt/ranges.h>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kit/reference.h"
#include "kit/testing.h"
#include "lab02/paged_kv_cache.h"

// Random operations on a paged cache, beside an oracle that keeps each sequence's tokens in an array of its
// own. Every token has a number of its own, which the test writes to the slot that the cache names, after the
// copies that the cache asks for. If tables, slots and copies are right, each sequence reads its own tokens.

namespace {

using kit::AppendedSlots;
using kit::BlockCopy;
using kit::KvUsage;
using kit::testing::throws_error;

constexpr int kMaxSequences = 7;

struct Sizes {
  int block_size, n_blocks, n_operations;
};

class RandomDriver {
 public:
  RandomDriver(const Sizes& sizes, std::uint64_t stream)
      : sizes_(sizes),
        rng_(kit::testing::make_rng(stream)),
        allocator_(kit::make_reference_block_allocator(sizes.n_blocks)),
        cache_(lab02::make_paged_kv_cache(sizes.block_size, allocator_)),
        storage_({.n_layers = 1,
                  .n_kv_heads = 1,
                  .head_dim = 1,
                  .block_size = sizes.block_size,
                  .n_blocks = sizes.n_blocks}),
        slots_(storage_.keys(0).span()) {}

  void run() {
    for (int i = 0; i < sizes_.n_operations && !failed(); ++i) {
      operate();
      if (!failed()) check_everything();
      if (failed()) ADD_FAILURE() << describe(i);
    }
    while (!tokens_.empty() && !failed()) free(any_sequence());
    if (!failed()) {
      EXPECT_EQ(allocator_->n_free(), sizes_.n_blocks) << "blocks leaked: every sequence was freed";
    }
  }

 private:
  static bool failed() { return ::testing::Test::HasFailure(); }

  int between(int low, int high) {
    return low + static_cast<int>(rng_.below(static_cast<std::uint32_t>(high - low + 1)));
  }
  int any_sequence() {
    auto it = tokens_.begin();
    std::advance(it, rng_.below(static_cast<std::uint32_t>(tokens_.size())));
    return it->first;
  }
  void log(std::string text) {
    history_.push_back(std::move(text));
    if (history_.size() > 10) history_.pop_front();
  }
  std::string describe(int i) const {
    return fmt::format("at operation {} of {} (seed {}), with {} blocks of {}. The last ones were:\n  {}", i,
                       sizes_.n_operations, kit::testing::seed(), sizes_.n_blocks, sizes_.block_size,
                       fmt::join(history_, "\n  "));
  }

  void operate() {
    const int kind = between(0, 99);
    if (tokens_.empty() || (kind < 8 && tokens_.size() < kMaxSequences)) {
      add(kind % 2 == 0 ? 0 : between(1, 2));
    } else if (kind < 58) {
      append(any_sequence(), kind < 40 ? between(0, 2) : between(0, 2 * sizes_.block_size + 1));
    } else if (kind < 82) {
      if (tokens_.size() < kMaxSequences) fork(any_sequence());
    } else if (kind < 95) {
      free(any_sequence());
    } else {
      ask_for_nonsense();
    }
  }

  /// A new sequence, which begins with n_taken full blocks of the test's.
  void add(int n_taken) {
    if (n_taken > allocator_->n_free()) n_taken = 0;
    const std::vector<int> blocks = allocator_->allocate(n_taken);
    std::vector<float> tokens;
    for (const int block : blocks) {
      for (int place = 0; place < sizes_.block_size; ++place)
        slot_at(block, place) = tokens.emplace_back(static_cast<float>(next_token_++));
    }
    const int sequence = cache_->add_sequence(blocks);
    log(fmt::format("add_sequence({} blocks) = {}", n_taken, sequence));
    ASSERT_FALSE(tokens_.contains(sequence) || dead_.contains(sequence)) << "an id for two sequences";
    tokens_[sequence] = tokens;
    tables_[sequence] = blocks;
  }

  void append(int sequence, int n) {
    std::vector<float>& tokens = tokens_[sequence];
    std::vector<int>& table = tables_[sequence];
    const int len = static_cast<int>(tokens.size());
    const bool copies = n > 0 && len % sizes_.block_size != 0 && allocator_->ref_count(table.back()) > 1;
    const int n_more = blocks_for(len + n) - blocks_for(len);
    const int n_free = allocator_->n_free();
    log(fmt::format("append({}, {}) to {} tokens, {} blocks free{}", sequence, n, len, n_free,
                    copies ? ", last block shared" : ""));
    if (n_more + (copies ? 1 : 0) > n_free) {
      EXPECT_TRUE(throws_error([&] { (void)cache_->append(sequence, n); }))
          << n_more << " more blocks and " << (copies ? 1 : 0) << " for a copy are needed";
      return;  // check_everything looks whether nothing changed
    }
    const AppendedSlots got = cache_->append(sequence, n);
    const std::vector<int> grown = cache_->block_table(sequence);
    ASSERT_EQ(grown.size(), blocks_for(len + n)) << "blocks of sequence " << sequence;
    for (const int block : grown) ASSERT_TRUE(block >= 0 && block < sizes_.n_blocks) << "block " << block;
    ASSERT_EQ(got.slot_mapping.size(), static_cast<std::size_t>(n));
    std::vector<BlockCopy> expected_copies;
    if (copies) expected_copies.push_back({.from = table.back(), .to = grown[table.size() - 1]});
    ASSERT_EQ(got.copies, expected_copies)
        << got.copies.size() << " copies, expected " << expected_copies.size();
    for (const BlockCopy& copy : got.copies) {
      for (int place = 0; place < sizes_.block_size; ++place)
        slot_at(copy.to, place) = slot_at(copy.from, place);
    }
    for (const std::int64_t slot : got.slot_mapping) {
      ASSERT_GE(slot, 0);
      ASSERT_LT(slot, static_cast<std::int64_t>(slots_.size()));
      slots_[static_cast<std::size_t>(slot)] = tokens.emplace_back(static_cast<float>(next_token_++));
    }
    table = grown;
  }

  void fork(int sequence) {
    const int child = cache_->fork(sequence);
    log(fmt::format("fork({}) = {}", sequence, child));
    ASSERT_FALSE(tokens_.contains(child) || dead_.contains(child)) << "an id for two sequences";
    tokens_[child] = tokens_[sequence];
    tables_[child] = tables_[sequence];
  }

  void free(int sequence) {
    log(fmt::format("free({})", sequence));
    cache_->free(sequence);
    tokens_.erase(sequence);
    tables_.erase(sequence);
    dead_[sequence] = true;
  }

  void ask_for_nonsense() {
    const int alive = any_sequence();
    const int dead = dead_.empty() ? -1 : dead_.rbegin()->first;
    switch (between(0, 3)) {
      case 0:
        log(fmt::format("append({}, -1)", alive));
        EXPECT_TRUE(throws_error([&] { (void)cache_->append(alive, -1); }));
        break;
      case 1:
        log(fmt::format("append({}, 1), which does not exist", dead));
        EXPECT_TRUE(throws_error([&] { (void)cache_->append(dead, 1); }, std::to_string(dead)));
        break;
      case 2:
        log(fmt::format("fork({}), which does not exist", dead));
        EXPECT_TRUE(throws_error([&] { (void)cache_->fork(dead); }, std::to_string(dead)));
        break;
      default:
        log(fmt::format("free({}), which does not exist", dead));
        EXPECT_TRUE(throws_error([&] { cache_->free(dead); }, std::to_string(dead)));
    }
  }

  void check_everything() {
    std::vector<int> n_tables(static_cast<std::size_t>(sizes_.n_blocks), 0);
    std::vector<int> n_held(n_tables.size(), 0);  // tokens in each block
    for (const auto& [sequence, tokens] : tokens_) {
      const std::vector<int> table = cache_->block_table(sequence);
      ASSERT_EQ(table, tables_[sequence]) << "the block table of sequence " << sequence << " changed";
      ASSERT_EQ(cache_->context_len(sequence), static_cast<int>(tokens.size())) << "sequence " << sequence;
      check_tokens(sequence, tokens, table);
      for (std::size_t i = 0; i < table.size(); ++i) {
        const auto block = static_cast<std::size_t>(table[i]);
        ++n_tables[block];
        const int left = static_cast<int>(tokens.size()) - static_cast<int>(i) * sizes_.block_size;
        n_held[block] = std::max(n_held[block], std::min(left, sizes_.block_size));
      }
    }
    KvUsage usage{.n_sequences = static_cast<int>(tokens_.size())};
    for (std::size_t block = 0; block < n_tables.size(); ++block) {
      ASSERT_EQ(allocator_->ref_count(static_cast<int>(block)), n_tables[block])
          << "users of block " << block << " and tables that hold it (0: the block leaked)";
      usage.allocated_blocks += n_tables[block] > 0 ? 1 : 0;
      usage.shared_blocks += n_tables[block] > 1 ? 1 : 0;
      usage.used_slots += n_held[block];
    }
    usage.allocated_slots = std::int64_t{usage.allocated_blocks} * sizes_.block_size;
    ASSERT_EQ(cache_->usage(), usage);
  }

  /// The sequence's slots hold its tokens.
  void check_tokens(int sequence, const std::vector<float>& tokens, const std::vector<int>& table) {
    ASSERT_EQ(table.size(), blocks_for(static_cast<int>(tokens.size())));
    for (std::size_t pos = 0; pos < tokens.size(); ++pos) {
      const int block = table[pos / static_cast<std::size_t>(sizes_.block_size)];
      ASSERT_GE(block, 0);
      ASSERT_LT(block, sizes_.n_blocks);
      const float found = slot_at(block, static_cast<int>(pos) % sizes_.block_size);
      ASSERT_EQ(found, tokens[pos]) << "position " << pos << " of sequence " << sequence << owner_of(found);
    }
  }

  std::string owner_of(float token) const {
    if (token != token) return " holds nothing: it was never written, or not copied";
    for (const auto& [sequence, tokens] : tokens_) {
      if (std::ranges::find(tokens, token) == tokens.end()) continue;
      return fmt::format(" holds a token of sequence {}\nLikely cause: two sequences write into one block",
                         sequence);
    }
    return " holds a token of a sequence that was freed, or another position's";
  }

  int blocks_for(int n_tokens) const { return (n_tokens + sizes_.block_size - 1) / sizes_.block_size; }
  float& slot_at(int block, int place) {
    return slots_[static_cast<std::size_t>(block) * static_cast<std::size_t>(sizes_.block_size) +
                  static_cast<std::size_t>(place)];
  }

  Sizes sizes_;
  kit::Rng rng_;
  std::shared_ptr<kit::BlockAllocator> allocator_;
  std::unique_ptr<kit::PagedKvCache> cache_;
  kit::KvBlockStorage storage_;
  std::span<float> slots_;                    // [n_blocks * block_size], a token's number each
  std::map<int, std::vector<float>> tokens_;  // by sequence
  std::map<int, std::vector<int>> tables_;    // by sequence, as of its last change
  std::map<int, bool> dead_;                  // sequences that were freed
  int next_token_ = 1;                        // below 2^24: a float holds it exactly
  std::deque<std::string> history_;
};

TEST(PagedRandom, EachSequenceReadsItsOwnTokens) {
  RandomDriver({.block_size = 4, .n_blocks = 40, .n_operations = 1500}, 260).run();
}

TEST(PagedRandom, AlmostNoBlockIsFree) {
  RandomDriver({.block_size = 3, .n_blocks = 12, .n_operations = 1500}, 261).run();
}

TEST(PagedRandom, BlocksOfOneToken) {
  RandomDriver({.block_size = 1, .n_blocks = 31, .n_operations = 600}, 262).run();
}

TEST(PagedRandom, BlocksOfSixteenTokens) {
  RandomDriver({.block_size = 16, .n_blocks = 24, .n_operations = 900}, 263).run();
}

}  // namespace
