#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "kit/cuda/kernel.h"
#include "lab05/cuda_kernels.h"

// Longer than other files: two kernels, for two layouts of the cache.
namespace lab05 {

namespace {

constexpr int kWarp = 32;
constexpr int kWarps = 4;  // of a thread block
constexpr int kThreads = kWarps * kWarp;
constexpr int kTile = 4;      // positions whose keys and values a lane asks for at a time
constexpr int kMaxGroup = 8;  // query heads that share a key/value head
constexpr unsigned kAllLanes = 0xffffffffU;
constexpr float kLog2E = 1.44269504F;  // e^x = 2^(x kLog2E), and the GPU has an instruction for 2^x
constexpr float kLn2 = 0.693147181F;

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

__device__ __forceinline__ float4 operator*(float s, const float4& v) {
  return make_float4(s * v.x, s * v.y, s * v.z, s * v.w);
}
__device__ __forceinline__ float4 operator+(const float4& a, const float4& b) {
  return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}
__device__ __forceinline__ float dot(const float4& a, const float4& b) {
  return (a.x * b.x + a.y * b.y) + (a.z * b.z + a.w * b.w);
}
// What exponents are taken relative to. Of nothing, -infinity, they are relative to 0: -inf - -inf is NaN.
__device__ __forceinline__ float base_of(float max) {
  return max == -INFINITY ? 0.0F : max;
}

// The softmax over the positions that kLanes lanes have seen, for one query head: a softmax state, task 2.
struct State {
  float m = -INFINITY;               // largest score; scores are exponents of 2
  float l = 0.0F;                    // sum of 2^(score - m)
  float4 o{0.0F, 0.0F, 0.0F, 0.0F};  // sum of 2^(score - m) * value: this lane's elements, not divided by l
};

// Adds a tile; positions that are not there have no score. kLanes lanes have the elements of one position.
template <int kLanes>
__device__ __forceinline__ void attend(const float4& query, const float4 (&keys)[kTile],
                                       const float4 (&values)[kTile], const bool (&is_there)[kTile],
                                       State& seen) {
  float scores[kTile];
  float m = seen.m;
#pragma unroll
  for (int t = 0; t < kTile; ++t) {
    float score = dot(query, keys[t]);
    for (int offset = kLanes / 2; offset > 0; offset /= 2) score += __shfl_xor_sync(kAllLanes, score, offset);
    scores[t] = is_there[t] ? score : -INFINITY;
    m = fmaxf(m, scores[t]);
  }
  const float rescale = exp2f(seen.m - base_of(m));
  seen.m = m;
  seen.l *= rescale;
  seen.o = rescale * seen.o;
#pragma unroll
  for (int t = 0; t < kTile; ++t) {
    const float weight = exp2f(scores[t] - base_of(m));
    seen.l += weight;
    seen.o = seen.o + weight * values[t];
  }
}

// What the parts of a thread block hand over: kLanes lanes are a part.
template <int kLanes>
struct Handover {
  static constexpr int kParts = kThreads / kLanes;
  float m[kParts][kMaxGroup];
  float l[kParts][kMaxGroup];
  float4 o[kParts][kMaxGroup * kLanes];  // [kParts, group, head_dim]
};

// Merges the parts and writes the split's result: group rows of head_dim floats and their log-sum-exp, rows
// n_splits apart. Lanes are neighbours in every access of o. All threads must call.
template <int kLanes>
__device__ __forceinline__ void write_split(const State (&seen)[kMaxGroup], int group,
                                            Handover<kLanes>& shared, float* partial_out, float* partial_lse,
                                            int n_splits) {
  constexpr int kHeadDim = 4 * kLanes;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const int part = static_cast<int>(threadIdx.x) / kLanes;
#pragma unroll
  for (int g = 0; g < kMaxGroup; ++g) {
    if (lane == 0 && g < group) shared.m[part][g] = seen[g].m;
    if (lane == 0 && g < group) shared.l[part][g] = seen[g].l;
    if (g < group) shared.o[part][g * kLanes + lane] = seen[g].o;
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < group * kHeadDim; i += kThreads) {
    const int g = i / kHeadDim;
    float m = -INFINITY;
    for (const auto& of_part : shared.m) m = fmaxf(m, of_part[g]);
    float l = 0.0F;
    float o = 0.0F;
    for (int p = 0; p < Handover<kLanes>::kParts; ++p) {
      const float rescale = exp2f(shared.m[p][g] - base_of(m));  // 0 for a part that had no position
      l += rescale * shared.l[p][g];
      o += rescale * reinterpret_cast<const float*>(shared.o[p])[i];
    }
    const std::int64_t row = std::int64_t{g} * n_splits;
    partial_out[row * kHeadDim + i % kHeadDim] = o / l;
    if (i % kHeadDim == 0) partial_lse[row] = kLn2 * (m + log2f(l));  // of nothing: -inf + -inf
  }
}

// A thread block has a split of a key/value head of a sequence; head_dim / 4 lanes have a position, a lane 16
// bytes of it. What a lane loads of a key or a value serves all query heads of the group.
// PRECOND: n_seqs * n_kv_heads * n_splits thread blocks; head_dim = 4 kLanes; group <= kMaxGroup.
// Bytes: 8 head_dim for a position of a kv head; 4 group (head_dim + 1) written. FLOPs: 4 head_dim group.
// Dao et al. 2023, "Flash-Decoding for long-context inference", steps 1 and 2.
template <int kLanes, class Rows>
__global__ void __launch_bounds__(kThreads, 4)
    flash_decoding_split_kernel(const float4* q, const float4* k, const float4* v, Rows row_of,
                                const std::int32_t* context_lens, float* partial_out, float* partial_lse,
                                int n_splits, int n_kv_heads, int group) {
  constexpr int kRows = kThreads / kLanes;  // positions that the thread block loads side by side
  __shared__ Handover<kLanes> shared;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const int row = static_cast<int>(threadIdx.x) / kLanes;
  const auto split = static_cast<int>(blockIdx.x) % n_splits;
  const std::int64_t pair = blockIdx.x / n_splits;  // sequence and key/value head
  const std::int64_t seq = pair / n_kv_heads;
  const std::int64_t kv_head = pair % n_kv_heads;
  const int context_len = context_lens[seq];
  const int chunk = (context_len + n_splits - 1) / n_splits;
  const int end = min((split + 1) * chunk, context_len);

  const float scale = kLog2E / sqrtf(4.0F * kLanes);  // scores are exponents of 2
  float4 query[kMaxGroup] = {};
#pragma unroll
  for (int g = 0; g < kMaxGroup; ++g) {
    if (g >= group) break;
    const float4 quad = q[(pair * group + g) * kLanes + lane];
    query[g] = scale * quad;
  }

  State seen[kMaxGroup];
  // Shuffles need whole warps, so all lanes go on while the first has a position.
  for (int begin = split * chunk; begin < end; begin += kTile * kRows) {
    float4 keys[kTile] = {};  // zeros behind the end, where anything may lie: a weight of 0 times NaN is NaN
    float4 values[kTile] = {};
    bool is_there[kTile];
#pragma unroll
    for (int t = 0; t < kTile; ++t) {
      const int position = begin + t * kRows + row;
      is_there[t] = position < end;
      if (!is_there[t]) continue;
      const std::int64_t at = (row_of(seq, position) * n_kv_heads + kv_head) * kLanes + lane;
      keys[t] = k[at];
      values[t] = v[at];
    }
#pragma unroll
    for (int g = 0; g < kMaxGroup; ++g) {
      if (g < group) attend<kLanes>(query[g], keys, values, is_there, seen[g]);
    }
  }
  const std::int64_t first = pair * group * n_splits + split;  // row of the group's first query head
  write_split<kLanes>(seen, group, shared, partial_out + first * (4 * kLanes), partial_lse + first, n_splits);
}

// A warp has a query head of a sequence, lane l its elements l, l + 32, ...; 32 log-sum-exps at a time.
// PRECOND: n_seqs * n_heads thread blocks of a warp; head_dim = 32 kVec; empty splits are 0 and -infinity.
// Bytes: 4 (head_dim + 1) for a split, and as many written. FLOPs: 2 head_dim for a split.
// Dao et al. 2023, "Flash-Decoding for long-context inference", step 3.
template <int kVec>
__global__ void __launch_bounds__(kWarp)
    flash_decoding_merge_kernel(const float* partial_out, const float* partial_lse, float* out,
                                float* log_sum_exp, int n_splits) {
  constexpr int kHeadDim = kVec * kWarp;
  const int lane = static_cast<int>(threadIdx.x);
  partial_out += std::int64_t{blockIdx.x} * n_splits * kHeadDim;
  partial_lse += std::int64_t{blockIdx.x} * n_splits;
  float m = -INFINITY;
  float l = 0.0F;
  float o[kVec] = {};
  for (int first = 0; first < n_splits; first += kWarp) {
    const float lse = first + lane < n_splits ? partial_lse[first + lane] : -INFINITY;
    float new_m = fmaxf(m, lse);
    for (int offset = kWarp / 2; offset > 0; offset /= 2)
      new_m = fmaxf(new_m, __shfl_xor_sync(kAllLanes, new_m, offset));
    const float rescale = exp2f(kLog2E * (m - base_of(new_m)));
    const float weight = exp2f(kLog2E * (lse - base_of(new_m)));
    m = new_m;
    l *= rescale;
    for (float& element : o) element *= rescale;
    for (int s = first; s < min(first + kWarp, n_splits); ++s) {
      const float of_split = __shfl_sync(kAllLanes, weight, s - first);
      l += of_split;
      for (int i = 0; i < kVec; ++i) o[i] += of_split * partial_out[s * kHeadDim + i * kWarp + lane];
    }
  }
  for (int i = 0; i < kVec; ++i)
    out[std::int64_t{blockIdx.x} * kHeadDim + i * kWarp + lane] = l > 0.0F ? o[i] / l : 0.0F;
  if (lane == 0) log_sum_exp[blockIdx.x] = m + logf(l);
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
  if (q.size() == 0) return;                                // there is no launch of no thread blocks
  const auto at = static_cast<std::size_t>(q.dim(2) / 64);  // 0, 1, 2 for a head_dim of 32, 64, 128
  constexpr decltype(&flash_decoding_split_kernel<8, Rows>) kSplitKernels[] = {
      flash_decoding_split_kernel<8, Rows>, flash_decoding_split_kernel<16, Rows>,
      flash_decoding_split_kernel<32, Rows>};
  constexpr decltype(&flash_decoding_merge_kernel<1>) kMergeKernels[] = {
      flash_decoding_merge_kernel<1>, flash_decoding_merge_kernel<2>, flash_decoding_merge_kernel<4>};
  const auto n_kv_heads = static_cast<int>(k.dim(2));
  const auto n_splits = static_cast<int>(partials.out.dim(2));
  kit::launch(kSplitKernels[at], {static_cast<unsigned>(q.dim(0) * n_kv_heads * n_splits), kThreads},
              reinterpret_cast<const float4*>(q.data()), reinterpret_cast<const float4*>(k.data()),
              reinterpret_cast<const float4*>(v.data()), row_of, context_lens.data(), partials.out.data(),
              partials.log_sum_exp.data(), n_splits, n_kv_heads, static_cast<int>(q.dim(1) / n_kv_heads));
  kit::launch(kMergeKernels[at], {static_cast<unsigned>(q.dim(0) * q.dim(1)), kWarp}, partials.out.data(),
              partials.log_sum_exp.data(), out.data(), log_sum_exp.data(), n_splits);
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
