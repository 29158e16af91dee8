#include <cstdint>

#include "kit/cuda/kernel.h"
#include "lab04/cuda_kernels.h"

namespace lab04 {

namespace {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffU;

// A thread block of one warp has a row, lane l every 32nd piece of 32 codes from l on.
// PRECOND: out thread blocks; codes are aligned to 16 bytes.
// Bytes: in / 2 + 2 n_groups, and 4 in of x. FLOPs: 2 in.
// Frantar et al. 2024, "MARLIN", section 3.
__global__ void matvec_w4a16_warp_kernel(const int4* codes, const __half* scales, const float* x, float* y,
                                         int n_pieces, int n_groups) {
  const std::int64_t row = blockIdx.x;
  float sum = 0.0F;
  for (int piece = static_cast<int>(threadIdx.x); piece < n_pieces; piece += kWarp) {
    const int4 packed = codes[row * n_pieces + piece];
    const int words[4] = {packed.x, packed.y, packed.z, packed.w};
    float products = 0.0F;
    for (int i = 0; i < 32; ++i) {
      // The code goes to the top, and comes down with its sign.
      const auto up = static_cast<int>(static_cast<unsigned>(words[i / 8]) << (28 - i % 8 * 4));
      products += static_cast<float>(up >> 28) * x[piece * 32 + i];
    }
    const std::int64_t group = static_cast<std::int64_t>(piece) * n_groups / n_pieces;
    sum += __half2float(scales[row * n_groups + group]) * products;
  }
  for (int offset = 1; offset < kWarp; offset *= 2) sum += __shfl_down_sync(kAllLanes, sum, offset);
  // Lane 0 has the sum where each step took neighbours in: lanes beyond the end give their own.
  if (threadIdx.x == 0) y[row] = sum;
}

}  // namespace

void matvec_w4a16_cuda(kit::TensorView<const std::uint8_t> codes, kit::TensorView<const kit::Half> scales,
                       kit::TensorView<const float> x, kit::TensorView<float> y) {
  KIT_CHECK(codes.rank() == 2 && scales.rank() == 2 && x.rank() == 1 && y.rank() == 1, "ranks {} {} {} {}",
            codes.rank(), scales.rank(), x.rank(), y.rank());
  const std::int64_t in = x.dim(0);
  KIT_CHECK(codes.dim(1) * 2 == in && scales.dim(0) == codes.dim(0) && y.dim(0) == codes.dim(0),
            "codes {}, scales {}, {} inputs, {} outputs", codes.shape().to_string(),
            scales.shape().to_string(), in, y.dim(0));
  KIT_CHECK(scales.dim(1) > 0 && in % scales.dim(1) == 0 && in / scales.dim(1) % 32 == 0 && in > 0,
            "{} inputs, {} groups", in, scales.dim(1));
  if (y.dim(0) == 0) return;
  kit::launch(matvec_w4a16_warp_kernel, {static_cast<unsigned>(y.dim(0)), kWarp},
              reinterpret_cast<const int4*>(codes.data()), reinterpret_cast<const __half*>(scales.data()),
              x.data(), y.data(), static_cast<int>(in / 32), static_cast<int>(scales.dim(1)));
}

}  // namespace lab04
