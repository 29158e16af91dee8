#pragma once

#include <vector>

#include "kit/kv_cache.h"
#include "kit/paged_kv_cache.h"

namespace kit {

/// One sequence of a paged cache, to run a Model on. Layer 0's append makes room in the tables and does the
/// copies that copy-on-write asks for; the other layers use the same slots.
///
/// keys() and values() gather a copy, for attention that knows contiguous arrays only; attention that knows
/// blocks takes storage() and block_table().
class PagedSequence final : public KvCache {
 public:
  /// `cache` and `storage` outlive this; `sequence` is one of the cache's. Positions that it has already (a
  /// prefix) count as filled in every layer. Throws kit::Error when their block sizes differ.
  PagedSequence(PagedKvCache& cache, int sequence, KvBlockStorage& storage);

  const KvCacheConfig& config() const override { return config_; }
  void append(int layer, TensorView<const float> k, TensorView<const float> v) override;
  TensorView<const float> keys(int layer) const override;
  TensorView<const float> values(int layer) const override;
  int length(int layer) const override;
  /// Throws kit::Error: free the sequence instead.
  void reset() override;

  int sequence() const { return sequence_; }
  KvBlockStorage& storage() const { return *storage_; }
  /// As of the last append.
  const std::vector<int>& block_table() const { return block_table_; }

 private:
  TensorView<const float> gather(TensorView<const float> blocks, int layer, Tensor<float>& into) const;

  PagedKvCache* cache_;
  KvBlockStorage* storage_;
  int sequence_;
  KvCacheConfig config_;
  std::vector<int> lengths_;                // by layer
  std::vector<std::int64_t> slot_mapping_;  // of the tokens that are under way
  std::vector<int> block_table_;
  mutable Tensor<float> gathered_keys_;
  mutable Tensor<float> gathered_values_;
};

}  // namespace kit
