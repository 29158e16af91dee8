#include <cstdint>

#include "kit/cuda/kernel.h"
#include "lab04/cuda_kernels.h"

namespace lab04 {

namespace {

constexpr int kWarp = 32;
constexpr int kRows = 8;                               // of a warp: what it reads of x serves all of them
constexpr int kRowWarps = 2;                           // warps of a thread block with rows of their own
constexpr int kSplits = 4;                             // warps that share the same rows
constexpr int kBlockRows = kRows * kRowWarps;          // of a thread block
constexpr int kThreads = kRowWarps * kSplits * kWarp;  // of a thread block
constexpr int kPiece = 32;                             // codes of a 16-byte load
constexpr int kTilePieces = kSplits * kWarp;           // of x in shared memory at a time
constexpr int kQuads = kPiece / 4;                     // float4s of a piece of x
constexpr int kPitch = kQuads + 1;  // lanes read a piece apart; the one more float4 gives them other banks
constexpr unsigned kAllLanes = 0xffffffffU;

// The sum of all lanes, in all lanes.
__device__ __forceinline__ float warp_sum(float value) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(kAllLanes, value, offset);
  return value;
}

// 128 + byte i as a float, in one instruction; a conversion is slower. Below the byte 0x43 of a float's sign
// and exponent, the next one counts ones.
__device__ __forceinline__ float byte_plus_128(unsigned bytes, unsigned i) {
  return __uint_as_float(__byte_perm(bytes, 0x43000000U, 0x7044U | i << 8));
}

// sum + (136 + code) x for the 8 codes of a word: flipped sign bits make a code c the number c + 8.
__device__ __forceinline__ float add_products(float sum, unsigned word, const float4& a, const float4& b) {
  const unsigned even = (word ^ 0x88888888U) & 0x0f0f0f0fU;      // codes 0, 2, 4, 6, a byte each
  const unsigned odd = (word ^ 0x88888888U) >> 4 & 0x0f0f0f0fU;  // codes 1, 3, 5, 7
  return sum + byte_plus_128(even, 0) * a.x + byte_plus_128(odd, 0) * a.y + byte_plus_128(even, 1) * a.z +
         byte_plus_128(odd, 1) * a.w + byte_plus_128(even, 2) * b.x + byte_plus_128(odd, 2) * b.y +
         byte_plus_128(even, 3) * b.z + byte_plus_128(odd, 3) * b.w;
}

// Adds the product of a piece of each row with the same piece of x.
__device__ __forceinline__ void add_piece(const uint4 (&codes)[kRows], const float (&scales)[kRows],
                                          const float4* x, float (&sums)[kRows]) {
  float products[kRows] = {};
  float sum_of_x = 0.0F;
#pragma unroll
  for (int w = 0; w < 4; ++w) {
    const float4 a = x[2 * w];
    const float4 b = x[2 * w + 1];
    sum_of_x += ((a.x + a.y) + (a.z + a.w)) + ((b.x + b.y) + (b.z + b.w));
    for (int r = 0; r < kRows; ++r) {
      const unsigned words[4] = {codes[r].x, codes[r].y, codes[r].z, codes[r].w};
      products[r] = add_products(products[r], words[w], a, b);
    }
  }
  for (int r = 0; r < kRows; ++r) sums[r] += scales[r] * (products[r] - 136.0F * sum_of_x);
}

// A warp has 8 rows and a quarter of every 4096 inputs, lane l the l-th piece of it: 16 bytes of each row.
// PRECOND: ceil(out / 16) thread blocks; n_groups divides n_pieces; codes and x are aligned to 16 bytes.
// Bytes: in / 2 + 2 n_groups for a row, and 4 in of x for 16 rows, from the cache. FLOPs: 2 in for a row.
// Frantar et al. 2024, "MARLIN", section 3; codes as bytes of floats: Kim et al. 2022, "Who Says Elephants
// Can't Run".
__global__ void __launch_bounds__(kThreads)
    matvec_w4a16_split_kernel(const uint4* codes, const __half* scales, const float4* x, float* y,
                              std::int64_t out, int n_pieces, int n_groups) {
  __shared__ float4 x_tile[kTilePieces * kPitch];
  __shared__ float partial[kSplits][kBlockRows];
  const int thread = static_cast<int>(threadIdx.x);
  const int warp = thread / kWarp;
  const int split = warp % kSplits;
  const int row_in_block = warp / kSplits * kRows;
  const std::int64_t first_row = std::int64_t{blockIdx.x} * kBlockRows + row_in_block;
  const auto n_rows = static_cast<int>(min(std::int64_t{kRows}, out - first_row));
  const int piece_in_tile = split * kWarp + thread % kWarp;
  codes += first_row * n_pieces;
  scales += first_row * n_groups;

  float sums[kRows] = {};
  for (int tile = 0; tile < n_pieces; tile += kTilePieces) {
    // Asked for before the barriers: codes travel while x is put in place.
    const int piece = tile + piece_in_tile;
    const int group = piece / (n_pieces / n_groups);
    uint4 row_codes[kRows] = {};
    float row_scales[kRows] = {};
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (r >= n_rows || piece >= n_pieces) continue;
      row_codes[r] = codes[r * n_pieces + piece];
      row_scales[r] = __half2float(scales[r * n_groups + group]);
    }
    __syncthreads();  // nobody needs the last tile of x
    for (int i = thread; i < kTilePieces * kQuads && tile * kQuads + i < n_pieces * kQuads; i += kThreads)
      x_tile[i / kQuads * kPitch + i % kQuads] = x[tile * kQuads + i];
    __syncthreads();
    if (piece < n_pieces) add_piece(row_codes, row_scales, &x_tile[piece_in_tile * kPitch], sums);
  }

  for (int r = 0; r < kRows; ++r) {
    const float sum = warp_sum(sums[r]);
    if (thread % kWarp == 0) partial[split][row_in_block + r] = sum;
  }
  __syncthreads();
  const std::int64_t row = std::int64_t{blockIdx.x} * kBlockRows + thread;
  if (thread >= kBlockRows || row >= out) return;
  float sum = 0.0F;
  for (const auto& of_split : partial) sum += of_split[thread];
  y[row] = sum;
}

}  // namespace

void matvec_w4a16_cuda(kit::TensorView<const std::uint8_t> codes, kit::TensorView<const kit::Half> scales,
                       kit::TensorView<const float> x, kit::TensorView<float> y) {
  KIT_CHECK(
      codes.rank() == 2 && scales.rank() == 2 && scales.dim(0) == codes.dim(0) &&
          x.shape() == kit::Shape{2 * codes.dim(1)} && y.shape() == kit::Shape{codes.dim(0)},
      "codes {}, scales {}, x {}, y {}: want codes [out, in / 2], scales [out, n_groups], x [in], y [out]",
      codes.shape().to_string(), scales.shape().to_string(), x.shape().to_string(), y.shape().to_string());
  const std::int64_t in = x.dim(0);
  const std::int64_t n_groups = scales.dim(1);
  KIT_CHECK(in > 0 && n_groups > 0 && in % (n_groups * kPiece) == 0,
            "{} inputs in {} groups: the size of a group must be a multiple of {}", in, n_groups, kPiece);
  if (codes.dim(0) == 0) return;  // there is no launch of no thread blocks
  kit::launch(matvec_w4a16_split_kernel, {kit::ceil_div(codes.dim(0), kBlockRows), kThreads},
              reinterpret_cast<const uint4*>(codes.data()), reinterpret_cast<const __half*>(scales.data()),
              reinterpret_cast<const float4*>(x.data()), y.data(), codes.dim(0),
              static_cast<int>(in / kPiece), static_cast<int>(n_groups));
}

}  // namespace lab04
