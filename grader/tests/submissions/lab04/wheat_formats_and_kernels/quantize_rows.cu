#include <cmath>
#include <cstdint>
#include <limits>

#include "kit/cuda/kernel.h"
#include "lab04/cuda_kernels.h"

namespace lab04 {

namespace {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffU;

// The scale of `length` values of a warp, in all lanes.
__device__ float scale_of(const float* x, int length) {
  float largest = 0.0F;
  for (int i = static_cast<int>(threadIdx.x); i < length; i += kWarp) largest = fmaxf(largest, fabsf(x[i]));
  // Of positive floats the larger one has the larger bits.
  const unsigned bits = __reduce_max_sync(kAllLanes, __float_as_uint(largest));
  const float scale = __uint_as_float(bits) / 127.0F;
  return scale < 1.17549435e-38F ? 1.0F : scale;
}

__device__ void quantize(const float* x, int length, std::int8_t* codes, float* scale_out) {
  const float scale = scale_of(x, length);
  for (int i = static_cast<int>(threadIdx.x); i < length; i += kWarp)
    codes[i] = static_cast<std::int8_t>(fminf(fmaxf(rintf(x[i] / scale), -127.0F), 127.0F));
  if (threadIdx.x == 0) *scale_out = scale;
}

// A warp has a row.
// PRECOND: a thread block of one warp for each row.
// Bytes: 8 dim and dim for a row. FLOPs: 2 dim.
// Yao et al. 2022, "ZeroQuant", section 3.2.
__global__ void quantize_rows_warp_kernel(const float* x, std::int8_t* q, float* scales, int dim) {
  const std::int64_t row = blockIdx.x;
  quantize(x + row * dim, dim, q + row * dim, scales + row);
}

// A warp has a head of a token: its keys, and then its values.
// PRECOND: a thread block of one warp for each head of each sequence.
// Bytes: 9 head_dim + 4, twice. FLOPs: 4 head_dim.
// Liu et al. 2024, "KIVI", section 3.
__global__ void append_kv_int8_warp_kernel(const float* k, const float* v, const std::int32_t* positions,
                                           std::int8_t* k_cache, float* k_scales, std::int8_t* v_cache,
                                           float* v_scales, std::int64_t max_len, int head_dim) {
  const std::int64_t seq = blockIdx.y;
  const std::int64_t from = (seq * gridDim.x + blockIdx.x) * head_dim;
  const std::int64_t row = (seq * max_len + positions[seq]) * gridDim.x + blockIdx.x;
  quantize(k + from, head_dim, k_cache + row * head_dim, k_scales + row);
  quantize(v + from, head_dim, v_cache + row * head_dim, v_scales + row);
}

}  // namespace

void quantize_rows_cuda(kit::TensorView<const float> x, kit::TensorView<std::int8_t> q,
                        kit::TensorView<float> scales) {
  KIT_CHECK(x.rank() == 2 && q.shape() == x.shape() && scales.shape() == kit::Shape{x.dim(0)} &&
                x.dim(1) % 4 == 0 && x.dim(1) > 0,
            "x {}, q {}, scales {}", x.shape().to_string(), q.shape().to_string(),
            scales.shape().to_string());
  if (x.dim(0) == 0) return;
  kit::launch(quantize_rows_warp_kernel, {static_cast<unsigned>(x.dim(0)), kWarp}, x.data(), q.data(),
              scales.data(), static_cast<int>(x.dim(1)));
}

void append_kv_int8_cuda(kit::TensorView<const float> k, kit::TensorView<const float> v,
                         kit::TensorView<const std::int32_t> positions, kit::TensorView<std::int8_t> k_cache,
                         kit::TensorView<float> k_scales, kit::TensorView<std::int8_t> v_cache,
                         kit::TensorView<float> v_scales) {
  KIT_CHECK(k.rank() == 3 && v.shape() == k.shape() && k_cache.rank() == 4, "k {}, v {}, k_cache {}",
            k.shape().to_string(), v.shape().to_string(), k_cache.shape().to_string());
  const kit::Shape cache{k.dim(0), k_cache.dim(1), k.dim(1), k.dim(2)};
  const kit::Shape scales{k.dim(0), k_cache.dim(1), k.dim(1)};
  const kit::Shape sequences{k.dim(0)};
  KIT_CHECK(k_cache.shape() == cache && v_cache.shape() == cache && k_scales.shape() == scales &&
                v_scales.shape() == scales && positions.shape() == sequences,
            "k {} does not fit caches {}, {}, scales {}, {}, positions {}", k.shape().to_string(),
            k_cache.shape().to_string(), v_cache.shape().to_string(), k_scales.shape().to_string(),
            v_scales.shape().to_string(), positions.shape().to_string());
  KIT_CHECK(k.dim(2) == 32 || k.dim(2) == 64 || k.dim(2) == 96 || k.dim(2) == 128, "head_dim is {}",
            k.dim(2));
  if (k.size() == 0) return;
  kit::launch(append_kv_int8_warp_kernel,
              {{static_cast<unsigned>(k.dim(1)), static_cast<unsigned>(k.dim(0))}, kWarp}, k.data(), v.data(),
              positions.data(), k_cache.data(), k_scales.data(), v_cache.data(), v_scales.data(),
              k_cache.dim(1), static_cast<int>(k.dim(2)));
}

}  // namespace lab04
