#include <cstdint>

#include "kit/cuda/kernel.h"
#include "lab04/cuda_kernels.h"
#include "lab04/quantized_products.h"

namespace lab04 {

namespace {

constexpr int kWarp = 32;
constexpr int kSide = 16;                // threads along each side of a tile
constexpr int kOutputs = 4;              // of a thread along each side
constexpr int kTile = kSide * kOutputs;  // outputs of a thread block along each side
constexpr int kThreads = kSide * kSide;
constexpr int kWords = 32;  // of 4 codes: what shared memory has of a row at a time

// Rows of codes. Threads read the same word of different rows: the one more word puts those in other banks.
using Tile = int[kTile][kWords + 1];

// Words first_word .. + 31 of 64 rows, a warp a row at a time.
__device__ __forceinline__ void load(const int* codes, std::int64_t first_row, int first_word, int n_words,
                                     Tile& tile) {
  const int word = static_cast<int>(threadIdx.x) % kWarp;
  for (int row = static_cast<int>(threadIdx.x) / kWarp; row < kTile; row += kThreads / kWarp)
    tile[row][word] = codes[(first_row + row) * n_words + first_word + word];
}

// A thread block has 64 x 64 outputs, thread (i, j) of 16 x 16 those of rows i, i + 16, ... and columns j,
// j + 16, ...: 8 words from shared memory for 16 __dp4a.
// PRECOND: (ceil(out / 64), ceil(n / 64)) thread blocks; n_words = in / 4; codes are aligned to 4 bytes.
// Bytes: 128 in for a thread block, and 4 an output. Integer operations: 2 n out in, 8 an instruction.
// CUDA C++ Programming Guide, "Shared Memory"; Harris 2016, "Mixed-Precision Programming with CUDA 8".
__global__ void __launch_bounds__(kThreads)
    linear_w8a8_dp4a_kernel(const int* xq, const float* x_scales, const int* wq, const float* w_scales,
                            float* y, std::int64_t n, std::int64_t out, int n_words) {
  __shared__ Tile x_tile;
  __shared__ Tile w_tile;
  const int i = static_cast<int>(threadIdx.x) / kSide;
  const int j = static_cast<int>(threadIdx.x) % kSide;
  const std::int64_t first_row = std::int64_t{blockIdx.y} * kTile;
  const std::int64_t first_column = std::int64_t{blockIdx.x} * kTile;

  int sums[kOutputs][kOutputs] = {};
  for (int first_word = 0; first_word < n_words; first_word += kWords) {
    load(xq, first_row, first_word, n_words, x_tile);
    load(wq, first_column, first_word, n_words, w_tile);
    __syncthreads();
    for (int word = 0; word < kWords; ++word) {
      int a[kOutputs];
      int b[kOutputs];
      for (int k = 0; k < kOutputs; ++k) a[k] = x_tile[i + k * kSide][word];
      for (int k = 0; k < kOutputs; ++k) b[k] = w_tile[j + k * kSide][word];
      for (int k = 0; k < kOutputs; ++k) {
        for (int l = 0; l < kOutputs; ++l) sums[k][l] = __dp4a(a[k], b[l], sums[k][l]);
      }
    }
    __syncthreads();  // nobody needs these tiles any more
  }

  for (int k = 0; k < kOutputs; ++k) {
    for (int l = 0; l < kOutputs; ++l) {
      const std::int64_t row = first_row + i + k * kSide;
      const std::int64_t column = first_column + j + l * kSide;
      if (row >= n || column >= out) continue;
      y[row * out + column] = x_scales[row] * w_scales[column] * static_cast<float>(sums[k][l]);
    }
  }
}

}  // namespace

void linear_w8a8_cuda(kit::TensorView<const std::int8_t> xq, kit::TensorView<const float> x_scales,
                      kit::TensorView<const std::int8_t> wq, kit::TensorView<const float> w_scales,
                      kit::TensorView<float> y) {
  const kit::Shape want_y{xq.dim(0), wq.dim(0)};
  KIT_CHECK(xq.rank() == 2 && wq.rank() == 2 && wq.dim(1) == xq.dim(1) &&
                x_scales.shape() == kit::Shape{xq.dim(0)} && w_scales.shape() == kit::Shape{wq.dim(0)} &&
                y.shape() == want_y,
            "xq {}, x_scales {}, wq {}, w_scales {}, y {}: want xq [n, in], x_scales [n], wq [out, in], "
            "w_scales [out], y [n, out]",
            xq.shape().to_string(), x_scales.shape().to_string(), wq.shape().to_string(),
            w_scales.shape().to_string(), y.shape().to_string());
  KIT_CHECK(xq.dim(1) > 0 && xq.dim(1) % 16 == 0 && xq.dim(1) <= kMaxInt8SumLength,
            "sums of {} products: must be a multiple of 16, and at most {} fit an int32", xq.dim(1),
            kMaxInt8SumLength);
  if (y.size() == 0) return;  // there is no launch of no thread blocks
  kit::launch(
      linear_w8a8_dp4a_kernel, {{kit::ceil_div(wq.dim(0), kTile), kit::ceil_div(xq.dim(0), kTile)}, kThreads},
      reinterpret_cast<const int*>(xq.data()), x_scales.data(), reinterpret_cast<const int*>(wq.data()),
      w_scales.data(), y.data(), xq.dim(0), wq.dim(0), static_cast<int>(xq.dim(1) / 4));
}

}  // namespace lab04
