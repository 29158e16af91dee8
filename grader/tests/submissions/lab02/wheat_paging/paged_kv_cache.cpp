#include "lab02/paged_kv_cache.h"

#include <algorithm>
#include <list>
#include <map>
#include <optional>
#include <set>

namespace lab02 {

namespace {

/// A block of a sequence, and how many tokens of the sequence it holds.
struct Page {
  int block;
  int n_tokens;
};

/// Every sequence is a chain of pages; an id is an index into a list that only grows.
class PageChains : public kit::PagedKvCache {
 public:
  PageChains(int block_size, const std::shared_ptr<kit::BlockAllocator>& allocator)
      : allocator_(allocator), block_size_(block_size) {}

  int block_size() const override { return block_size_; }

  int add_sequence(std::span<const int> blocks) override {
    auto& chain = chains_.emplace_back(std::in_place);
    for (const int block : blocks) chain->push_back({block, block_size_});
    return 100 + static_cast<int>(chains_.size());
  }

  kit::AppendedSlots append(int sequence, int n) override {
    std::list<Page>& chain = at(sequence);
    if (n < 0) throw kit::Error(fmt::format("append of {} tokens", n));
    const int room = chain.empty() ? 0 : block_size_ - chain.back().n_tokens;
    const std::int64_t behind = std::max<std::int64_t>(0, std::int64_t{n} - room);
    const std::int64_t n_new = (behind + block_size_ - 1) / block_size_;
    const bool copies = n > 0 && room > 0 && allocator_->ref_count(chain.back().block) != 1;
    if (n_new + (copies ? 1 : 0) > allocator_->n_free())
      throw kit::Error(fmt::format("no room for {} tokens of sequence {}", n, sequence));

    kit::AppendedSlots appended;
    if (copies) {
      const int own = allocator_->allocate(1)[0];
      appended.copies = {{chain.back().block, own}};
      allocator_->release(chain.back().block);
      chain.back().block = own;
    }
    for (; n > 0; --n) {
      if (chain.empty() || chain.back().n_tokens == block_size_)
        chain.push_back({allocator_->allocate(1)[0], 0});
      Page& page = chain.back();
      appended.slot_mapping.push_back(static_cast<std::int64_t>(page.block) * block_size_ + page.n_tokens++);
    }
    return appended;
  }

  int fork(int sequence) override {
    const std::list<Page> chain = at(sequence);
    for (const Page& page : chain) allocator_->share(page.block);
    chains_.emplace_back(chain);
    return 100 + static_cast<int>(chains_.size());
  }

  void free(int sequence) override {
    std::list<Page>& chain = at(sequence);
    for (; !chain.empty(); chain.pop_back()) allocator_->release(chain.back().block);
    chains_[static_cast<std::size_t>(sequence - 101)].reset();
  }

  int context_len(int sequence) const override {
    int n = 0;
    for (const Page& page : at(sequence)) n += page.n_tokens;
    return n;
  }

  std::vector<int> block_table(int sequence) const override {
    std::vector<int> table;
    for (const Page& page : at(sequence)) table.push_back(page.block);
    return table;
  }

  kit::KvUsage usage() const override {
    std::map<int, int> held;
    std::set<int> shared;
    kit::KvUsage usage;
    for (const auto& chain : chains_) {
      if (!chain) continue;
      ++usage.n_sequences;
      for (const Page& page : *chain) {
        const auto [it, is_new] = held.try_emplace(page.block, page.n_tokens);
        if (!is_new) shared.insert(page.block);
        it->second = std::max(it->second, page.n_tokens);
      }
    }
    for (const auto& [block, n_tokens] : held) usage.used_slots += n_tokens;
    usage.allocated_blocks = static_cast<int>(held.size());
    usage.allocated_slots = static_cast<std::int64_t>(held.size()) * block_size_;
    usage.shared_blocks = static_cast<int>(shared.size());
    return usage;
  }

 private:
  const std::list<Page>& at(int sequence) const {
    const std::int64_t index = std::int64_t{sequence} - 101;
    if (index < 0 || index >= std::ssize(chains_) || !chains_[static_cast<std::size_t>(index)])
      throw kit::Error(fmt::format("sequence {} does not exist", sequence));
    return *chains_[static_cast<std::size_t>(index)];
  }
  std::list<Page>& at(int sequence) {
    return const_cast<std::list<Page>&>(static_cast<const PageChains&>(*this).at(sequence));
  }

  std::shared_ptr<kit::BlockAllocator> allocator_;
  int block_size_;
  std::vector<std::optional<std::list<Page>>> chains_;  // index: id - 101
};

void require(bool condition, const char* what) {
  if (!condition) throw kit::Error(what);
}

}  // namespace

std::unique_ptr<kit::PagedKvCache> make_paged_kv_cache(int block_size,
                                                       std::shared_ptr<kit::BlockAllocator> allocator) {
  if (block_size <= 0) throw kit::Error(fmt::format("block_size {}", block_size));
  require(allocator != nullptr, "no allocator");
  return std::make_unique<PageChains>(block_size, allocator);
}

void reshape_and_cache(kit::TensorView<const float> k, kit::TensorView<const float> v,
                       kit::TensorView<const std::int64_t> slot_mapping, kit::TensorView<float> k_blocks,
                       kit::TensorView<float> v_blocks) {
  require(k.rank() == 3 && k_blocks.rank() == 4, "ranks");
  require(k.shape() == v.shape() && k_blocks.shape() == v_blocks.shape(), "keys and values differ");
  require(slot_mapping.shape() == kit::Shape{k.dim(0)}, "a slot for each token");
  require(k.dim(1) == k_blocks.dim(2) && k.dim(2) == k_blocks.dim(3), "heads and blocks differ");
  const std::int64_t block_size = k_blocks.dim(1);
  for (const auto slot : slot_mapping.span())
    require(slot < k_blocks.dim(0) * block_size, "a slot that does not exist");
  for (std::int64_t t = 0; t < k.dim(0); ++t) {
    const std::int64_t slot = slot_mapping(t);
    for (std::int64_t h = 0; slot >= 0 && h < k.dim(1); ++h) {
      for (std::int64_t d = 0; d < k.dim(2); ++d) {
        k_blocks(slot / block_size, slot % block_size, h, d) = k(t, h, d);
        v_blocks(slot / block_size, slot % block_size, h, d) = v(t, h, d);
      }
    }
  }
}

void copy_blocks(kit::TensorView<const std::int32_t> pairs, kit::TensorView<float> k_blocks,
                 kit::TensorView<float> v_blocks) {
  require(pairs.rank() == 2 && pairs.dim(1) == 2, "pairs are [n, 2]");
  require(k_blocks.rank() == 4 && k_blocks.shape() == v_blocks.shape(), "keys and values differ");
  for (const std::int32_t block : pairs.span())
    require(block >= 0 && block < k_blocks.dim(0), "no such block");
  for (const kit::TensorView<float>& blocks : {k_blocks, v_blocks}) {
    const std::int64_t size = blocks.dim(0) == 0 ? 0 : blocks.size() / blocks.dim(0);
    for (std::int64_t i = 0; i < pairs.dim(0); ++i) {
      const auto from =
          blocks.span().subspan(static_cast<std::size_t>(pairs(i, 0) * size), static_cast<std::size_t>(size));
      std::ranges::copy(from, blocks.data() + pairs(i, 1) * size);
    }
  }
}

}  // namespace lab02
