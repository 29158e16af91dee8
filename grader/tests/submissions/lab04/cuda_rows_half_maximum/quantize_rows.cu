#include <cfloat>
#include <cmath>
#include <cstdint>

#include "kit/cuda/kernel.h"
#include "lab04/cuda_kernels.h"

namespace lab04 {

namespace {

constexpr int kWarp = 32;
constexpr int kWarps = 8;  // of a thread block
constexpr int kThreads = kWarps * kWarp;
constexpr int kMaxHeadDim = 128;
constexpr unsigned kAllLanes = 0xffffffffU;

// The largest value of all lanes, in all lanes.
__device__ __forceinline__ float warp_max(float value) {
  for (int offset = kWarp / 4; offset > 0; offset /= 2)
    value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, offset));
  return value;
}

// No clamp: |x| / scale is at most 127 and a rounding, and 127 after __float2int_rn, which takes ties to
// even.
__device__ __forceinline__ signed char code_of(float x, float scale) {
  return static_cast<signed char>(__float2int_rn(x / scale));
}

// A thread block has a row; thread t has every 256th piece of 4 from t on, once for the maximum and once for
// the codes. By then the row is in the cache.
// PRECOND: n thread blocks; n_pieces = dim / 4; x is finite and aligned to 16 bytes, q to 4.
// Bytes: 5 dim + 4 for a row, and 4 dim from the cache. FLOPs: 2 dim.
// Yao et al. 2022, "ZeroQuant", section 3.2: dynamic quantization by token.
__global__ void __launch_bounds__(kThreads)
    quantize_rows_two_pass_kernel(const float4* x, char4* q, float* scales, int n_pieces) {
  __shared__ float maxima[kWarps];
  const int thread = static_cast<int>(threadIdx.x);
  const std::int64_t first = std::int64_t{blockIdx.x} * n_pieces;

  float largest = 0.0F;
  for (int i = thread; i < n_pieces; i += kThreads) {
    const float4 v = x[first + i];
    largest = fmaxf(largest, fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w))));
  }
  largest = warp_max(largest);
  if (thread % kWarp == 0) maxima[thread / kWarp] = largest;
  __syncthreads();
  for (const float of_warp : maxima) largest = fmaxf(largest, of_warp);

  float scale = largest / 127.0F;
  if (scale < FLT_MIN) scale = 1.0F;
  for (int i = thread; i < n_pieces; i += kThreads) {
    const float4 v = x[first + i];
    q[first + i] =
        make_char4(code_of(v.x, scale), code_of(v.y, scale), code_of(v.z, scale), code_of(v.w, scale));
  }
  if (thread == 0) scales[blockIdx.x] = scale;
}

struct Int8Cache {
  std::int8_t* codes;  // [n_seqs, max_len, n_kv_heads, head_dim]
  float* scales;       // [n_seqs, max_len, n_kv_heads]
};

// A warp has a head of a token, its keys (blockIdx.y = 0) or its values (1); lane l elements l, l + 32, ...
// PRECOND: 2 warps for each of n_heads = n_seqs * n_kv_heads; head_dim is 32, 64, 96 or 128; 0 <= position <
// max_len; k and v are finite.
// Bytes: 5 head_dim + 4 for keys and as many for values, in full sectors. FLOPs: 2 head_dim.
// Section 3 of Liu et al. 2024, "KIVI", with 8 bits and a scale for each token and head.
__global__ void __launch_bounds__(kThreads)
    append_kv_int8_kernel(const float* k, const float* v, const std::int32_t* positions, Int8Cache k_cache,
                          Int8Cache v_cache, std::int64_t max_len, std::int64_t n_heads, int n_kv_heads,
                          int head_dim) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const std::int64_t head = (std::int64_t{blockIdx.x} * kThreads + threadIdx.x) / kWarp;
  if (head >= n_heads) return;
  const float* const from = (blockIdx.y == 0 ? k : v) + head * head_dim;
  const Int8Cache to = blockIdx.y == 0 ? k_cache : v_cache;
  const std::int64_t seq = head / n_kv_heads;
  const std::int64_t row = (seq * max_len + positions[seq]) * n_kv_heads + head % n_kv_heads;

  float x[kMaxHeadDim / kWarp] = {};
  float largest = 0.0F;
#pragma unroll
  for (int i = 0; i < kMaxHeadDim / kWarp; ++i) {
    if (i * kWarp < head_dim) x[i] = from[i * kWarp + lane];
    largest = fmaxf(largest, fabsf(x[i]));
  }
  float scale = warp_max(largest) / 127.0F;
  if (scale < FLT_MIN) scale = 1.0F;
#pragma unroll
  for (int i = 0; i < kMaxHeadDim / kWarp; ++i) {
    if (i * kWarp < head_dim) to.codes[row * head_dim + i * kWarp + lane] = code_of(x[i], scale);
  }
  if (lane == 0) to.scales[row] = scale;
}

}  // namespace

void quantize_rows_cuda(kit::TensorView<const float> x, kit::TensorView<std::int8_t> q,
                        kit::TensorView<float> scales) {
  KIT_CHECK(x.rank() == 2 && q.shape() == x.shape() && scales.shape() == kit::Shape{x.dim(0)},
            "x {}, q {}, scales {}: want x and q [n, dim], scales [n]", x.shape().to_string(),
            q.shape().to_string(), scales.shape().to_string());
  KIT_CHECK(x.dim(1) > 0 && x.dim(1) % 4 == 0, "dim is {}, must be a multiple of 4", x.dim(1));
  if (x.dim(0) == 0) return;  // there is no launch of no thread blocks
  kit::launch(quantize_rows_two_pass_kernel, {static_cast<unsigned>(x.dim(0)), kThreads},
              reinterpret_cast<const float4*>(x.data()), reinterpret_cast<char4*>(q.data()), scales.data(),
              static_cast<int>(x.dim(1) / 4));
}

void append_kv_int8_cuda(kit::TensorView<const float> k, kit::TensorView<const float> v,
                         kit::TensorView<const std::int32_t> positions, kit::TensorView<std::int8_t> k_cache,
                         kit::TensorView<float> k_scales, kit::TensorView<std::int8_t> v_cache,
                         kit::TensorView<float> v_scales) {
  KIT_CHECK(k.rank() == 3 && v.shape() == k.shape() && positions.rank() == 1 && positions.dim(0) == k.dim(0),
            "k {}, v {}, positions {}: want k and v [n_seqs, n_kv_heads, head_dim], positions [n_seqs]",
            k.shape().to_string(), v.shape().to_string(), positions.shape().to_string());
  const std::int64_t max_len = k_cache.dim(1);
  const kit::Shape cache{k.dim(0), max_len, k.dim(1), k.dim(2)};
  const kit::Shape scales{k.dim(0), max_len, k.dim(1)};
  KIT_CHECK(k_cache.shape() == cache && v_cache.shape() == cache && k_scales.shape() == scales &&
                v_scales.shape() == scales,
            "k_cache {}, v_cache {}, k_scales {}, v_scales {} for k {}: want [n_seqs, max_len, n_kv_heads, "
            "head_dim], and scales without the last",
            k_cache.shape().to_string(), v_cache.shape().to_string(), k_scales.shape().to_string(),
            v_scales.shape().to_string(), k.shape().to_string());
  KIT_CHECK(k.dim(2) % kWarp == 0 && k.dim(2) >= kWarp && k.dim(2) <= kMaxHeadDim,
            "head_dim is {}, must be 32, 64, 96 or 128", k.dim(2));
  const std::int64_t n_heads = k.dim(0) * k.dim(1);
  if (n_heads == 0) return;
  kit::launch(append_kv_int8_kernel, {{kit::ceil_div(n_heads, kWarps), 2}, kThreads}, k.data(), v.data(),
              positions.data(), Int8Cache{k_cache.data(), k_scales.data()},
              Int8Cache{v_cache.data(), v_scales.data()}, max_len, n_heads, static_cast<int>(k.dim(1)),
              static_cast<int>(k.dim(2)));
}

}  // namespace lab04
