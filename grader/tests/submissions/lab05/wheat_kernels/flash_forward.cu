#include <cmath>
#include <cstdint>
#include <type_traits>

#include "kit/cuda/kernel.h"
#include "lab05/cuda_kernels.h"

// Task 6, another design: a thread has a query row to itself, and adds one key at a time.

namespace lab05 {

namespace {

constexpr int kBr = kFlashCudaBr;  // query rows, and threads, of a thread block
constexpr int kKeys = 32;          // of a tile: half of the contract's, which moves the same bytes

struct FlashShape {
  int q_len, kv_len, n_heads, n_kv_heads;
  bool causal;
};

template <int kHeadDim>
struct Tiles {
  static constexpr int kPitch = kHeadDim + 4;  // lanes read rows apart
  static constexpr int kBytes = 4 * (kBr * kPitch + 2 * kKeys * kHeadDim);
};

__device__ __forceinline__ float4 load_quad(const float* x) {
  return *reinterpret_cast<const float4*>(x);
}
__device__ __forceinline__ float from_bits(unsigned bits) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(bits & 0xffffU)));
}
__device__ __forceinline__ float4 load_quad(const __half* x) {
  const uint2 bits = *reinterpret_cast<const uint2*>(x);
  return make_float4(from_bits(bits.x), from_bits(bits.x >> 16), from_bits(bits.y), from_bits(bits.y >> 16));
}

template <int kHeadDim, class T>
__device__ __forceinline__ void load_rows(const T* x, std::int64_t stride, int n_rows, float* tile,
                                          int pitch) {
  for (int i = static_cast<int>(threadIdx.x); i < n_rows * (kHeadDim / 4); i += kBr) {
    const int row = i / (kHeadDim / 4);
    const int column = i % (kHeadDim / 4) * 4;
    *reinterpret_cast<float4*>(&tile[row * pitch + column]) = load_quad(x + row * stride + column);
  }
}

__device__ __forceinline__ void take_quad(const float* from, float* to) {
  const float4 quad = *reinterpret_cast<const float4*>(from);
  to[0] = quad.x, to[1] = quad.y, to[2] = quad.z, to[3] = quad.w;
}

// Thread r has row r of the thread block's, queries and sums in registers; tiles are read by broadcast.
// PRECOND: grid (ceil(q_len / kBr), n_heads); rows begin at multiples of 16 bytes.
// Bytes: q and out once, keys and values once a thread block. FLOPs: 4 head_dim for a query and a key.
// Milakov and Gimelshein 2018, "Online normalizer calculation for softmax", algorithm 3, with o beside l.
template <int kHeadDim, class T>
__global__ void __launch_bounds__(kBr)
    flash_attention_tiled_kernel(const T* q, const T* k, const T* v, float* out, float* log_sum_exp,
                                 FlashShape shape) {
  constexpr int kPitch = Tiles<kHeadDim>::kPitch;
  KIT_DYNAMIC_SHARED(float, rows);  // queries, later out
  float* const keys = rows + kBr * kPitch;
  float* const values = keys + kKeys * kHeadDim;
  const int thread = static_cast<int>(threadIdx.x);
  const int first_row = static_cast<int>(blockIdx.x) * kBr;
  const int n_rows = min(kBr, shape.q_len - first_row);
  const std::int64_t head = blockIdx.y;
  const std::int64_t kv_head = head / (shape.n_heads / shape.n_kv_heads);
  const std::int64_t q_stride = std::int64_t{shape.n_heads} * kHeadDim;
  const std::int64_t kv_stride = std::int64_t{shape.n_kv_heads} * kHeadDim;
  const int hidden = shape.causal ? shape.q_len - first_row - 1 : 0;  // keys that row 0 does not see
  const int n_keys = shape.causal ? shape.kv_len - hidden + n_rows - 1 : shape.kv_len;
  const int n_visible = shape.causal ? shape.kv_len - hidden + thread : shape.kv_len;

  load_rows<kHeadDim>(q + first_row * q_stride + head * kHeadDim, q_stride, n_rows, rows, kPitch);
  __syncthreads();
  float query[kHeadDim] = {};
  for (int d = 0; d < kHeadDim && thread < n_rows; d += 4) take_quad(&rows[thread * kPitch + d], query + d);
  float o[kHeadDim] = {};
  float m = -INFINITY;
  float l = 0.0F;
  for (int first_key = 0; first_key < n_keys; first_key += kKeys) {
    const int n_tile = min(kKeys, n_keys - first_key);
    const std::int64_t at = first_key * kv_stride + kv_head * kHeadDim;
    __syncthreads();
    load_rows<kHeadDim>(k + at, kv_stride, n_tile, keys, kHeadDim);
    load_rows<kHeadDim>(v + at, kv_stride, n_tile, values, kHeadDim);
    __syncthreads();
    for (int j = 0; j < min(n_tile, n_visible - first_key); ++j) {
      float score = 0.0F;
      for (int d = 0; d < kHeadDim; d += 4) {
        float key[4];
        take_quad(&keys[j * kHeadDim + d], key);
        for (int e = 0; e < 4; ++e) score += query[d + e] * key[e];
      }
      score /= sqrtf(static_cast<float>(kHeadDim));
      const float grown = fmaxf(m, score);
      const float rescale = expf(m - grown);
      const float weight = expf(score - grown);
      m = grown;
      l = l * rescale + weight;
      for (int d = 0; d < kHeadDim; d += 4) {
        float value[4];
        take_quad(&values[j * kHeadDim + d], value);
        for (int e = 0; e < 4; ++e) o[d + e] = o[d + e] * rescale + weight * value[e];
      }
    }
  }

  for (int d = 0; d < kHeadDim; d += 4) {
    const float inverse = l > 0.0F ? 1.0F / l : 0.0F;
    *reinterpret_cast<float4*>(&rows[thread * kPitch + d]) =
        make_float4(inverse * o[d], inverse * o[d + 1], inverse * o[d + 2], inverse * o[d + 3]);
  }
  if (thread < n_rows) log_sum_exp[(first_row + thread) * shape.n_heads + head] = m + logf(l);
  __syncthreads();
  for (int i = thread; i < n_rows * (kHeadDim / 4); i += kBr) {
    const int row = i / (kHeadDim / 4);
    const int column = i % (kHeadDim / 4) * 4;
    *reinterpret_cast<float4*>(&out[(first_row + row) * q_stride + head * kHeadDim + column]) =
        *reinterpret_cast<const float4*>(&rows[row * kPitch + column]);
  }
}

template <class T>
void launch_flash_attention(kit::TensorView<const T> q, kit::TensorView<const T> k,
                            kit::TensorView<const T> v, bool causal, kit::TensorView<float> out,
                            kit::TensorView<float> log_sum_exp) {
  KIT_CHECK(q.rank() == 3 && k.rank() == 3 && v.shape() == k.shape() && k.dim(2) == q.dim(2) &&
                out.shape() == q.shape() && log_sum_exp.shape() == kit::Shape({q.dim(0), q.dim(1)}),
            "q {}, k {}, v {}, out {}, log_sum_exp {}: want q and out [q_len, n_heads, head_dim], k and v "
            "[kv_len, n_kv_heads, head_dim], log_sum_exp [q_len, n_heads]",
            q.shape().to_string(), k.shape().to_string(), v.shape().to_string(), out.shape().to_string(),
            log_sum_exp.shape().to_string());
  const std::int64_t head_dim = q.dim(2);
  KIT_CHECK(head_dim == 32 || head_dim == 64 || head_dim == 128, "head_dim is {}, must be 32, 64 or 128",
            head_dim);
  KIT_CHECK(k.dim(1) > 0 && q.dim(1) % k.dim(1) == 0, "{} query heads for {} key/value heads", q.dim(1),
            k.dim(1));
  if (q.size() == 0) return;
  using Element = std::conditional_t<std::is_same_v<T, kit::Half>, __half, float>;
  const auto launch = [&](auto kernel, std::size_t n_bytes) {
    kit::launch(kernel, {{kit::ceil_div(q.dim(0), kBr), static_cast<unsigned>(q.dim(1))}, kBr, n_bytes},
                reinterpret_cast<const Element*>(q.data()), reinterpret_cast<const Element*>(k.data()),
                reinterpret_cast<const Element*>(v.data()), out.data(), log_sum_exp.data(),
                FlashShape{static_cast<int>(q.dim(0)), static_cast<int>(k.dim(0)), static_cast<int>(q.dim(1)),
                           static_cast<int>(k.dim(1)), causal});
  };
  if (head_dim == 32) launch(&flash_attention_tiled_kernel<32, Element>, Tiles<32>::kBytes);
  if (head_dim == 64) launch(&flash_attention_tiled_kernel<64, Element>, Tiles<64>::kBytes);
  if (head_dim == 128) launch(&flash_attention_tiled_kernel<128, Element>, Tiles<128>::kBytes);
}

}  // namespace

void flash_attention_cuda(kit::TensorView<const float> q, kit::TensorView<const float> k,
                          kit::TensorView<const float> v, bool causal, kit::TensorView<float> out,
                          kit::TensorView<float> log_sum_exp) {
  launch_flash_attention(q, k, v, causal, out, log_sum_exp);
}

void flash_attention_half_cuda(kit::TensorView<const kit::Half> q, kit::TensorView<const kit::Half> k,
                               kit::TensorView<const kit::Half> v, bool causal, kit::TensorView<float> out,
                               kit::TensorView<float> log_sum_exp) {
  launch_flash_attention(q, k, v, causal, out, log_sum_exp);
}

}  // namespace lab05
