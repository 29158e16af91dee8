#include "lab02/paged_kv_cache.h"

#include <algorithm>
#include <limits>
#include <unordered_map>
#include <utility>

#include "kit/checked.h"

namespace lab02 {

namespace {

struct Sequence {
  std::vector<int> block_table;  // [ceil(context_len / block_size)]
  int context_len = 0;
};

template <class Sequences>
auto& find_in(Sequences& sequences, int id) {
  const auto found = sequences.find(id);
  KIT_CHECK(found != sequences.end(), "there is no sequence {}, or it was freed", id);
  return found->second;
}

/// A sequence owns one reference to each block of its table. Nobody writes into a block that has two owners.
class BlockTables : public kit::PagedKvCache {
 public:
  BlockTables(int block_size, std::shared_ptr<kit::BlockAllocator> allocator)
      : block_size_(block_size), allocator_(std::move(allocator)) {}

  int block_size() const override { return block_size_; }

  int add_sequence(std::span<const int> blocks) override {
    for (const int block : blocks)
      KIT_CHECK(allocator_->ref_count(block) > 0, "block {} is free, a sequence cannot begin with it", block);
    const std::int64_t len = static_cast<std::int64_t>(blocks.size()) * block_size_;
    KIT_CHECK(len <= std::numeric_limits<int>::max(), "a sequence that begins with {} tokens", len);
    return insert({{blocks.begin(), blocks.end()}, static_cast<int>(len)});
  }

  kit::AppendedSlots append(int sequence, int n) override {
    Sequence& s = find(sequence);
    KIT_CHECK(n >= 0 && n <= std::numeric_limits<int>::max() - s.context_len,
              "{} tokens for sequence {}, which has {}", n, sequence, s.context_len);
    if (n == 0) return {};
    const bool last_is_partial = s.context_len % block_size_ != 0;
    const bool copy_on_write = last_is_partial && allocator_->ref_count(s.block_table.back()) > 1;
    const int n_more = blocks_for(s.context_len + n) - blocks_for(s.context_len);

    // Nothing has changed so far, and the allocator gives all blocks or none.
    std::vector<int> blocks = allocator_->allocate(n_more + (copy_on_write ? 1 : 0));
    kit::AppendedSlots result;
    if (copy_on_write) {
      const int last = s.block_table.back();
      const std::size_t index = s.block_table.size() - 1;
      bool moved = false;
      for (auto& [id, reader] : sequences_) {
        if (&reader == &s || reader.block_table.size() <= index || reader.block_table[index] != last)
          continue;
        if (moved) allocator_->share(blocks.back());
        allocator_->release(last);
        reader.block_table[index] = blocks.back();
        moved = true;
      }
      if (!moved) {
        allocator_->release(last);
        s.block_table.back() = blocks.back();
      }
      result.copies.push_back({.from = last, .to = blocks.back()});
      blocks.pop_back();
    }
    s.block_table.insert(s.block_table.end(), blocks.begin(), blocks.end());
    for (int i = 0; i < n; ++i) result.slot_mapping.push_back(slot(s, s.context_len + i));
    s.context_len += n;
    return result;
  }

  int fork(int sequence) override {
    Sequence copy = find(sequence);
    for (const int block : copy.block_table) allocator_->share(block);
    return insert(std::move(copy));
  }

  void free(int sequence) override {
    for (const int block : find(sequence).block_table) allocator_->release(block);
    sequences_.erase(sequence);
  }

  int context_len(int sequence) const override { return find(sequence).context_len; }
  std::vector<int> block_table(int sequence) const override { return find(sequence).block_table; }

  kit::KvUsage usage() const override {
    struct Block {
      int n_tables = 0;
      int n_tokens = 0;
    };
    std::unordered_map<int, Block> blocks;
    for (const auto& [id, s] : sequences_) {
      int left = s.context_len;
      for (const int number : s.block_table) {
        Block& block = blocks[number];
        ++block.n_tables;
        block.n_tokens = std::max(block.n_tokens, std::min(left, block_size_));
        left -= block_size_;
      }
    }
    kit::KvUsage usage{.n_sequences = static_cast<int>(sequences_.size()),
                       .allocated_blocks = static_cast<int>(blocks.size())};
    usage.allocated_slots = std::int64_t{usage.allocated_blocks} * block_size_;
    for (const auto& [number, block] : blocks) {
      usage.used_slots += block.n_tokens;
      if (block.n_tables > 1) ++usage.shared_blocks;
    }
    return usage;
  }

 private:
  int insert(Sequence sequence) {
    sequences_.emplace(next_id_, std::move(sequence));
    return next_id_++;
  }
  Sequence& find(int sequence) { return find_in(sequences_, sequence); }
  const Sequence& find(int sequence) const { return find_in(sequences_, sequence); }

  int blocks_for(int n_tokens) const { return static_cast<int>(kit::divide_round_up(n_tokens, block_size_)); }
  std::int64_t slot(const Sequence& s, int pos) const {
    const int block = s.block_table[static_cast<std::size_t>(pos / block_size_)];
    return std::int64_t{block} * block_size_ + pos % block_size_;
  }

  int block_size_;
  std::shared_ptr<kit::BlockAllocator> allocator_;
  std::unordered_map<int, Sequence> sequences_;
  int next_id_ = 0;
};

}  // namespace

std::unique_ptr<kit::PagedKvCache> make_paged_kv_cache(int block_size,
                                                       std::shared_ptr<kit::BlockAllocator> allocator) {
  KIT_CHECK(block_size > 0, "block_size is {}, must be positive", block_size);
  KIT_CHECK(allocator != nullptr, "there is no allocator");
  return std::make_unique<BlockTables>(block_size, std::move(allocator));
}

void reshape_and_cache(kit::TensorView<const float> k, kit::TensorView<const float> v,
                       kit::TensorView<const std::int64_t> slot_mapping, kit::TensorView<float> k_blocks,
                       kit::TensorView<float> v_blocks) {
  KIT_CHECK(k.rank() == 3 && k_blocks.rank() == 4 && slot_mapping.rank() == 1 && v.shape() == k.shape() &&
                v_blocks.shape() == k_blocks.shape() && slot_mapping.dim(0) == k.dim(0) &&
                k.dim(1) == k_blocks.dim(2) && k.dim(2) == k_blocks.dim(3),
            "k {} and v {} must be [n, n_kv_heads, head_dim], slot_mapping {} [n], k_blocks {} and v_blocks "
            "{} [n_blocks, block_size, n_kv_heads, head_dim]",
            k.shape().to_string(), v.shape().to_string(), slot_mapping.shape().to_string(),
            k_blocks.shape().to_string(), v_blocks.shape().to_string());
  const std::int64_t n_slots = k_blocks.dim(0) * k_blocks.dim(1);
  for (const std::int64_t slot : slot_mapping.span())
    KIT_CHECK(slot < n_slots, "slot {}, there are {} blocks of {}", slot, k_blocks.dim(0), k_blocks.dim(1));

  const std::int64_t size = k_blocks.dim(2) * k_blocks.dim(3);  // numbers of a slot
  for (std::int64_t token = 0; token < k.dim(0); ++token) {
    const std::int64_t slot = slot_mapping(token);
    if (slot < 0) continue;
    // Blocks lie one after the other: block * block_size + place is also the slot's row in the whole array.
    std::copy_n(k.data() + token * size, size, k_blocks.data() + slot * size);
    std::copy_n(v.data() + token * size, size, v_blocks.data() + slot * size);
  }
}

void copy_blocks(kit::TensorView<const std::int32_t> pairs, kit::TensorView<float> k_blocks,
                 kit::TensorView<float> v_blocks) {
  KIT_CHECK(
      pairs.rank() == 2 && pairs.dim(1) == 2 && k_blocks.rank() == 4 && v_blocks.shape() == k_blocks.shape(),
      "pairs {} must be [n, 2], k_blocks {} and v_blocks {} [n_blocks, block_size, n_kv_heads, head_dim]",
      pairs.shape().to_string(), k_blocks.shape().to_string(), v_blocks.shape().to_string());
  for (const std::int32_t block : pairs.span())
    KIT_CHECK(block >= 0 && block < k_blocks.dim(0), "block {} is not in [0, {})", block, k_blocks.dim(0));

  const std::int64_t size = k_blocks.dim(1) * k_blocks.dim(2) * k_blocks.dim(3);  // numbers of a block
  for (std::int64_t i = 0; i < pairs.dim(0); ++i) {
    const std::int64_t from = pairs(i, 0) * size;
    const std::int64_t to = pairs(i, 1) * size;
    std::copy_n(k_blocks.data() + from, size, k_blocks.data() + to);
    std::copy_n(v_blocks.data() + from, size, v_blocks.data() + to);
  }
}

}  // namespace lab02
