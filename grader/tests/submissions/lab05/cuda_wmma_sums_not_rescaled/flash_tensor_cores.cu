#include <cmath>
#include <cstdint>

#include "kit/cuda/kernel.h"
#include "kit/cuda/wmma.h"
#include "lab05/cuda_kernels.h"

// Task 8.

namespace lab05 {

namespace {

namespace wmma = nvcuda::wmma;

constexpr int kBr = kFlashCudaBr;  // Br: query rows of a thread block
constexpr int kBc = kFlashCudaBc;  // Bc: keys of a tile
constexpr int kWarp = 32;
constexpr int kSide = 16;                      // of a matrix of the tensor cores; query rows of a warp
constexpr int kThreads = kBr / kSide * kWarp;  // of a thread block
constexpr int kScorePitch = kBc + 4;           // floats
constexpr int kWeightPitch = 2 * kScorePitch;  // 16-bit numbers: a row of weights lies in that of its scores
constexpr int kRowKeys = kBc / 2;              // keys of a lane: two lanes have a row
constexpr unsigned kAllLanes = 0xffffffffU;
constexpr float kLog2E = 1.44269504F;
constexpr float kLn2 = 0.69314718F;

using RowMajorA = wmma::fragment<wmma::matrix_a, kSide, kSide, kSide, __half, wmma::row_major>;
using RowMajorB = wmma::fragment<wmma::matrix_b, kSide, kSide, kSide, __half, wmma::row_major>;
using ColumnMajorB = wmma::fragment<wmma::matrix_b, kSide, kSide, kSide, __half, wmma::col_major>;
using Accumulator = wmma::fragment<wmma::accumulator, kSide, kSide, kSide, float>;

struct FlashShape {
  int q_len, kv_len, n_heads, n_kv_heads;
  bool causal;
};

// The arrays of a thread block in shared memory. Rows begin at multiples of 16 bytes, tiles of 16 rows at
// multiples of 32, and the padding spreads the rows of a matrix over the banks.
template <int kHeadDim>
struct Arrays {
  static constexpr int kSumPitch = kHeadDim + 4;   // floats
  static constexpr int kHalfPitch = kHeadDim + 8;  // 16-bit numbers, of queries, keys and values
  static constexpr int kSums = kBr * kSumPitch;    // floats; at first the queries lie here
  static constexpr int kScores = kBr * kScorePitch;
  static constexpr int kTile = kBc * kHalfPitch;  // 16-bit numbers
  static constexpr int kBytes = 4 * (kSums + kScores) + 2 * 2 * kTile;
  static_assert(2 * kBr * kHalfPitch <= 4 * kSums, "queries have room where the sums will be");
};

// Rows of x, `stride` apart, into a tile of kTileRows rows, 16 bytes a lane; zeros behind n_rows.
template <int kHeadDim, int kTileRows>
__device__ __forceinline__ void load_tile(const __half* x, std::int64_t stride, int n_rows, __half* tile) {
  constexpr int kPieces = kHeadDim / 8;
  for (int i = static_cast<int>(threadIdx.x); i < kTileRows * kPieces; i += kThreads) {
    const int row = i / kPieces;
    const int column = i % kPieces * 8;
    uint4 piece = make_uint4(0U, 0U, 0U, 0U);
    if (row < n_rows) piece = *reinterpret_cast<const uint4*>(x + row * stride + column);
    *reinterpret_cast<uint4*>(&tile[row * Arrays<kHeadDim>::kHalfPitch + column]) = piece;
  }
}

// scores = queries times keys, 16 rows of the warp.
template <int kHeadDim>
__device__ __forceinline__ void multiply_by_keys(const RowMajorA (&queries)[kHeadDim / kSide],
                                                 const __half* keys, float* scores) {
  constexpr int kPitch = Arrays<kHeadDim>::kHalfPitch;
  for (int key = 0; key < kBc; key += kSide) {
    Accumulator sum;
    wmma::fill_fragment(sum, 0.0F);
#pragma unroll
    for (int d = 0; d < kHeadDim / kSide; ++d) {
      ColumnMajorB b;  // a row of keys is a column of the factor
      wmma::load_matrix_sync(b, &keys[key * kPitch + d * kSide], kPitch);
      wmma::mma_sync(sum, queries[d], b, sum);
    }
    wmma::store_matrix_sync(&scores[key], sum, kScorePitch, wmma::mem_row_major);
  }
}

// sums += weights times values. An accumulator's layout is unknown, so rows cannot be rescaled in it: sums
// live in shared memory between tiles.
template <int kHeadDim>
__device__ __forceinline__ void multiply_by_values(const __half* weights, const __half* values, float* sums) {
  constexpr int kPitch = Arrays<kHeadDim>::kHalfPitch;
  RowMajorA a[kBc / kSide];
#pragma unroll
  for (int key = 0; key < kBc / kSide; ++key)
    wmma::load_matrix_sync(a[key], &weights[key * kSide], kWeightPitch);
  for (int column = 0; column < kHeadDim; column += kSide) {
    Accumulator sum;
    wmma::load_matrix_sync(sum, &sums[column], Arrays<kHeadDim>::kSumPitch, wmma::mem_row_major);
#pragma unroll
    for (int key = 0; key < kBc / kSide; ++key) {
      RowMajorB b;
      wmma::load_matrix_sync(b, &values[key * kSide * kPitch + column], kPitch);
      wmma::mma_sync(sum, a[key], b, sum);
    }
    wmma::store_matrix_sync(&sums[column], sum, Arrays<kHeadDim>::kSumPitch, wmma::mem_row_major);
  }
}

// A lane's half of a row: scores become weights under the new maximum, and m, l and the sums are brought to
// it. n_visible counts from the lane's first key.
template <int kHeadDim>
__device__ __forceinline__ void update_row(const float* scores, __half* weights, float* sums, int n_visible,
                                           float& m, float& l) {
  const float scale = kLog2E / sqrtf(static_cast<float>(kHeadDim));
  float row[kRowKeys];
  const float m_before = m;
#pragma unroll
  for (int j = 0; j < kRowKeys; ++j) {
    row[j] = j < n_visible ? scale * scores[j] : -INFINITY;
    m = fmaxf(m, row[j]);
  }
  m = fmaxf(m, __shfl_xor_sync(kAllLanes, m, 1));
  // A row that has not seen a key: -infinity - -infinity would be NaN.
  const float base = m == -INFINITY ? 0.0F : m;
  const float rescale = exp2f(m_before - base);
  l *= rescale;
  __syncwarp();  // all scores are read: weights take their place
#pragma unroll
  for (int j = 0; j < kRowKeys; j += 2) {
    const float even = exp2f(row[j] - base);
    const float odd = exp2f(row[j + 1] - base);
    l += even + odd;
    *reinterpret_cast<__half2*>(&weights[j]) = __floats2half2_rn(even, odd);
  }
  (void)sums;
  __syncwarp();
}

// A thread block has kBr query rows of a head, a warp 16 of them, two lanes a row between the products.
// PRECOND: grid (ceil(q_len / kBr), n_heads); rows begin at multiples of 16 bytes.
// Bytes: q and out once, keys and values once a thread block. FLOPs: 4 head_dim for a query and a key.
// Dao 2023, "FlashAttention-2", algorithm 1; CUDA C++ Programming Guide, "Warp matrix functions".
// Longer than others: three stages of the same shared memory, best seen together.
template <int kHeadDim>
__global__ void __launch_bounds__(kThreads)
    flash_attention_wmma_kernel(const __half* q, const __half* k, const __half* v, float* out,
                                float* log_sum_exp, FlashShape shape) {
  using Shared = Arrays<kHeadDim>;
  KIT_DYNAMIC_SHARED(float, block_sums);
  const int warp_row = static_cast<int>(threadIdx.x) / kWarp * kSide;
  float* const sums = block_sums + warp_row * Shared::kSumPitch;              // of the warp's rows
  float* const scores = block_sums + Shared::kSums + warp_row * kScorePitch;  // of the warp's rows
  __half* const weights = reinterpret_cast<__half*>(scores);                  // [16, kWeightPitch]
  __half* const keys = reinterpret_cast<__half*>(block_sums + Shared::kSums + Shared::kScores);
  __half* const values = keys + Shared::kTile;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int first_row = static_cast<int>(gridDim.x - 1 - blockIdx.x) * kBr;  // most keys first
  const int head = static_cast<int>(blockIdx.y);
  const std::int64_t q_stride = std::int64_t{shape.n_heads} * kHeadDim;
  const std::int64_t kv_stride = std::int64_t{shape.n_kv_heads} * kHeadDim;
  const int kv_offset = head / (shape.n_heads / shape.n_kv_heads) * kHeadDim;
  const int n_rows = min(kBr, shape.q_len - first_row);
  // Row r sees keys below first_end + r, and the last row those below n_keys.
  const int first_end = shape.causal ? first_row + shape.kv_len - shape.q_len + 1 : shape.kv_len;
  const int n_keys = shape.causal ? first_end + n_rows - 1 : shape.kv_len;
  const int row = warp_row + lane / 2;
  const int end = shape.causal ? first_end + row : shape.kv_len;
  const int row_key = lane % 2 * kRowKeys;  // the lane's first key of a tile

  auto* const staged = reinterpret_cast<__half*>(block_sums);  // [kBr, kHalfPitch]
  load_tile<kHeadDim, kBr>(q + first_row * q_stride + head * kHeadDim, q_stride, n_rows, staged);
  __syncthreads();
  RowMajorA queries[kHeadDim / kSide];
#pragma unroll
  for (int d = 0; d < kHeadDim / kSide; ++d)
    wmma::load_matrix_sync(queries[d], &staged[warp_row * Shared::kHalfPitch + d * kSide],
                           Shared::kHalfPitch);
  __syncthreads();  // queries are in registers: the sums take their place
  float* const row_sums = sums + lane / 2 * Shared::kSumPitch + lane % 2 * (kHeadDim / 2);
  for (int d = 0; d < kHeadDim / 2; ++d) row_sums[d] = 0.0F;
  float m = -INFINITY;
  float l = 0.0F;
  for (int first_key = 0; first_key < n_keys; first_key += kBc) {
    const std::int64_t at = first_key * kv_stride + kv_offset;
    __syncthreads();  // nobody needs the last keys and values
    load_tile<kHeadDim, kBc>(k + at, kv_stride, n_keys - first_key, keys);
    load_tile<kHeadDim, kBc>(v + at, kv_stride, n_keys - first_key, values);
    __syncthreads();
    multiply_by_keys<kHeadDim>(queries, keys, scores);
    __syncwarp();
    update_row<kHeadDim>(scores + lane / 2 * kScorePitch + row_key,
                         weights + lane / 2 * kWeightPitch + row_key, row_sums, end - first_key - row_key, m,
                         l);
    multiply_by_values<kHeadDim>(weights, values, sums);
    __syncwarp();
  }

  l += __shfl_xor_sync(kAllLanes, l, 1);
  const float inverse = l == 0.0F ? 0.0F : 1.0F / l;
  if (lane % 2 == 0 && row < n_rows)
    log_sum_exp[std::int64_t{first_row + row} * shape.n_heads + head] = kLn2 * (m + log2f(l));
  __syncwarp();
  for (int i = lane; i < kSide * kHeadDim / 4; i += kWarp) {
    const int out_row = i / (kHeadDim / 4);
    const int column = i % (kHeadDim / 4) * 4;
    const float factor = __shfl_sync(kAllLanes, inverse, 2 * out_row);
    const float4 sum = *reinterpret_cast<const float4*>(&sums[out_row * Shared::kSumPitch + column]);
    if (warp_row + out_row >= n_rows) continue;
    *reinterpret_cast<float4*>(&out[(first_row + warp_row + out_row) * q_stride + head * kHeadDim + column]) =
        make_float4(factor * sum.x, factor * sum.y, factor * sum.z, factor * sum.w);
  }
}

}  // namespace

void flash_attention_tensor_cores_cuda(kit::TensorView<const kit::Half> q, kit::TensorView<const kit::Half> k,
                                       kit::TensorView<const kit::Half> v, bool causal,
                                       kit::TensorView<float> out, kit::TensorView<float> log_sum_exp) {
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
  const auto launch = [&](auto kernel, std::size_t n_bytes) {
    kit::launch(kernel, {{kit::ceil_div(q.dim(0), kBr), static_cast<unsigned>(q.dim(1))}, kThreads, n_bytes},
                reinterpret_cast<const __half*>(q.data()), reinterpret_cast<const __half*>(k.data()),
                reinterpret_cast<const __half*>(v.data()), out.data(), log_sum_exp.data(),
                FlashShape{static_cast<int>(q.dim(0)), static_cast<int>(k.dim(0)), static_cast<int>(q.dim(1)),
                           static_cast<int>(k.dim(1)), causal});
  };
  if (head_dim == 32) launch(&flash_attention_wmma_kernel<32>, Arrays<32>::kBytes);
  if (head_dim == 64) launch(&flash_attention_wmma_kernel<64>, Arrays<64>::kBytes);
  if (head_dim == 128) launch(&flash_attention_wmma_kernel<128>, Arrays<128>::kBytes);
}

}  // namespace lab05
