#include <cstdint>

#include "kit/cuda/kernel.h"
#include "lab06/cuda_kernels.h"

namespace lab06 {

namespace {

constexpr int kThreads = 128;
constexpr int kMaxTokens = 32;  // gamma + 1

// What the threads of a thread block share.
struct Shared {
  float sums[2][kThreads];  // of two steps of a scan
  int first;                // the first rejected draft, or how many there are
  bool rejected;
  int reached;  // the least token at which the sum exceeds the uniform
  int last;     // the last token with a weight
};

__device__ __forceinline__ float weight(const float* p, const float* q, int i) {
  return q == nullptr ? p[i] : fmaxf(p[i] - q[i], 0.0F);
}

// The sum of this thread's value and of those below it. Ends behind a barrier.
__device__ __forceinline__ float block_scan(float value, Shared& shared) {
  const int thread = static_cast<int>(threadIdx.x);
  int from = 0;
  shared.sums[from][thread] = value;
  __syncthreads();
  for (int offset = 1; offset < kThreads; offset *= 2) {
    value = shared.sums[from][thread] + (thread >= offset ? shared.sums[from][thread - offset] : 0.0F);
    shared.sums[1 - from][thread] = value;
    from = 1 - from;
    __syncthreads();
  }
  return value;
}

// The sum of a row of weights, in all threads.
__device__ float block_sum(const float* p, const float* q, int vocab_size, Shared& shared) {
  float sum = 0.0F;
  for (int i = static_cast<int>(threadIdx.x); i < vocab_size; i += kThreads) sum += weight(p, q, i);
  block_scan(sum, shared);
  // An odd number of steps: the last one wrote sums[1].
  const float total = shared.sums[1][kThreads - 1];
  __syncthreads();
  return total;
}

// A thread block has a sequence; thread 0 tests its drafts, all threads draw the token.
// PRECOND: n_seqs thread blocks of kThreads; the header's.
// Bytes: 8 for a tested draft; then 16 vocab_size (8 for a bonus token). FLOPs: about 10 vocab_size.
// Leviathan et al. 2022, "Fast Inference from Transformers via Speculative Decoding", algorithm 1.
__global__ void __launch_bounds__(kThreads)
    verify_drafts_block_kernel(const float* p, const float* q, const std::int32_t* draft_tokens,
                               const std::int32_t* n_draft, const float* uniforms, std::int32_t* n_accepted,
                               std::int32_t* tokens, int gamma, int vocab_size) {
  __shared__ Shared shared;
  const int thread = static_cast<int>(threadIdx.x);
  const std::int64_t seq = blockIdx.x;
  p += seq * (gamma + 1) * vocab_size;
  q += seq * gamma * vocab_size;
  if (thread == 0) {
    const int n = n_draft[seq];
    int t = 0;
    for (; t < n; ++t) {
      const std::int64_t at = std::int64_t{t} * vocab_size + draft_tokens[seq * gamma + t];
      if (p[at] / q[at] <= uniforms[seq * (gamma + 1) + t]) break;
    }
    shared.first = t;
    shared.rejected = t < n;
    shared.reached = vocab_size;
    shared.last = 0;
  }
  __syncthreads();
  const int first = shared.first;
  p += std::int64_t{first} * vocab_size;
  q = shared.rejected ? q + std::int64_t{first} * vocab_size : nullptr;

  float total = block_sum(p, q, vocab_size, shared);
  if (total <= 0.0F) {
    q = nullptr;
    total = block_sum(p, q, vocab_size, shared);
  }
  const float threshold = uniforms[seq * (gamma + 1) + gamma] * total;
  float before = 0.0F;
  for (int begin = 0; begin < vocab_size; begin += kThreads) {
    const int i = begin + thread;
    const float w = i < vocab_size ? weight(p, q, i) : 0.0F;
    const float sum = before + block_scan(w, shared);
    before += shared.sums[1][kThreads - 1];
    if (w > 0.0F) atomicMax(&shared.last, i);
    if (w > 0.0F && sum > threshold) atomicMin(&shared.reached, i);
    __syncthreads();
    const bool found = shared.reached < vocab_size;
    __syncthreads();
    if (found) break;
  }
  if (thread == 0) n_accepted[seq] = first;
  if (thread > gamma) return;
  const int drawn = shared.reached < vocab_size ? shared.reached : shared.last;
  int token = -1;
  if (thread < first) token = draft_tokens[seq * gamma + thread];
  tokens[seq * (gamma + 1) + thread] = thread == first ? drawn : token;
}

}  // namespace

void verify_drafts_cuda(kit::TensorView<const float> p, kit::TensorView<const float> q,
                        kit::TensorView<const std::int32_t> draft_tokens,
                        kit::TensorView<const std::int32_t> n_draft, kit::TensorView<const float> uniforms,
                        kit::TensorView<std::int32_t> n_accepted, kit::TensorView<std::int32_t> tokens) {
  KIT_CHECK(p.rank() == 3 && p.dim(1) >= 1 && p.dim(1) <= kMaxTokens && p.dim(2) >= 1,
            "p {}: want [n_seqs, gamma + 1, vocab_size], gamma from 0 to {}, vocab_size of at least 1",
            p.shape().to_string(), kMaxTokens - 1);
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
  kit::launch(verify_drafts_block_kernel, {static_cast<unsigned>(n_seqs), kThreads}, p.data(), q.data(),
              draft_tokens.data(), n_draft.data(), uniforms.data(), n_accepted.data(), tokens.data(),
              static_cast<int>(gamma), static_cast<int>(p.dim(2)));
}

}  // namespace lab06
