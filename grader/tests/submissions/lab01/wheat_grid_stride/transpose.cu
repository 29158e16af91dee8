#include <cstdint>

#include "kit/cuda/kernel.h"
#include "lab01/cuda_kernels.h"

namespace lab01 {

namespace {

// A flat thread block of 256: warp w has 32 columns of row 8 * blockIdx.y + w.
__global__ void transpose_flat_kernel(const float* in, float* out, int rows, int cols) {
  const int row = static_cast<int>(blockIdx.y * 8 + threadIdx.x / 32);
  const int col = static_cast<int>(blockIdx.x * 32 + threadIdx.x % 32);
  if (row >= rows || col >= cols) return;
  out[static_cast<std::int64_t>(col) * rows + row] = in[static_cast<std::int64_t>(row) * cols + col];
}

// 32 x 32 threads, one element each. The column of an element in the tile is xored with its row where
// kSwizzle says so: rows and columns of the matrix then both lie in 32 different banks.
template <bool kSwizzle>
__global__ void transpose_swizzled_kernel(const float* in, float* out, int rows, int cols) {
  __shared__ float tile[32 * 32];
  const unsigned x = threadIdx.x;
  const unsigned y = threadIdx.y;
  const auto place = [](unsigned row, unsigned col) { return 32 * row + (kSwizzle ? col ^ row : col); };
  const unsigned n_rows = static_cast<unsigned>(rows) - blockIdx.x * 32;  // of `in` from this tile on
  const unsigned n_cols = static_cast<unsigned>(cols) - blockIdx.y * 32;
  in += static_cast<std::int64_t>(blockIdx.x) * 32 * cols + blockIdx.y * 32;
  out += static_cast<std::int64_t>(blockIdx.y) * 32 * rows + blockIdx.x * 32;
  if (y < n_rows && x < n_cols) tile[place(y, x)] = in[static_cast<std::int64_t>(y) * cols + x];
  __syncthreads();
  if (y < n_cols && x < n_rows) out[static_cast<std::int64_t>(y) * rows + x] = tile[place(x, y)];
}

void check(kit::TensorView<const float> in, kit::TensorView<float> out) {
  KIT_CHECK(in.rank() == 2, "in has rank {}", in.rank());
  KIT_CHECK((out.shape() == kit::Shape{in.dim(1), in.dim(0)}), "out has shape {}", out.shape().to_string());
}

template <bool kSwizzle>
void transpose(kit::TensorView<const float> in, kit::TensorView<float> out) {
  check(in, out);
  const auto rows = static_cast<int>(in.dim(0));
  const auto cols = static_cast<int>(in.dim(1));
  if (rows == 0 || cols == 0) return;
  kit::launch(transpose_swizzled_kernel<kSwizzle>,
              {dim3(kit::ceil_div(rows, 32), kit::ceil_div(cols, 32)), dim3(32, 32)}, in.data(), out.data(),
              rows, cols);
}

}  // namespace

void transpose_naive_cuda(kit::TensorView<const float> in, kit::TensorView<float> out) {
  check(in, out);
  const auto rows = static_cast<int>(in.dim(0));
  const auto cols = static_cast<int>(in.dim(1));
  if (rows == 0 || cols == 0) return;
  kit::launch(transpose_flat_kernel, {dim3(kit::ceil_div(cols, 32), kit::ceil_div(rows, 8)), 256}, in.data(),
              out.data(), rows, cols);
}

void transpose_tiled_cuda(kit::TensorView<const float> in, kit::TensorView<float> out) {
  transpose<false>(in, out);
}

void transpose_padded_cuda(kit::TensorView<const float> in, kit::TensorView<float> out) {
  transpose<true>(in, out);
}

}  // namespace lab01
