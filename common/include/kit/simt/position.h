#pragma once

namespace kit::simt::detail {

struct Index3 {
  unsigned x, y, z;
};

/// Where the running thread stands. The executor changes it between threads; for the thread itself it is
/// constant, and the declaration below says so: neither compiler instruments reads of constants, so threadIdx
/// costs one load and never shows up among a kernel's memory accesses.
struct ThreadPosition {
  Index3 thread_idx, block_idx, block_dim, grid_dim;
};

}  // namespace kit::simt::detail

// __thread, not thread_local: no initialiser runs, so no wrapper function stands before each read.
extern "C" {
extern __thread const kit::simt::detail::ThreadPosition kit_simt_position;
}
