#include "kit/cuda/kernel.h"
#include "lab01/cuda_kernels.h"

// Task 7, transposes. What each function must do is written in include/lab01/cuda_kernels.h; the chapter is
// docs/01_memory_bound_inference.md, section 12. A grid of thread blocks in two dimensions is launched with
//
//   kit::launch(my_kernel, {dim3(n_blocks_x, n_blocks_y), dim3(threads_x, threads_y)}, arguments of the
//   kernel ...);
//
// Thread (x, y) of a thread block is number y * blockDim.x + x; each 32 in a row are a warp.

namespace lab01 {

void transpose_naive_cuda(kit::TensorView<const float> in, kit::TensorView<float> out) {
  (void)in, (void)out;
  throw kit::NotImplemented("lab01 task 7: transpose_naive_cuda");
}

void transpose_tiled_cuda(kit::TensorView<const float> in, kit::TensorView<float> out) {
  // In the kernel: __shared__ float tile[32][32], and a __syncthreads() that every thread reaches.
  (void)in, (void)out;
  throw kit::NotImplemented("lab01 task 7: transpose_tiled_cuda");
}

void transpose_padded_cuda(kit::TensorView<const float> in, kit::TensorView<float> out) {
  (void)in, (void)out;
  throw kit::NotImplemented("lab01 task 7: transpose_padded_cuda");
}

}  // namespace lab01
