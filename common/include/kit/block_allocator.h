#pragma once

#include <vector>

namespace kit {

/// Hands out the blocks of a paged KV cache, by number, and counts the users of each. Lab 02 implements it;
/// everything that holds blocks shares one.
///
/// A block is free (ref_count 0) or in use (ref_count >= 1). Every call that throws leaves everything as it
/// was.
class BlockAllocator {
 public:
  virtual ~BlockAllocator() = default;

  /// Blocks there are; they are numbered 0 .. n_blocks() - 1.
  virtual int n_blocks() const = 0;
  virtual int n_free() const = 0;

  /// Takes n free blocks, all different, each with one user from now on: all of them or none. n may be 0.
  /// Throws kit::Error naming both numbers when n is negative or more than n_free().
  virtual std::vector<int> allocate(int n) = 0;
  /// One more user of a block that is in use. Throws kit::Error naming the block when it is free or not in
  /// [0, n_blocks()).
  virtual void share(int block) = 0;
  /// One user less; without users the block is free. Throws kit::Error naming the block when it is free
  /// already (released twice) or not in [0, n_blocks()).
  virtual void release(int block) = 0;
  /// Users of a block, 0 when it is free. Throws kit::Error when it is not in [0, n_blocks()).
  virtual int ref_count(int block) const = 0;
};

}  // namespace kit
