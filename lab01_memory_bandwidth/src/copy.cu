#include "kit/cuda/kernel.h"
#include "lab01/cuda_kernels.h"

// Task 7, copies. What each function must do is written in include/lab01/cuda_kernels.h; the chapter is
// docs/01_memory_bound_inference.md, section 11. A kernel is launched with
//
//   kit::launch(my_kernel, {n_thread_blocks, threads_per_block}, arguments of the kernel ...);

namespace lab01 {

void copy_cuda(kit::TensorView<const float> in, kit::TensorView<float> out) {
  // Check the shapes (KIT_CHECK), then launch as many thread blocks as cover n (kit::ceil_div); no launch for
  // n = 0.
  (void)in, (void)out;
  throw kit::NotImplemented("lab01 task 7: copy_cuda");
}

void copy_vectorized_cuda(kit::TensorView<const float> in, kit::TensorView<float> out) {
  // In the kernel: reinterpret_cast<const float4*>(in), and the same for out.
  (void)in, (void)out;
  throw kit::NotImplemented("lab01 task 7: copy_vectorized_cuda");
}

void copy_strided_cuda(kit::TensorView<const float> in, kit::TensorView<float> out, std::int64_t stride) {
  (void)in, (void)out, (void)stride;
  throw kit::NotImplemented("lab01 task 7: copy_strided_cuda");
}

}  // namespace lab01
