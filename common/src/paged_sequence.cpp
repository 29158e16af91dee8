#include "kit/paged_sequence.h"

#include <algorithm>

namespace kit {

namespace {

/// What a cache says is checked before it becomes an address: it may be anybody's.
void copy_block(TensorView<float> blocks, const BlockCopy& copy) {
  const std::int64_t n_blocks = blocks.dim(0);
  KIT_CHECK(copy.from >= 0 && copy.from < n_blocks && copy.to >= 0 && copy.to < n_blocks,
            "a copy of block {} to block {}, there are {}", copy.from, copy.to, n_blocks);
  const std::int64_t size = blocks.dim(1) * blocks.dim(2) * blocks.dim(3);
  std::copy_n(blocks.data() + copy.from * size, size, blocks.data() + copy.to * size);
}

}  // namespace

PagedSequence::PagedSequence(PagedKvCache& cache, int sequence, KvBlockStorage& storage)
    : cache_(&cache), storage_(&storage), sequence_(sequence), block_table_(cache.block_table(sequence)) {
  const PagedKvConfig& c = storage.config();
  KIT_CHECK(cache.block_size() == c.block_size, "tables of blocks of {} tokens, storage of blocks of {}",
            cache.block_size(), c.block_size);
  config_ = {c.n_layers, c.n_kv_heads, c.head_dim, c.block_size * c.n_blocks};
  const int len = cache.context_len(sequence);
  KIT_CHECK(len >= 0 && len <= config_.max_len, "sequence {} has {} tokens, the storage is of {}", sequence,
            len, config_.max_len);
  lengths_.assign(static_cast<std::size_t>(c.n_layers), len);
}

void PagedSequence::append(int layer, TensorView<const float> k, TensorView<const float> v) {
  const Shape row{k.rank() == 3 ? k.dim(0) : 0, config_.n_kv_heads, config_.head_dim};
  KIT_CHECK(k.shape() == row && v.shape() == row, "k {} and v {} must both be [n, {}, {}]",
            k.shape().to_string(), v.shape().to_string(), config_.n_kv_heads, config_.head_dim);
  const int first_pos = length(layer);
  const int n = static_cast<int>(k.dim(0));
  if (layer == 0) {
    AppendedSlots slots = cache_->append(sequence_, n);
    for (const BlockCopy& copy : slots.copies) {
      for (int other = 0; other < config_.n_layers; ++other) {
        copy_block(storage_->keys(other), copy);
        copy_block(storage_->values(other), copy);
      }
    }
    slot_mapping_ = std::move(slots.slot_mapping);
    block_table_ = cache_->block_table(sequence_);
  }
  KIT_CHECK(
      static_cast<int>(slot_mapping_.size()) == n && first_pos + n == cache_->context_len(sequence_),
      "{} tokens behind {} of layer {}, {} slots for a sequence of {}; layer 0 is appended to first, the "
      "others by the same tokens",
      n, first_pos, layer, slot_mapping_.size(), cache_->context_len(sequence_));
  const TensorView<float> keys = storage_->keys(layer);
  const TensorView<float> values = storage_->values(layer);
  const std::int64_t size = k.dim(1) * k.dim(2);
  const std::int64_t n_slots = keys.dim(0) * keys.dim(1);
  for (int t = 0; t < n; ++t) {
    const std::int64_t slot = slot_mapping_[static_cast<std::size_t>(t)];
    KIT_CHECK(slot >= 0 && slot < n_slots, "slot {} of token {} is not in [0, {})", slot, t, n_slots);
    std::copy_n(k.data() + t * size, size, keys.data() + slot * size);
    std::copy_n(v.data() + t * size, size, values.data() + slot * size);
  }
  lengths_[static_cast<std::size_t>(layer)] += n;
}

TensorView<const float> PagedSequence::gather(TensorView<const float> blocks, int layer,
                                              Tensor<float>& into) const {
  const int n = length(layer);
  into = Tensor<float>({n, config_.n_kv_heads, config_.head_dim});
  const std::int64_t size = blocks.dim(2) * blocks.dim(3);
  const int block_size = storage_->config().block_size;
  for (int pos = 0; pos < n; ++pos) {
    const auto index = static_cast<std::size_t>(pos / block_size);
    KIT_CHECK(index < block_table_.size() && block_table_[index] >= 0 && block_table_[index] < blocks.dim(0),
              "no block for position {} of sequence {}", pos, sequence_);
    const std::int64_t slot = std::int64_t{block_table_[index]} * block_size + pos % block_size;
    std::copy_n(blocks.data() + slot * size, size, into.data() + pos * size);
  }
  return into;
}

TensorView<const float> PagedSequence::keys(int layer) const {
  return gather(std::as_const(*storage_).keys(layer), layer, gathered_keys_);
}

TensorView<const float> PagedSequence::values(int layer) const {
  return gather(std::as_const(*storage_).values(layer), layer, gathered_values_);
}

int PagedSequence::length(int layer) const {
  KIT_CHECK(layer >= 0 && layer < config_.n_layers, "layer {} is not in [0, {})", layer, config_.n_layers);
  return lengths_[static_cast<std::size_t>(layer)];
}

void PagedSequence::reset() {
  throw Error("a sequence of a paged cache is not reset, it is freed");
}

}  // namespace kit
