#pragma once

namespace kit::simt::detail {

struct Index3 {
  unsigned x, y, z;
};

}  // namespace kit::simt::detail

// Where the running thread stands. The executor changes it between threads; for the thread itself it is
// constant, and the declarations say so: neither compiler instruments reads of constants (clang: of constant
// scalars), so threadIdx.x costs one load and never shows up among a kernel's memory accesses.
// __thread, not thread_local: no initialiser runs, so no wrapper function stands before each read.
#define KIT_SIMT_POSITION(declare) declare(thread_idx) declare(block_idx) declare(block_dim) declare(grid_dim)
#define KIT_SIMT_DECLARE(what)                        \
  extern __thread const unsigned kit_simt_##what##_x; \
  extern __thread const unsigned kit_simt_##what##_y; \
  extern __thread const unsigned kit_simt_##what##_z;
extern "C" {
KIT_SIMT_POSITION(KIT_SIMT_DECLARE)
}
#undef KIT_SIMT_DECLARE
