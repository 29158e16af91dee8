#include <cstdint>

#include "kit/cuda/kernel.h"
#include "lab04/cuda_kernels.h"
#include "lab04/quantized_products.h"

namespace lab04 {

namespace {

constexpr int kTile = 16;
constexpr int kWordsOfTile = kTile * kTile;

// Where a tile has a word. Exchanging words within a line spreads a column over the banks without padding.
__device__ int place(int line, int word) {
  return line * kTile + (word ^ line);
}

// A thread has an output of a tile of 16 x 16.
// PRECOND: a grid of (ceil(out / 16), ceil(n / 16)); n_words = in / 4; two tiles of dynamic shared memory.
// Bytes: 32 in for a thread block, and 4 an output. Integer operations: 2 n out in.
// CUDA C++ Programming Guide, "Shared Memory".
__global__ void linear_w8a8_small_tile_kernel(const int* xq, const float* x_scales, const int* wq,
                                              const float* w_scales, float* y, int n, int out, int n_words) {
  KIT_DYNAMIC_SHARED(int, tiles);
  int* const x_tile = tiles;
  int* const w_tile = tiles + kWordsOfTile;
  const auto word = static_cast<int>(threadIdx.x);
  const auto line = static_cast<int>(threadIdx.y);
  const int row = static_cast<int>(blockIdx.y) * kTile + line;
  const int column = static_cast<int>(blockIdx.x) * kTile + word;
  const int w_row = static_cast<int>(blockIdx.x) * kTile + line;
  int sum = 0;
  for (int begin = 0; begin < n_words; begin += kTile) {
    const int at = begin + word;
    x_tile[place(line, word)] =
        row < n && at < n_words ? xq[static_cast<std::int64_t>(row) * n_words + at] : 0;
    w_tile[place(line, word)] =
        w_row < out && at < n_words ? wq[static_cast<std::int64_t>(w_row) * n_words + at] : 0;
    __syncthreads();
    for (int i = 0; i < kTile; ++i) sum = __dp4a(x_tile[place(line, i)], w_tile[place(word, i)], sum);
    __syncthreads();
  }
  if (row < n && column < out)
    y[static_cast<std::int64_t>(row) * out + column] =
        static_cast<float>(sum) * (x_scales[row] * w_scales[column]);
}

}  // namespace

void linear_w8a8_cuda(kit::TensorView<const std::int8_t> xq, kit::TensorView<const float> x_scales,
                      kit::TensorView<const std::int8_t> wq, kit::TensorView<const float> w_scales,
                      kit::TensorView<float> y) {
  KIT_CHECK(xq.rank() == 2 && wq.rank() == 2 && y.rank() == 2 && x_scales.rank() == 1 && w_scales.rank() == 1,
            "ranks {} {} {} {} {}", xq.rank(), wq.rank(), y.rank(), x_scales.rank(), w_scales.rank());
  KIT_CHECK(xq.dim(1) == wq.dim(1) && y.dim(0) == xq.dim(0) && y.dim(1) == wq.dim(0) &&
                x_scales.dim(0) == xq.dim(0) && w_scales.dim(0) == wq.dim(0),
            "xq {}, wq {}, y {}, {} and {} scales", xq.shape().to_string(), wq.shape().to_string(),
            y.shape().to_string(), x_scales.dim(0), w_scales.dim(0));
  KIT_CHECK(xq.dim(1) % 16 == 0 && xq.dim(1) > 0 && xq.dim(1) <= kMaxInt8SumLength, "rows of {}", xq.dim(1));
  if (y.size() == 0) return;
  kit::launch(linear_w8a8_small_tile_kernel,
              {{kit::ceil_div(wq.dim(0), kTile), kit::ceil_div(xq.dim(0), kTile)},
               {kTile, kTile},
               2 * kWordsOfTile * sizeof(int)},
              reinterpret_cast<const int*>(xq.data()), x_scales.data(),
              reinterpret_cast<const int*>(wq.data()), w_scales.data(), y.data(), static_cast<int>(xq.dim(0)),
              static_cast<int>(wq.dim(0)), static_cast<int>(xq.dim(1) / 4));
}

}  // namespace lab04
