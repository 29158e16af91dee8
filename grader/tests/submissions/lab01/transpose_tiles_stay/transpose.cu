#include <cstdint>

#include "kit/cuda/kernel.h"
#include "lab01/cuda_kernels.h"

namespace lab01 {

namespace {

constexpr int kTile = 32;  // rows and columns of `in` for a thread block: as wide as a warp
constexpr int kRows = 8;   // rows that its 32 x 8 threads move at a time

// Thread (x, y) moves column x of rows y, y + 8, ... of a tile: its warp reads a row and writes a column.
// PRECOND: in is [rows, cols], out [cols, rows]; a thread block of 32 x 8 threads for each 32 x 32 elements.
// Bytes: 4 rows cols read, in 4 sectors a request, and as many written, in 32. FLOPs: none.
// Harris, "An Efficient Matrix Transpose in CUDA C/C++", transposeNaive.
__global__ void transpose_naive_kernel(const float* in, float* out, std::int64_t rows, std::int64_t cols) {
  const std::int64_t col = std::int64_t{blockIdx.x} * kTile + threadIdx.x;
  const std::int64_t first_row = std::int64_t{blockIdx.y} * kTile + threadIdx.y;
  for (int i = 0; i < kTile; i += kRows) {
    const std::int64_t row = first_row + i;
    if (row < rows && col < cols) out[col * rows + row] = in[row * cols + col];
  }
}

// A thread block turns its tile in shared memory: each warp reads rows of in, then writes rows of out.
// PRECOND: in is [rows, cols], out [cols, rows]; a thread block of 32 x 8 threads for each 32 x 32 elements.
// Bytes: 4 rows cols each way; a tile's column lies in 1 bank for kPitch 32, in 32 for 33. FLOPs: none.
// Harris, "An Efficient Matrix Transpose in CUDA C/C++", transposeCoalesced and transposeNoBankConflicts.
template <int kPitch>
__global__ void transpose_tiled_kernel(const float* in, float* out, std::int64_t rows, std::int64_t cols) {
  __shared__ float tile[kTile][kPitch];  // [row of in, column of in]
  const auto x = static_cast<int>(threadIdx.x);
  const auto y = static_cast<int>(threadIdx.y);
  const std::int64_t first_row = std::int64_t{blockIdx.y} * kTile;
  const std::int64_t first_col = std::int64_t{blockIdx.x} * kTile;

  for (int i = y; i < kTile; i += kRows) {
    // x runs along a row of in.
    if (first_row + i < rows && first_col + x < cols) tile[i][x] = in[(first_row + i) * cols + first_col + x];
  }
  // Rows of the tile are read by other warps than wrote them. Threads beyond the edge of `in` wait here, too.
  __syncthreads();
  for (int i = y; i < kTile; i += kRows) {
    // x runs along a row of out, which is a column of the tile.
    if (first_row + i < cols && first_col + x < rows)
      out[(first_row + i) * rows + first_col + x] = tile[x][i];
  }
}

using TransposeKernel = void(const float*, float*, std::int64_t, std::int64_t);

void launch_transpose(TransposeKernel* kernel, kit::TensorView<const float> in, kit::TensorView<float> out) {
  KIT_CHECK(in.rank() == 2 && out.rank() == 2 && in.dim(0) == out.dim(1) && in.dim(1) == out.dim(0),
            "a transpose of {} into {}", in.shape().to_string(), out.shape().to_string());
  const std::int64_t rows = in.dim(0);
  const std::int64_t cols = in.dim(1);
  if (in.size() == 0) return;  // there is no launch of no thread blocks
  const dim3 grid(kit::ceil_div(cols, kTile), kit::ceil_div(rows, kTile));
  kit::launch(kernel, {grid, dim3(kTile, kRows)}, in.data(), out.data(), rows, cols);
}

}  // namespace

void transpose_naive_cuda(kit::TensorView<const float> in, kit::TensorView<float> out) {
  launch_transpose(transpose_naive_kernel, in, out);
}

void transpose_tiled_cuda(kit::TensorView<const float> in, kit::TensorView<float> out) {
  launch_transpose(transpose_tiled_kernel<kTile>, in, out);
}

void transpose_padded_cuda(kit::TensorView<const float> in, kit::TensorView<float> out) {
  launch_transpose(transpose_tiled_kernel<kTile + 1>, in, out);
}

}  // namespace lab01
