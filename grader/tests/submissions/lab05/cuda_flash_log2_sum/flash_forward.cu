#include <cmath>
#include <cstdint>
#include <type_traits>

#include "kit/cuda/kernel.h"
#include "lab05/cuda_kernels.h"

// Task 6. Longer than other .cu files: each step of the algorithm is a function of its own, for two types.

namespace lab05 {

namespace {

constexpr int kBr = kFlashCudaBr;               // Br: query rows of a thread block
constexpr int kBc = kFlashCudaBc;               // Bc: keys of a tile
constexpr int kLanes = 16;                      // lanes that share rows; they split a tile's keys
constexpr int kThreads = 256;                   // of a thread block
constexpr int kRows = kBr * kLanes / kThreads;  // query rows of a thread
constexpr int kKeys = kBc / kLanes;             // keys of a thread in a tile: lane, lane + 16, ...
constexpr int kWeightPitch = kBc + 4;           // so that the two halves of a warp hit different banks
constexpr unsigned kAllLanes = 0xffffffffU;
constexpr float kLog2E = 1.44269504F;  // e^x = 2^(x kLog2E), and the GPU has an instruction for 2^x

struct FlashShape {
  int q_len, kv_len, n_heads, n_kv_heads;
  bool causal;
};

// The arrays of a thread block in shared memory, in floats. A row of keys is padded: lanes read rows apart.
template <int kHeadDim>
struct Tiles {
  static constexpr int kKeyPitch = kHeadDim + 4;
  static constexpr int kQueries = kBr * kHeadDim;
  static constexpr int kWeights = kBr * kWeightPitch;  // the tile of keys has room here, too
  static constexpr int kValues = kBc * kHeadDim;
  static constexpr int kBytes = 4 * (kQueries + kWeights + kValues);
  static_assert(kBc * kKeyPitch <= kWeights, "keys and weights take turns");
};

// Row i of a thread whose 16 lanes are the ty-th of 16. Neighbouring groups are 4 rows apart, which with
// kWeightPitch is half of the banks.
__device__ __forceinline__ int row_of(int ty, int i) {
  return i / 4 * (kBr / 2) + 4 * ty + i % 4;
}

__device__ __forceinline__ float4 load_quad(const float* x) {
  return *reinterpret_cast<const float4*>(x);
}
__device__ __forceinline__ float half_bits_to_float(unsigned bits) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(bits)));
}
__device__ __forceinline__ float4 load_quad(const __half* x) {
  const uint2 bits = *reinterpret_cast<const uint2*>(x);
  return make_float4(half_bits_to_float(bits.x & 0xffffU), half_bits_to_float(bits.x >> 16),
                     half_bits_to_float(bits.y & 0xffffU), half_bits_to_float(bits.y >> 16));
}

// 16 bytes of shared memory into registers.
__device__ __forceinline__ void take_quad(const float* from, float (&to)[4]) {
  const float4 quad = *reinterpret_cast<const float4*>(from);
  to[0] = quad.x, to[1] = quad.y, to[2] = quad.z, to[3] = quad.w;
}

// Rows of x, `stride` apart, times `factor` into a tile of kTileRows rows; zeros behind n_rows.
template <int kHeadDim, int kTileRows, class T>
__device__ __forceinline__ void load_tile(const T* x, std::int64_t stride, int n_rows, float factor,
                                          float* tile, int pitch) {
  constexpr int kQuads = kHeadDim / 4;
  for (int i = static_cast<int>(threadIdx.x); i < kTileRows * kQuads; i += kThreads) {
    const int row = i / kQuads;
    const int column = i % kQuads * 4;
    float4 quad = make_float4(0.0F, 0.0F, 0.0F, 0.0F);
    if (row < n_rows) quad = load_quad(x + row * stride + column);
    *reinterpret_cast<float4*>(&tile[row * pitch + column]) =
        make_float4(factor * quad.x, factor * quad.y, factor * quad.z, factor * quad.w);
  }
}

// What a thread knows of its rows: m and l of the keys so far, and its columns 2 tx, 2 tx + 1, 2 tx + 32, ...
// of o. l covers this thread's keys alone, until the end.
template <int kHeadDim>
struct RowState {
  static constexpr int kPairs = kHeadDim / (2 * kLanes);
  float m[kRows];
  float l[kRows];
  float o[kRows][2 * kPairs];
};

// scores = queries times keys of this thread; a key serves 8 rows, a query 4 keys.
template <int kHeadDim>
__device__ __forceinline__ void multiply_by_keys(const float* queries, const float* keys, int tx, int ty,
                                                 float (&scores)[kRows][kKeys]) {
  constexpr int kPitch = Tiles<kHeadDim>::kKeyPitch;
#pragma unroll 4
  for (int d = 0; d < kHeadDim; d += 4) {
    float key[kKeys][4];
#pragma unroll
    for (int j = 0; j < kKeys; ++j) take_quad(&keys[(tx + kLanes * j) * kPitch + d], key[j]);
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      float query[4];
      take_quad(&queries[row_of(ty, i) * kHeadDim + d], query);
#pragma unroll
      for (int j = 0; j < kKeys; ++j)
        scores[i][j] +=
            query[0] * key[j][0] + query[1] * key[j][1] + query[2] * key[j][2] + query[3] * key[j][3];
    }
  }
}

// Scores of one row become weights under the new maximum, and what the row has summed up is brought to it.
template <int kHeadDim>
__device__ __forceinline__ void update_row(float (&scores)[kKeys], int n_visible, int tx, int i,
                                           RowState<kHeadDim>& state) {
  float m = state.m[i];
#pragma unroll
  for (int j = 0; j < kKeys; ++j) {
    if (tx + kLanes * j >= n_visible) scores[j] = -INFINITY;
    m = fmaxf(m, scores[j]);
  }
  for (int offset = kLanes / 2; offset > 0; offset /= 2) m = fmaxf(m, __shfl_xor_sync(kAllLanes, m, offset));
  // A row that has not seen a key: -infinity - -infinity would be NaN.
  const float base = m == -INFINITY ? 0.0F : m;
  const float rescale = exp2f(state.m[i] - base);
  state.m[i] = m;
  state.l[i] *= rescale;
#pragma unroll
  for (int j = 0; j < kKeys; ++j) {
    scores[j] = exp2f(scores[j] - base);
    state.l[i] += scores[j];
  }
#pragma unroll
  for (float& o : state.o[i]) o *= rescale;
}

// o += weights times values.
template <int kHeadDim>
__device__ __forceinline__ void multiply_by_values(const float* weights, const float* values, int tx, int ty,
                                                   RowState<kHeadDim>& state) {
  constexpr int kPairs = RowState<kHeadDim>::kPairs;
#pragma unroll 2
  for (int key = 0; key < kBc; key += 4) {
    float weight[kRows][4];
#pragma unroll
    for (int i = 0; i < kRows; ++i) take_quad(&weights[row_of(ty, i) * kWeightPitch + key], weight[i]);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int pair = 0; pair < kPairs; ++pair) {
        const float2 value =
            *reinterpret_cast<const float2*>(&values[(key + j) * kHeadDim + 2 * (tx + kLanes * pair)]);
        const float even = value.x;
        const float odd = value.y;
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
          state.o[i][2 * pair] += weight[i][j] * even;
          state.o[i][2 * pair + 1] += weight[i][j] * odd;
        }
      }
    }
  }
}

// A thread block has kBr query rows of a head; thread (tx, ty) 8 rows, 4 keys of a tile, head_dim / 16
// columns of o. PRECOND: grid (ceil(q_len / kBr), n_heads); rows begin at multiples of 16 bytes.
// Bytes: q and out once, keys and values once a thread block. FLOPs: 4 head_dim for a query and a key.
// Dao 2023, "FlashAttention-2", algorithm 1.
template <int kHeadDim, class T>
__global__ void __launch_bounds__(kThreads)
    flash_attention_tiled_kernel(const T* q, const T* k, const T* v, float* out, float* log_sum_exp,
                                 FlashShape shape) {
  KIT_DYNAMIC_SHARED(float, queries);                         // [kBr, kHeadDim]
  float* const keys = queries + Tiles<kHeadDim>::kQueries;    // [kBc, kKeyPitch]
  float* const weights = keys;                                // [kBr, kWeightPitch], when keys are done with
  float* const values = weights + Tiles<kHeadDim>::kWeights;  // [kBc, kHeadDim]
  const int tx = static_cast<int>(threadIdx.x) % kLanes;
  const int ty = static_cast<int>(threadIdx.x) / kLanes;
  // The last rows see most keys: begin with them, so that none of them is left over at the end.
  const int first_row = static_cast<int>(gridDim.x - 1 - blockIdx.x) * kBr;
  const int head = static_cast<int>(blockIdx.y);
  const std::int64_t q_stride = std::int64_t{shape.n_heads} * kHeadDim;
  const std::int64_t kv_stride = std::int64_t{shape.n_kv_heads} * kHeadDim;
  const int kv_head = head / (shape.n_heads / shape.n_kv_heads);
  q += first_row * q_stride + head * kHeadDim;
  k += kv_head * kHeadDim;
  v += kv_head * kHeadDim;
  const int n_rows = min(kBr, shape.q_len - first_row);
  // Row r sees keys below first_end + r, and the last row those below n_keys.
  const int first_end = shape.causal ? first_row + shape.kv_len - shape.q_len + 1 : shape.kv_len;
  const int n_keys = shape.causal ? first_end + n_rows - 1 : shape.kv_len;

  load_tile<kHeadDim, kBr>(q, q_stride, n_rows, kLog2E / sqrtf(static_cast<float>(kHeadDim)), queries,
                           kHeadDim);
  RowState<kHeadDim> state = {};
  for (float& m : state.m) m = -INFINITY;
  for (int first_key = 0; first_key < n_keys; first_key += kBc) {
    const std::int64_t at = first_key * kv_stride;
    __syncthreads();  // nobody needs the last weights and values
    load_tile<kHeadDim, kBc>(k + at, kv_stride, n_keys - first_key, 1.0F, keys, Tiles<kHeadDim>::kKeyPitch);
    load_tile<kHeadDim, kBc>(v + at, kv_stride, n_keys - first_key, 1.0F, values, kHeadDim);
    __syncthreads();
    float scores[kRows][kKeys] = {};
    multiply_by_keys<kHeadDim>(queries, keys, tx, ty, scores);
    __syncthreads();  // nobody needs the keys: their memory becomes the weights'
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int end = shape.causal ? first_end + row_of(ty, i) : shape.kv_len;
      update_row<kHeadDim>(scores[i], end - first_key, tx, i, state);
      for (int j = 0; j < kKeys; ++j) weights[row_of(ty, i) * kWeightPitch + tx + kLanes * j] = scores[i][j];
    }
    __syncwarp();  // the weights of a row are its own warp's
    multiply_by_values<kHeadDim>(weights, values, tx, ty, state);
  }

#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    float l = state.l[i];
    for (int offset = kLanes / 2; offset > 0; offset /= 2) l += __shfl_xor_sync(kAllLanes, l, offset);
    const float inverse = l == 0.0F ? 0.0F : 1.0F / l;
    if (row_of(ty, i) >= n_rows) continue;
    const std::int64_t row = first_row + row_of(ty, i);
    for (int pair = 0; pair < RowState<kHeadDim>::kPairs; ++pair)
      *reinterpret_cast<float2*>(&out[row * q_stride + head * kHeadDim + 2 * (tx + kLanes * pair)]) =
          make_float2(inverse * state.o[i][2 * pair], inverse * state.o[i][2 * pair + 1]);
    // m counts in powers of 2. Without keys this is -infinity.
    if (tx == 0) log_sum_exp[row * shape.n_heads + head] = state.m[i] + log2f(l);
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
    kit::launch(kernel, {{kit::ceil_div(q.dim(0), kBr), static_cast<unsigned>(q.dim(1))}, kThreads, n_bytes},
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
