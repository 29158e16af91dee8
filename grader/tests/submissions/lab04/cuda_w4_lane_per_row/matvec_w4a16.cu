#include <cstdint>

#include "kit/cuda/kernel.h"
#include "lab04/cuda_kernels.h"

namespace lab04 {

namespace {

constexpr int kThreads = 128;       // of a thread block
constexpr int kPiece = 32;          // codes of a 16-byte load
constexpr int kQuads = kPiece / 4;  // float4s of a piece of x

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

// Adds the product of a piece of a row with the same piece of x.
__device__ __forceinline__ void add_piece(const uint4& codes, float scale, const float4* x, float& sum) {
  const unsigned words[4] = {codes.x, codes.y, codes.z, codes.w};
  float products = 0.0F;
  float sum_of_x = 0.0F;
#pragma unroll
  for (int w = 0; w < 4; ++w) {
    const float4 a = x[2 * w];
    const float4 b = x[2 * w + 1];
    sum_of_x += ((a.x + a.y) + (a.z + a.w)) + ((b.x + b.y) + (b.z + b.w));
    products = add_products(products, words[w], a, b);
  }
  sum += scale * (products - 136.0F * sum_of_x);
}

// A thread has a row, and runs along it.
// PRECOND: n_groups divides n_pieces; codes and x are aligned to 16 bytes.
// Bytes: in / 2 + 2 n_groups for a row, and 4 in of x. FLOPs: 2 in for a row.
// Frantar et al. 2024, "MARLIN", section 3.
__global__ void __launch_bounds__(kThreads)
    matvec_w4a16_rows_kernel(const uint4* codes, const __half* scales, const float4* x, float* y,
                             std::int64_t out, int n_pieces, int n_groups) {
  const std::int64_t row = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (row >= out) return;
  float sum = 0.0F;
  for (int piece = 0; piece < n_pieces; ++piece) {
    const uint4 piece_codes = codes[row * n_pieces + piece];
    const float scale = __half2float(scales[row * n_groups + piece / (n_pieces / n_groups)]);
    add_piece(piece_codes, scale, x + piece * kQuads, sum);
  }
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
  kit::launch(matvec_w4a16_rows_kernel, {kit::ceil_div(codes.dim(0), kThreads), kThreads},
              reinterpret_cast<const uint4*>(codes.data()), reinterpret_cast<const __half*>(scales.data()),
              reinterpret_cast<const float4*>(x.data()), y.data(), codes.dim(0),
              static_cast<int>(in / kPiece), static_cast<int>(n_groups));
}

}  // namespace lab04
