#include "lab06/rollback.h"

#include <algorithm>

namespace lab06 {

namespace {

/// All keys and all values, [n_layers, max_len, n_kv_heads, head_dim], allocated once. To forget a tail is to
/// lower a length: what lies behind it is overwritten by the next append.
class TruncatableCache final : public kit::KvCache {
 public:
  explicit TruncatableCache(const kit::KvCacheConfig& config)
      : config_(config),
        keys_({config.n_layers, config.max_len, config.n_kv_heads, config.head_dim}),
        values_(keys_.shape()),
        lengths_(static_cast<std::size_t>(config.n_layers), 0) {}

  const kit::KvCacheConfig& config() const override { return config_; }

  void append(int layer, kit::TensorView<const float> k, kit::TensorView<const float> v) override {
    const int len = length(layer);
    KIT_CHECK(k.rank() == 3 && k.dim(1) == config_.n_kv_heads && k.dim(2) == config_.head_dim &&
                  v.shape() == k.shape(),
              "k {} and v {} must both be [n, {}, {}]", k.shape().to_string(), v.shape().to_string(),
              config_.n_kv_heads, config_.head_dim);
    KIT_CHECK(k.dim(0) <= config_.max_len - len,
              "layer {} holds {} tokens, {} more exceed the capacity of {}", layer, len, k.dim(0),
              config_.max_len);
    std::ranges::copy(k.span(), keys_.data() + offset(layer, len));
    std::ranges::copy(v.span(), values_.data() + offset(layer, len));
    lengths_[static_cast<std::size_t>(layer)] += static_cast<int>(k.dim(0));
  }

  kit::TensorView<const float> keys(int layer) const override { return view(keys_, layer); }
  kit::TensorView<const float> values(int layer) const override { return view(values_, layer); }

  int length(int layer) const override {
    KIT_CHECK(layer >= 0 && layer < config_.n_layers, "layer {} is not in [0, {})", layer, config_.n_layers);
    return lengths_[static_cast<std::size_t>(layer)];
  }

  void reset() override { std::ranges::fill(lengths_, 0); }

  void truncate(int length) override {
    const int longest = std::ranges::max(lengths_);
    KIT_CHECK(length >= 0 && length <= longest, "truncate to {} tokens, the cache holds {}", length, longest);
    for (int& len : lengths_) len = std::min(len, length);
  }

 private:
  std::int64_t offset(int layer, int pos) const {
    return (std::int64_t{layer} * config_.max_len + pos) * config_.n_kv_heads * config_.head_dim;
  }
  kit::TensorView<const float> view(const kit::Tensor<float>& all, int layer) const {
    const int len = length(layer);
    return {all.data() + offset(layer, 0), {len, config_.n_kv_heads, config_.head_dim}};
  }

  kit::KvCacheConfig config_;
  kit::Tensor<float> keys_;    // [n_layers, max_len, n_kv_heads, head_dim]
  kit::Tensor<float> values_;  // [n_layers, max_len, n_kv_heads, head_dim]
  std::vector<int> lengths_;   // [n_layers], in tokens
};

std::size_t blocks_for(int n_tokens, int block_size) {
  return (static_cast<std::size_t>(n_tokens) + static_cast<std::size_t>(block_size) - 1) /
         static_cast<std::size_t>(block_size);
}

}  // namespace

std::unique_ptr<kit::KvCache> make_contiguous_cache(const kit::KvCacheConfig& config) {
  KIT_CHECK(config.n_layers > 0 && config.n_kv_heads > 0 && config.head_dim > 0 && config.max_len > 0,
            "n_layers {}, n_kv_heads {}, head_dim {}, max_len {}: all must be positive", config.n_layers,
            config.n_kv_heads, config.head_dim, config.max_len);
  return std::make_unique<TruncatableCache>(config);
}

RolledBackTable rollback_blocks(std::span<const int> block_table, int block_size, int context_len, int length,
                                kit::BlockAllocator& allocator) {
  KIT_CHECK(block_size >= 1, "a block_size of {}", block_size);
  KIT_CHECK(length >= 0 && length <= context_len, "roll back to {} tokens, the sequence has {}", length,
            context_len);
  KIT_CHECK(block_table.size() == blocks_for(context_len, block_size),
            "a table of {} blocks of {} tokens for a sequence of {}", block_table.size(), block_size,
            context_len);
  // ref_count refuses a number that is no block's. All are looked at before the first is released.
  for (const int block : block_table) KIT_CHECK(allocator.ref_count(block) > 0, "block {} is free", block);
  const auto kept = block_table.first(blocks_for(length, block_size));
  for (const int block : block_table.subspan(kept.size())) {
    while (allocator.ref_count(block) > 0) allocator.release(block);
  }
  const bool next_goes_into_last = length % block_size != 0;
  return {{kept.begin(), kept.end()}, next_goes_into_last && allocator.ref_count(kept.back()) > 1};
}

}  // namespace lab06
