#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kit/block_allocator.h"
#include "kit/tensor.h"

/// A KV cache in blocks of fixed size (Kwon et al. 2023, "Efficient Memory Management for Large Language
/// Model Serving with PagedAttention", sections 4.2 and 4.3).
///
/// Two things that a contiguous cache mixes are apart here: PagedKvCache says which slot belongs to which
/// token, KvBlockStorage is the memory. Slot s is place s % block_size of block s / block_size.
namespace kit {

struct PagedKvConfig {
  int n_layers = 0;
  int n_kv_heads = 0;
  int head_dim = 0;
  int block_size = 0;  ///< tokens of a block
  int n_blocks = 0;
};

/// Copy all tokens of block `from` to block `to`, in every layer.
struct BlockCopy {
  int from = 0;
  int to = 0;
  bool operator==(const BlockCopy&) const = default;
};

/// Where new tokens go.
struct AppendedSlots {
  std::vector<std::int64_t> slot_mapping;  ///< [n], the slot of each new token
  std::vector<BlockCopy> copies;           ///< to be done before the tokens are written; at most one
};

/// Where the memory went.
struct KvUsage {
  int n_sequences = 0;
  int allocated_blocks = 0;          ///< different blocks in the tables of all sequences
  std::int64_t allocated_slots = 0;  ///< allocated_blocks * block_size
  std::int64_t used_slots = 0;       ///< those that hold a token; a shared slot counts once
  int shared_blocks = 0;             ///< blocks in the tables of two sequences or more
  bool operator==(const KvUsage&) const = default;
};

/// Block tables: which blocks hold the tokens of which sequence. Lab 02 implements it.
///
/// Position p of a sequence is in block block_table[p / block_size], place p % block_size. All layers use the
/// same blocks. Every call that throws leaves cache and allocator as they were. Every call with a sequence
/// that does not exist, or was freed, throws kit::Error naming it.
class PagedKvCache {
 public:
  virtual ~PagedKvCache() = default;

  virtual int block_size() const = 0;

  /// A new sequence, whose id is returned; ids are not used twice. `blocks` hold its first blocks.size() *
  /// block_size() tokens (a prefix cache's match); the caller's reference to each passes to the sequence.
  virtual int add_sequence(std::span<const int> blocks = {}) = 0;

  /// Makes room for n more tokens, n >= 0, allocating blocks only when the last one is full. Copy-on-write:
  /// when the first of the n tokens goes into a block that has other users (ref_count > 1), the sequence gets
  /// a new block in its place, releases the old one, and the result asks for the copy. No other block is ever
  /// copied. Throws kit::Error when n is negative or the allocator has not enough free blocks for all of it.
  virtual AppendedSlots append(int sequence, int n) = 0;

  /// A new sequence with the same tokens. It shares all blocks; nothing is copied or allocated.
  virtual int fork(int sequence) = 0;

  /// Releases the sequence's blocks and forgets it.
  virtual void free(int sequence) = 0;

  /// Tokens of the sequence, those made room for by append included.
  virtual int context_len(int sequence) const = 0;
  /// ceil(context_len / block_size) blocks, in the order of positions.
  virtual std::vector<int> block_table(int sequence) const = 0;

  virtual KvUsage usage() const = 0;
};

/// Keys and values of all blocks, host memory. Starts as NaN, so that what was never written shows.
class KvBlockStorage {
 public:
  /// Throws kit::Error naming the value when a field of `config` is not positive.
  explicit KvBlockStorage(const PagedKvConfig& config);

  const PagedKvConfig& config() const { return config_; }
  /// [n_blocks, block_size, n_kv_heads, head_dim]. Throws kit::Error on a layer out of range.
  TensorView<float> keys(int layer);
  TensorView<const float> keys(int layer) const;
  TensorView<float> values(int layer);
  TensorView<const float> values(int layer) const;

 private:
  PagedKvConfig config_;
  std::vector<Tensor<float>> keys_;
  std::vector<Tensor<float>> values_;
};

}  // namespace kit
