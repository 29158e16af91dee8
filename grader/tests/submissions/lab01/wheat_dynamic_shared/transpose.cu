#include <cstdint>

#include "kit/cuda/kernel.h"
#include "lab01/cuda_kernels.h"

namespace lab01 {

namespace {

// A warp a thread block: it takes a column of 32 x 32 elements, row by row.
__global__ void transpose_by_warp_kernel(const float* in, float* out, std::int64_t rows, std::int64_t cols) {
  const std::int64_t col = std::int64_t{blockIdx.x} * 32 + threadIdx.x;
  const std::int64_t end =
      (std::int64_t{blockIdx.y} + 1) * 32 < rows ? (std::int64_t{blockIdx.y} + 1) * 32 : rows;
  if (col >= cols) return;
  for (std::int64_t row = std::int64_t{blockIdx.y} * 32; row < end; ++row)
    out[col * rows + row] = in[row * cols + col];
}

// The tile is turned on the way in: rows of `in` become columns of the tile, which is then written row by
// row.
__global__ void transpose_dynamic_kernel(const float* in, float* out, std::int64_t rows, std::int64_t cols,
                                         int pitch) {
  KIT_DYNAMIC_SHARED(float, tile);
  const int x = static_cast<int>(threadIdx.x);
  const std::int64_t row = std::int64_t{blockIdx.y} * 32;
  const std::int64_t col = std::int64_t{blockIdx.x} * 32;
  for (int y = static_cast<int>(threadIdx.y); y < 32; y += 4)
    tile[x * pitch + y] = row + y < rows && col + x < cols ? in[(row + y) * cols + col + x] : 0.0F;
  __syncthreads();
  for (int y = static_cast<int>(threadIdx.y); y < 32; y += 4) {
    const float value = tile[y * pitch + x];
    if (col + y < cols && row + x < rows) out[(col + y) * rows + row + x] = value;
  }
}

void check(kit::TensorView<const float> in, kit::TensorView<float> out) {
  KIT_CHECK(in.rank() == 2 && out.rank() == 2, "ranks");
  KIT_CHECK(in.dim(0) == out.dim(1) && in.dim(1) == out.dim(0), "shapes");
}

void transpose(kit::TensorView<const float> in, kit::TensorView<float> out, int pitch) {
  check(in, out);
  if (in.size() == 0) return;
  kit::launch(transpose_dynamic_kernel,
              {.grid = dim3(kit::ceil_div(in.dim(1), 32), kit::ceil_div(in.dim(0), 32)),
               .thread_block = dim3(32, 4),
               .dynamic_shared_bytes = 32 * static_cast<std::size_t>(pitch) * sizeof(float)},
              in.data(), out.data(), in.dim(0), in.dim(1), pitch);
}

}  // namespace

void transpose_naive_cuda(kit::TensorView<const float> in, kit::TensorView<float> out) {
  check(in, out);
  if (in.size() == 0) return;
  kit::launch(transpose_by_warp_kernel,
              {dim3(kit::ceil_div(in.dim(1), 32), kit::ceil_div(in.dim(0), 32)), 32}, in.data(), out.data(),
              in.dim(0), in.dim(1));
}

void transpose_tiled_cuda(kit::TensorView<const float> in, kit::TensorView<float> out) {
  transpose(in, out, 32);
}

void transpose_padded_cuda(kit::TensorView<const float> in, kit::TensorView<float> out) {
  transpose(in, out, 33);
}

}  // namespace lab01
