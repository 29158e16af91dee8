#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "kit/cuda/kernel.h"
#include "lab05/cuda_kernels.h"

// Scores of a tile lie in shared memory, one maximum for the whole thread block.
namespace lab05 {

namespace {

constexpr int kWarp = 32;
constexpr int kThreads = 128;
constexpr int kTile = 2 * kWarp;  // positions at a time
constexpr int kMaxGroup = 8;
constexpr unsigned kAllLanes = 0xffffffffU;

// Where a position of a sequence lies: its row in keys and values [rows, n_kv_heads, head_dim].
struct ContiguousRows {
  std::int64_t max_len;
  __device__ std::int64_t operator()(std::int64_t seq, int position) const {
    return seq * max_len + position;
  }
};
struct PagedRows {
  const std::int32_t* block_tables;  // [n_seqs, max_blocks]
  std::int64_t max_blocks;
  int block_size;
  __device__ std::int64_t operator()(std::int64_t seq, int position) const {
    const std::int64_t block = block_tables[seq * max_blocks + position / block_size];
    return block * block_size + position % block_size;
  }
};

__device__ __forceinline__ float from(float m) {
  return m == -INFINITY ? 0.0F : m;
}

// What all threads of a thread block share; kLanes lanes have a position.
template <int kLanes>
struct Shared {
  float4 queries[kMaxGroup][kLanes];
  float weights[kMaxGroup][kTile];  // scores first
  float m[kMaxGroup], l[kMaxGroup], rescale[kMaxGroup];
  float4 sums[kThreads / kLanes][kLanes];
};

// The scores of a query head in a tile become weights. All lanes of a warp must call.
__device__ __forceinline__ void soften(float* scores, float* m, float* l, float* rescale) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const float a = scores[lane];
  const float b = scores[lane + kWarp];
  const float old_m = *m;
  float new_m = fmaxf(old_m, fmaxf(a, b));
  for (int offset = kWarp / 2; offset > 0; offset /= 2)
    new_m = fmaxf(new_m, __shfl_xor_sync(kAllLanes, new_m, offset));
  const float p = expf(a - from(new_m));
  const float q = expf(b - from(new_m));
  float sum = p + q;
  for (int offset = kWarp / 2; offset > 0; offset /= 2) sum += __shfl_xor_sync(kAllLanes, sum, offset);
  scores[lane] = p;
  scores[lane + kWarp] = q;
  __syncwarp();
  if (lane != 0) return;
  *rescale = expf(old_m - from(new_m));
  *l = *l * *rescale + sum;
  *m = new_m;
}

// A thread block has a split of a key/value head of a sequence.
// PRECOND: grid n_splits, n_kv_heads, n_seqs.
// Bytes: 8 head_dim for a position of a kv head. FLOPs: 4 head_dim group.
// Dao et al. 2023, "Flash-Decoding for long-context inference".
template <int kLanes, class Rows>
__global__ void __launch_bounds__(kThreads)
    flash_decoding_tile_kernel(const float4* q, const float4* k, const float4* v, Rows row_of,
                               const std::int32_t* context_lens, float* partial_out, float* partial_lse,
                               int group) {
  constexpr int kRows = kThreads / kLanes;
  constexpr int kHeadDim = 4 * kLanes;
  __shared__ Shared<kLanes> shared;
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % kLanes;
  const int row = thread / kLanes;
  const auto n_splits = static_cast<int>(gridDim.x);
  const std::int64_t pair = std::int64_t{blockIdx.z} * gridDim.y + blockIdx.y;
  const int context_len = context_lens[blockIdx.z];
  const int chunk = (context_len + n_splits - 1) / n_splits;
  const int begin = static_cast<int>(blockIdx.x) * chunk;
  const int end = min(begin + chunk, context_len);
  const float scale = 1.0F / sqrtf(static_cast<float>(kHeadDim));
  for (int i = thread; i < group * kLanes; i += kThreads)
    shared.queries[i / kLanes][i % kLanes] = q[pair * group * kLanes + i];
  if (thread < group) shared.m[thread] = -INFINITY;
  if (thread < group) shared.l[thread] = 0.0F;
  __syncthreads();

  float4 o[kMaxGroup] = {};
  for (int first = begin; first < end; first += kTile) {
    for (int p = row; p < kTile; p += kRows) {
      float4 key = make_float4(0.0F, 0.0F, 0.0F, 0.0F);
      if (first + p < end) key = k[(row_of(blockIdx.z, first + p) * gridDim.y + blockIdx.y) * kLanes + lane];
      for (int g = 0; g < group; ++g) {
        const float4 query = shared.queries[g][lane];
        float score = query.x * key.x + query.y * key.y + query.z * key.z + query.w * key.w;
        for (int offset = kLanes / 2; offset > 0; offset /= 2)
          score += __shfl_xor_sync(kAllLanes, score, offset);
        if (lane == 0) shared.weights[g][p] = first + p < end ? scale * score : -INFINITY;
      }
    }
    __syncthreads();
    for (int g = thread / kWarp; g < group; g += kThreads / kWarp)
      soften(shared.weights[g], &shared.m[g], &shared.l[g], &shared.rescale[g]);
    __syncthreads();
#pragma unroll
    for (int g = 0; g < kMaxGroup; ++g) {
      const float rescale = g < group ? shared.rescale[g] : 1.0F;
      o[g] = make_float4(rescale * o[g].x, rescale * o[g].y, rescale * o[g].z, rescale * o[g].w);
    }
    for (int p = row; p < kTile && first + p < end; p += kRows) {
      const float4 value = v[(row_of(blockIdx.z, first + p) * gridDim.y + blockIdx.y) * kLanes + lane];
#pragma unroll
      for (int g = 0; g < kMaxGroup; ++g) {
        const float weight = g < group ? shared.weights[g][p] : 0.0F;
        o[g] = make_float4(o[g].x + weight * value.x, o[g].y + weight * value.y, o[g].z + weight * value.z,
                           o[g].w + weight * value.w);
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int g = 0; g < kMaxGroup; ++g) {
    if (g >= group) break;
    shared.sums[row][lane] = o[g];
    __syncthreads();
    const std::int64_t at = (pair * group + g) * n_splits + blockIdx.x;
    const float l = shared.l[g];
    if (thread < kHeadDim) {
      float sum = 0.0F;
      for (int r = 0; r < kRows; ++r) sum += reinterpret_cast<const float*>(shared.sums[r])[thread];
      partial_out[at * kHeadDim + thread] = l == 0.0F ? 0.0F : sum / l;
    }
    if (thread == 0) partial_lse[at] = shared.m[g] + logf(l);
    __syncthreads();
  }
}

// A thread block has a query head of a sequence, a thread an element; weights in shared memory.
// PRECOND: head_dim threads; n_splits floats of shared memory.
// Bytes: 4 (head_dim + 1) for a split. FLOPs: 2 head_dim for a split.
// Dao et al. 2023, "Flash-Decoding for long-context inference".
__global__ void flash_decoding_weigh_kernel(const float* partial_out, const float* partial_lse, float* out,
                                            float* log_sum_exp, int n_splits) {
  KIT_DYNAMIC_SHARED(float, lses);
  const auto head_dim = static_cast<int>(blockDim.x);
  const auto thread = static_cast<int>(threadIdx.x);
  for (int s = thread; s < n_splits; s += head_dim)
    lses[s] = partial_lse[std::int64_t{blockIdx.x} * n_splits + s];
  __syncthreads();
  float m = -INFINITY;
  for (int s = 0; s < n_splits; ++s) m = fmaxf(m, lses[s]);
  float sum = 0.0F;
  float o = 0.0F;
  for (int s = 0; s < n_splits; ++s) {
    const float weight = expf(lses[s] - from(m));
    sum += weight;
    o += weight * partial_out[(std::int64_t{blockIdx.x} * n_splits + s) * head_dim + thread];
  }
  out[std::int64_t{blockIdx.x} * head_dim + thread] = sum == 0.0F ? 0.0F : o / sum;
  if (thread == 0) log_sum_exp[blockIdx.x] = m + logf(sum);
}

struct Partials {
  kit::TensorView<float> out;          // [n_seqs, n_heads, n_splits, head_dim]
  kit::TensorView<float> log_sum_exp;  // [n_seqs, n_heads, n_splits]
};

void check_shapes(kit::TensorView<const float> q, kit::TensorView<const float> k,
                  kit::TensorView<const float> v, kit::TensorView<const std::int32_t> context_lens,
                  int n_splits, const Partials& partials, kit::TensorView<float> out,
                  kit::TensorView<float> log_sum_exp) {
  KIT_CHECK(q.rank() == 3 && out.shape() == q.shape() && k.rank() == 4 && v.shape() == k.shape() &&
                k.dim(3) == q.dim(2),
            "q {}, k {}, v {}, out {}: want q and out [n_seqs, n_heads, head_dim], k and v [.., .., "
            "n_kv_heads, head_dim]",
            q.shape().to_string(), k.shape().to_string(), v.shape().to_string(), out.shape().to_string());
  const kit::Shape heads{q.dim(0), q.dim(1)};
  const kit::Shape n_seqs{q.dim(0)};
  KIT_CHECK(context_lens.shape() == n_seqs && log_sum_exp.shape() == heads,
            "context_lens {} and log_sum_exp {} for q {}", context_lens.shape().to_string(),
            log_sum_exp.shape().to_string(), q.shape().to_string());
  KIT_CHECK(q.dim(2) == 32 || q.dim(2) == 64 || q.dim(2) == 128, "head_dim is {}, must be 32, 64 or 128",
            q.dim(2));
  KIT_CHECK(
      k.dim(2) > 0 && q.dim(1) % k.dim(2) == 0 && q.dim(1) >= k.dim(2) && q.dim(1) <= kMaxGroup * k.dim(2),
      "{} query heads for {} key/value heads, must be 1 to {} for each", q.dim(1), k.dim(2), kMaxGroup);
  KIT_CHECK(n_splits >= 1, "{} splits, must be at least 1", n_splits);
  const kit::Shape rows{q.dim(0), q.dim(1), n_splits};
  const kit::Shape partial_rows{q.dim(0), q.dim(1), n_splits, q.dim(2)};
  KIT_CHECK(partials.out.shape() == partial_rows && partials.log_sum_exp.shape() == rows,
            "partial_out {}, partial_log_sum_exp {} for q {} and {} splits", partials.out.shape().to_string(),
            partials.log_sum_exp.shape().to_string(), q.shape().to_string(), n_splits);
}

template <class Rows>
void launch_flash_decoding(kit::TensorView<const float> q, kit::TensorView<const float> k,
                           kit::TensorView<const float> v, const Rows& row_of,
                           kit::TensorView<const std::int32_t> context_lens, const Partials& partials,
                           kit::TensorView<float> out, kit::TensorView<float> log_sum_exp) {
  if (q.size() == 0) return;
  const auto kernel = q.dim(2) == 32   ? flash_decoding_tile_kernel<8, Rows>
                      : q.dim(2) == 64 ? flash_decoding_tile_kernel<16, Rows>
                                       : flash_decoding_tile_kernel<32, Rows>;
  const auto n_splits = static_cast<unsigned>(partials.out.dim(2));
  const auto n_kv_heads = static_cast<unsigned>(k.dim(2));
  kit::launch(kernel, {dim3(n_splits, n_kv_heads, static_cast<unsigned>(q.dim(0))), kThreads},
              reinterpret_cast<const float4*>(q.data()), reinterpret_cast<const float4*>(k.data()),
              reinterpret_cast<const float4*>(v.data()), row_of, context_lens.data(), partials.out.data(),
              partials.log_sum_exp.data(), static_cast<int>(q.dim(1) / k.dim(2)));
  kit::launch(
      flash_decoding_weigh_kernel,
      {static_cast<unsigned>(q.dim(0) * q.dim(1)), static_cast<unsigned>(q.dim(2)), n_splits * sizeof(float)},
      partials.out.data(), partials.log_sum_exp.data(), out.data(), log_sum_exp.data(),
      static_cast<int>(n_splits));
}

}  // namespace

int choose_n_splits(std::int64_t n_seqs, std::int64_t n_kv_heads, std::int64_t max_context_len,
                    int n_multiprocessors) {
  KIT_CHECK(n_seqs >= 1 && n_kv_heads >= 1 && max_context_len >= 0 && n_multiprocessors >= 1,
            "{} sequences of at most {} positions with {} kv heads on {} multiprocessors", n_seqs,
            max_context_len, n_kv_heads, n_multiprocessors);
  const std::int64_t thread_blocks = n_seqs * n_kv_heads;  // without a split
  const std::int64_t wanted = std::int64_t{kSplitBlocksPerMultiprocessor} * n_multiprocessors;
  const std::int64_t fill = (wanted + thread_blocks - 1) / thread_blocks;
  return static_cast<int>(std::clamp<std::int64_t>(max_context_len / kMinSplitLength, 1, fill));
}

void flash_decoding_cuda(kit::TensorView<const float> q, kit::TensorView<const float> k,
                         kit::TensorView<const float> v, kit::TensorView<const std::int32_t> context_lens,
                         int n_splits, kit::TensorView<float> partial_out,
                         kit::TensorView<float> partial_log_sum_exp, kit::TensorView<float> out,
                         kit::TensorView<float> log_sum_exp) {
  const Partials partials{partial_out, partial_log_sum_exp};
  check_shapes(q, k, v, context_lens, n_splits, partials, out, log_sum_exp);
  KIT_CHECK(k.dim(0) == q.dim(0), "k {} holds the caches of {} sequences, q {} the queries of {}",
            k.shape().to_string(), k.dim(0), q.shape().to_string(), q.dim(0));
  launch_flash_decoding(q, k, v, ContiguousRows{k.dim(1)}, context_lens, partials, out, log_sum_exp);
}

void paged_flash_decoding_cuda(kit::TensorView<const float> q, kit::TensorView<const float> k_blocks,
                               kit::TensorView<const float> v_blocks,
                               kit::TensorView<const std::int32_t> block_tables,
                               kit::TensorView<const std::int32_t> context_lens, int n_splits,
                               kit::TensorView<float> partial_out, kit::TensorView<float> partial_log_sum_exp,
                               kit::TensorView<float> out, kit::TensorView<float> log_sum_exp) {
  const Partials partials{partial_out, partial_log_sum_exp};
  check_shapes(q, k_blocks, v_blocks, context_lens, n_splits, partials, out, log_sum_exp);
  const std::int64_t block_size = k_blocks.dim(1);
  KIT_CHECK(block_size > 0 && (block_size & (block_size - 1)) == 0,
            "blocks of {} tokens, must be a power of two", block_size);
  KIT_CHECK(block_tables.rank() == 2 && block_tables.dim(0) == q.dim(0),
            "block_tables {} for q {}: want [n_seqs, max_blocks]", block_tables.shape().to_string(),
            q.shape().to_string());
  const PagedRows row_of{block_tables.data(), block_tables.dim(1), static_cast<int>(block_size)};
  launch_flash_decoding(q, k_blocks, v_blocks, row_of, context_lens, partials, out, log_sum_exp);
}

}  // namespace lab05
