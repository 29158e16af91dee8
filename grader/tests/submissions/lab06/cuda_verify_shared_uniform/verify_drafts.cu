#include <cstdint>

#include "kit/cuda/kernel.h"
#include "lab06/cuda_kernels.h"

namespace lab06 {

namespace {

constexpr int kWarp = 32;
constexpr int kWarps = 4;  // of a thread block, each with a sequence of its own
constexpr int kThreads = kWarps * kWarp;
constexpr int kPerLane = 8;  // elements of a row that a lane asks for at a time
constexpr int kTile = kPerLane * kWarp;
constexpr unsigned kAllLanes = 0xffffffffU;

// What the next token is drawn from, not normalised: max(0, p - q), or p where there is no q.
struct Weights {
  const float* p;  // [vocab_size]
  const float* q;  // [vocab_size], or nullptr
  int vocab_size;
  __device__ float operator()(int i) const {
    if (i >= vocab_size) return 0.0F;
    return q == nullptr ? p[i] : fmaxf(p[i] - q[i], 0.0F);
  }
};

// The sum of all lanes, in all lanes.
__device__ __forceinline__ float warp_sum(float value) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(kAllLanes, value, offset);
  return value;
}

// The sum of this lane and those below it.
// Hillis and Steele 1986, "Data parallel algorithms".
__device__ __forceinline__ float warp_scan(float value, int lane) {
  for (int offset = 1; offset < kWarp; offset *= 2) {
    const float below = __shfl_up_sync(kAllLanes, value, offset);
    if (lane >= offset) value += below;
  }
  return value;
}

__device__ float sum_of(const Weights& weights, int lane) {
  float sum = 0.0F;
#pragma unroll 8
  for (int begin = 0; begin < weights.vocab_size; begin += kWarp) sum += weights(begin + lane);
  return warp_sum(sum);
}

// The first token at which the running sum exceeds `threshold`. Sums in another order differ in their last
// bits, and may say in the end that none does: then it is the last token with a weight.
__device__ int find_token(const Weights& weights, float threshold, int lane) {
  float before = 0.0F;  // of all tiles before this one
  int last = 0;
  for (int begin = 0; begin < weights.vocab_size; begin += kTile) {
    float tile[kPerLane];
    float sum = 0.0F;
#pragma unroll
    for (int j = 0; j < kPerLane; ++j) sum += tile[j] = weights(begin + j * kWarp + lane);
    sum = warp_sum(sum);
    const bool is_here = threshold < before + sum;
    float up_to = before;
#pragma unroll
    for (int j = 0; j < kPerLane; ++j) {
      const unsigned positive = __ballot_sync(kAllLanes, tile[j] > 0.0F);
      if (positive != 0) last = begin + j * kWarp + kWarp - 1 - __clz(static_cast<int>(positive));
      if (!is_here) continue;
      // Rounding may lift a sum at a token without weight above the one before: such a token is passed over.
      const float running = up_to + warp_scan(tile[j], lane);
      const unsigned reached = __ballot_sync(kAllLanes, tile[j] > 0.0F && threshold < running);
      if (reached != 0) return begin + j * kWarp + __ffs(static_cast<int>(reached)) - 1;
      up_to = __shfl_sync(kAllLanes, running, kWarp - 1);
    }
    if (is_here) return last;
    before += sum;
  }
  return last;
}

// A warp has a sequence: lane t tests draft t, a vote finds the first rejection, all lanes draw one token.
// PRECOND: ceil(n_seqs / kWarps) thread blocks; gamma < 32; the header's.
// Bytes: 8 for a draft; then 8 vocab_size (4 for a bonus token), twice, the second time from the cache and
// only up to the token. FLOPs: about 4 vocab_size.
// Leviathan et al. 2022, "Fast Inference from Transformers via Speculative Decoding", algorithm 1.
__global__ void __launch_bounds__(kThreads)
    verify_drafts_warp_kernel(const float* p, const float* q, const std::int32_t* draft_tokens,
                              const std::int32_t* n_draft, const float* uniforms, std::int32_t* n_accepted,
                              std::int32_t* tokens, std::int64_t n_seqs, int gamma, int vocab_size) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const std::int64_t seq = std::int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
  if (seq >= n_seqs) return;
  p += seq * (gamma + 1) * vocab_size;
  q += seq * gamma * vocab_size;
  draft_tokens += seq * gamma;
  const int n_tests = n_draft[seq];

  int token = -1;
  bool rejected = false;
  if (lane < n_tests) {
    token = draft_tokens[lane];
    const std::int64_t at = std::int64_t{lane} * vocab_size + token;
    // Without a division. Where p = q the product is below it for every uniform below 1, rounding included.
    rejected = !(uniforms[lane] * q[at] < p[at]);
  }
  const unsigned rejections = __ballot_sync(kAllLanes, rejected);
  const int first = rejections == 0 ? n_tests : __ffs(static_cast<int>(rejections)) - 1;

  const std::int64_t row = std::int64_t{first} * vocab_size;
  Weights weights{p + row, rejections == 0 ? nullptr : q + row, vocab_size};
  float total = sum_of(weights, lane);
  if (total == 0.0F) {  // rejected by rounding alone: p <= q everywhere
    weights.q = nullptr;
    total = sum_of(weights, lane);
  }
  const int drawn = find_token(weights, uniforms[gamma] * total, lane);

  if (lane == 0) n_accepted[seq] = first;
  if (lane > first) token = -1;
  if (lane <= gamma) tokens[seq * (gamma + 1) + lane] = lane == first ? drawn : token;
}

}  // namespace

void verify_drafts_cuda(kit::TensorView<const float> p, kit::TensorView<const float> q,
                        kit::TensorView<const std::int32_t> draft_tokens,
                        kit::TensorView<const std::int32_t> n_draft, kit::TensorView<const float> uniforms,
                        kit::TensorView<std::int32_t> n_accepted, kit::TensorView<std::int32_t> tokens) {
  KIT_CHECK(p.rank() == 3 && p.dim(1) >= 1 && p.dim(1) <= kWarp && p.dim(2) >= 1,
            "p {}: want [n_seqs, gamma + 1, vocab_size], gamma from 0 to {}, vocab_size of at least 1",
            p.shape().to_string(), kWarp - 1);
  const std::int64_t n_seqs = p.dim(0);
  const std::int64_t gamma = p.dim(1) - 1;
  const kit::Shape of_drafts{n_seqs, gamma};
  const kit::Shape of_tokens{n_seqs, gamma + 1};
  KIT_CHECK(q.shape() == (kit::Shape{n_seqs, gamma, p.dim(2)}),
            "q {} for p {}: want [n_seqs, gamma, vocab_size]", q.shape().to_string(), p.shape().to_string());
  KIT_CHECK(draft_tokens.shape() == of_drafts && n_draft.shape() == kit::Shape{n_seqs},
            "draft_tokens {}, n_draft {} for p {}: want [n_seqs, gamma] and [n_seqs]",
            draft_tokens.shape().to_string(), n_draft.shape().to_string(), p.shape().to_string());
  KIT_CHECK(uniforms.shape() == of_tokens && tokens.shape() == of_tokens &&
                n_accepted.shape() == kit::Shape{n_seqs},
            "uniforms {}, tokens {}, n_accepted {} for p {}: want [n_seqs, gamma + 1] twice, and [n_seqs]",
            uniforms.shape().to_string(), tokens.shape().to_string(), n_accepted.shape().to_string(),
            p.shape().to_string());
  if (n_seqs == 0) return;  // there is no launch of no thread blocks
  kit::launch(verify_drafts_warp_kernel, {kit::ceil_div(n_seqs, kWarps), kThreads}, p.data(), q.data(),
              draft_tokens.data(), n_draft.data(), uniforms.data(), n_accepted.data(), tokens.data(), n_seqs,
              static_cast<int>(gamma), static_cast<int>(p.dim(2)));
}

}  // namespace lab06
