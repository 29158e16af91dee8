#include <cstdint>

#include "kit/cuda/kernel.h"
#include "lab04/cuda_kernels.h"

namespace lab04 {

namespace {

constexpr int kWarp = 32;
constexpr int kThreads = 256;       // of a thread block
constexpr int kPiece = 32;          // codes of a 16-byte load
constexpr int kQuads = kPiece / 4;  // float4s of a piece
constexpr unsigned kAllLanes = 0xffffffffU;

// The sum of all lanes, in all lanes.
__device__ __forceinline__ float warp_sum(float value) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(kAllLanes, value, offset);
  return value;
}

// A thread has a piece of 32 weights.
// PRECOND: ceil(n_all / 256) thread blocks for n_all = out * n_pieces; codes and w are aligned to 16 bytes.
// Bytes: 16 and 128 for a piece, and the scale. FLOPs: 64 for a piece.
// Frantar et al. 2022, "GPTQ": the storage.
__global__ void __launch_bounds__(kThreads)
    dequantize_w4_kernel(const uint4* codes, const __half* scales, float4* w, std::int64_t n_all,
                         int n_pieces, int n_groups) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= n_all) return;
  const uint4 piece = codes[i];
  const unsigned words[4] = {piece.x, piece.y, piece.z, piece.w};
  const float scale = __half2float(scales[i / (n_pieces / n_groups)]);
  for (int quad = 0; quad < kQuads; ++quad) {
    float values[4];
    for (int k = 0; k < 4; ++k) {
      const unsigned code = words[quad / 2] >> 4 * (quad % 2 * 4 + k) & 0xfU;
      values[k] = scale * static_cast<float>(static_cast<int>(code ^ 8U) - 8);
    }
    w[i * kQuads + quad] = make_float4(values[0], values[1], values[2], values[3]);
  }
}

// A warp has a row, lane l every 32nd float4 from l on.
// PRECOND: ceil(out / 8) thread blocks of 8 warps; n_quads = in / 4.
// Bytes: 4 in for a row, and 4 in of x, from the cache. FLOPs: 2 in for a row.
// CUDA C++ Programming Guide, "Warp Shuffle Functions".
__global__ void __launch_bounds__(kThreads)
    matvec_rows_kernel(const float4* w, const float4* x, float* y, std::int64_t out, int n_quads) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const std::int64_t row = (std::int64_t{blockIdx.x} * kThreads + threadIdx.x) / kWarp;
  if (row >= out) return;
  float sum = 0.0F;
  for (int i = lane; i < n_quads; i += kWarp) {
    const float4 a = w[row * n_quads + i];
    const float4 b = x[i];
    sum += a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
  }
  sum = warp_sum(sum);
  if (lane == 0) y[row] = sum;
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
  const std::int64_t out = codes.dim(0);
  const auto n_pieces = static_cast<int>(in / kPiece);
  kit::DeviceBuffer<float> w(out * in);
  kit::launch(dequantize_w4_kernel, {kit::ceil_div(out * n_pieces, kThreads), kThreads},
              reinterpret_cast<const uint4*>(codes.data()), reinterpret_cast<const __half*>(scales.data()),
              reinterpret_cast<float4*>(w.data()), out * n_pieces, n_pieces, static_cast<int>(n_groups));
  kit::launch(matvec_rows_kernel, {kit::ceil_div(out * kWarp, kThreads), kThreads},
              reinterpret_cast<const float4*>(w.data()), reinterpret_cast<const float4*>(x.data()), y.data(),
              out, static_cast<int>(in / 4));
}

}  // namespace lab04
