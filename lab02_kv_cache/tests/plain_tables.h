#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "kit/block_allocator.h"
#include "kit/check.h"
#include "kit/paged_kv_cache.h"

/// Block tables for tests of what is built on them, so that they say nothing about task 6: no forks, so no
/// copy-on-write.
namespace lab02_tests {

class PlainTables final : public kit::PagedKvCache {
 public:
  PlainTables(int block_size, std::shared_ptr<kit::BlockAllocator> allocator)
      : block_size_(block_size), allocator_(std::move(allocator)) {}

  int block_size() const override { return block_size_; }

  int add_sequence(std::span<const int> blocks = {}) override {
    sequences_[n_added_] = {static_cast<int>(blocks.size()) * block_size_, {blocks.begin(), blocks.end()}};
    return n_added_++;
  }

  kit::AppendedSlots append(int sequence, int n) override {
    Sequence& s = at(sequence);
    const int n_wanted = (s.len + n + block_size_ - 1) / block_size_;
    const std::vector<int> blocks = allocator_->allocate(n_wanted - static_cast<int>(s.table.size()));
    s.table.insert(s.table.end(), blocks.begin(), blocks.end());
    kit::AppendedSlots result;
    for (int i = 0; i < n; ++i, ++s.len) {
      const std::int64_t block = s.table[static_cast<std::size_t>(s.len / block_size_)];
      result.slot_mapping.push_back(block * block_size_ + s.len % block_size_);
    }
    return result;
  }

  int fork(int /*sequence*/) override { throw kit::Error("tables without forks"); }

  void free(int sequence) override {
    for (const int block : at(sequence).table) allocator_->release(block);
    sequences_.erase(sequence);
  }

  int context_len(int sequence) const override { return at(sequence).len; }
  std::vector<int> block_table(int sequence) const override { return at(sequence).table; }
  kit::KvUsage usage() const override { throw kit::Error("tables without statistics"); }

 private:
  struct Sequence {
    int len = 0;
    std::vector<int> table;
  };

  const Sequence& at(int sequence) const {
    const auto found = sequences_.find(sequence);
    KIT_CHECK(found != sequences_.end(), "there is no sequence {}", sequence);
    return found->second;
  }
  Sequence& at(int sequence) { return const_cast<Sequence&>(std::as_const(*this).at(sequence)); }

  int block_size_;
  std::shared_ptr<kit::BlockAllocator> allocator_;
  std::map<int, Sequence> sequences_;
  int n_added_ = 0;
};

}  // namespace lab02_tests
