#pragma once

#include <memory>

#include "kit/block_allocator.h"

/// Lab 02, task 5: who uses which block.
namespace lab02 {

/// An allocator with all blocks free. What each member must do, and when it throws, is written at
/// kit::BlockAllocator in common/include/kit/block_allocator.h. Which of the free blocks allocate() takes is
/// yours to choose. allocate(n) takes O(n) time, the others O(1). Throws kit::Error naming the value when
/// n_blocks is negative.
std::unique_ptr<kit::BlockAllocator> make_block_allocator(int n_blocks);

}  // namespace lab02
