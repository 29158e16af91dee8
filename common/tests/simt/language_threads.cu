#include "kit/cuda/kernel.h"
#include "kit/cuda/wmma.h"
#include "language.h"

namespace language {

namespace {

constexpr int kThreads = 256;
constexpr unsigned kAllLanes = 0xffffffffU;

__device__ __forceinline__ int global_thread() {
  return static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
}

__global__ void shuffles_kernel(const float* in, float* out) {
  const int lane = static_cast<int>(threadIdx.x) % warpSize;
  const float x = in[lane];
  const half2 pair = __floats2half2_rn(0.0F, x);
  const float results[kShuffles] = {
      __shfl_sync(kAllLanes, x, 5),
      __shfl_up_sync(kAllLanes, x, 3),
      __shfl_down_sync(kAllLanes, x, 3),
      __shfl_xor_sync(kAllLanes, x, 1),
      __shfl_sync(kAllLanes, x, 2, 8),
      static_cast<float>(__shfl_sync(kAllLanes, static_cast<double>(x), 31)),
      __high2float(__shfl_sync(kAllLanes, pair, 7)),
  };
  for (int k = 0; k < kShuffles; ++k) out[k * 32 + lane] = results[k];
}

__global__ void votes_kernel(const int* in, int* out) {
  const int lane = static_cast<int>(threadIdx.x);
  const int x = in[lane];
  const unsigned word = static_cast<unsigned>(x);
  const int results[kVotes - 1] = {static_cast<int>(__ballot_sync(kAllLanes, x % 2 != 0)),
                                   __all_sync(kAllLanes, x >= 0),
                                   __any_sync(kAllLanes, x < 0),
                                   static_cast<int>(__match_any_sync(kAllLanes, x % 4)),
                                   __reduce_add_sync(kAllLanes, x),
                                   __reduce_min_sync(kAllLanes, x),
                                   __reduce_max_sync(kAllLanes, x),
                                   static_cast<int>(__reduce_and_sync(kAllLanes, word)),
                                   static_cast<int>(__reduce_or_sync(kAllLanes, word)),
                                   static_cast<int>(__reduce_xor_sync(kAllLanes, word))};
  for (int k = 0; k < kVotes - 1; ++k) out[k * 32 + lane] = results[k];
  int odd_sum = 0;
  if (lane % 2 == 1) odd_sum = __reduce_add_sync(0xaaaaaaaaU, x);
  __syncwarp();
  out[(kVotes - 1) * 32 + lane] = odd_sum;
}

__global__ void atomics_kernel(const int* in, int* totals) {
  const int x = in[global_thread()];
  atomicAdd(&totals[0], x);
  atomicMin(&totals[1], x);
  atomicMax(&totals[2], x);
  atomicAnd(&totals[3], x);
  atomicOr(&totals[4], x);
  atomicXor(&totals[5], x);
  atomicSub(&totals[6], x);
  atomicInc(reinterpret_cast<unsigned*>(&totals[7]), 99U);
  int seen = -1;  // a guess: a wrong one costs a round
  while (seen < x) {
    const int before = atomicCAS(&totals[8], seen, x);
    if (before == seen) break;
    seen = before;
  }
  atomicExch(&totals[9], x);
}

__global__ void float_atomics_kernel(const float* in, float* sums) {
  const float x = in[global_thread()];
  atomicAdd(&sums[0], x);
  // The bits of a positive float are ordered as the float is.
  atomicMin(reinterpret_cast<int*>(&sums[1]), __float_as_int(fabsf(x)));
}

__global__ void reverse_dynamic_kernel(const float* in, float* out) {
  KIT_DYNAMIC_SHARED(float, tile);
  const int i = global_thread();
  tile[threadIdx.x] = in[i];
  __syncthreads();
  out[i] = tile[blockDim.x - 1 - threadIdx.x];
}

__global__ void three_dimensions_kernel(int* out) {
  const dim3 size = blockDim;
  const uint3 at = threadIdx;
  const unsigned x = blockIdx.x * size.x + at.x;
  const unsigned y = blockIdx.y * size.y + at.y;
  const unsigned z = blockIdx.z * size.z + at.z;
  const unsigned nx = gridDim.x * blockDim.x;
  const unsigned ny = gridDim.y * blockDim.y;
  out[(z * ny + y) * nx + x] = static_cast<int>(10000 * z + 100 * y + x);
}

__global__ void barriers_kernel(const int* in, int* out) {
  const int x = in[threadIdx.x];
  const int n_positive = __syncthreads_count(x > 0);
  const int any_seven = __syncthreads_or(x == 7);
  const int all_nonzero = __syncthreads_and(x != 0);
  if (threadIdx.x == 0) {
    out[0] = n_positive;
    out[1] = any_seven != 0 ? 1 : 0;
    out[2] = all_nonzero != 0 ? 1 : 0;
  }
}

template <class LayoutA, class LayoutB>
__device__ __forceinline__ void multiply(
    const half* a, const half* b, nvcuda::wmma::fragment<nvcuda::wmma::accumulator, 16, 16, 16, float>& sum) {
  namespace wmma = nvcuda::wmma;
  wmma::fragment<wmma::matrix_a, 16, 16, 16, half, LayoutA> left;
  wmma::fragment<wmma::matrix_b, 16, 16, 16, half, LayoutB> right;
  wmma::load_matrix_sync(left, a, 16);
  wmma::load_matrix_sync(right, b, 16);
  wmma::mma_sync(sum, left, right, sum);
}

__global__ void wmma_kernel(const float* a, const float* b, const float* c, float* out) {
  namespace wmma = nvcuda::wmma;
  KIT_DYNAMIC_SHARED(half, left);  // [16, 16], then the other
  half* const right = left + 256;
  for (int i = static_cast<int>(threadIdx.x); i < 256; i += 32) {
    left[i] = __float2half(a[i]);
    right[i] = __float2half(b[i]);
  }
  __syncwarp();
  wmma::fragment<wmma::accumulator, 16, 16, 16, float> sum;
  wmma::load_matrix_sync(sum, c, 16, wmma::mem_row_major);
  multiply<wmma::col_major, wmma::col_major>(left, right, sum);
  wmma::store_matrix_sync(out + 256, sum, 16, wmma::mem_row_major);
  wmma::fill_fragment(sum, 0.0F);
  multiply<wmma::row_major, wmma::row_major>(left, right, sum);
  wmma::fragment<wmma::accumulator, 16, 16, 16, float> start;
  wmma::load_matrix_sync(start, c, 16, wmma::mem_row_major);
  for (int i = 0; i < sum.num_elements; ++i) sum.x[i] += start.x[i];
  wmma::store_matrix_sync(out, sum, 16, wmma::mem_row_major);
  for (int i = 0; i < sum.num_elements; ++i) sum.x[i] *= 2.0F;
  wmma::store_matrix_sync(out + 512, sum, 16, wmma::mem_col_major);
}

kit::LaunchConfig threads(std::int64_t n) {
  return {kit::ceil_div(n, kThreads), kThreads};
}

}  // namespace

void shuffles(In in, Out out) {
  kit::launch(shuffles_kernel, {1, 32}, in.data(), out.data());
}
void votes(Ints in, OutInts out) {
  kit::launch(votes_kernel, {1, 32}, in.data(), out.data());
}
void atomics(Ints in, OutInts totals) {
  kit::launch(atomics_kernel, threads(in.size()), in.data(), totals.data());
}
void float_atomics(In in, Out sums) {
  kit::launch(float_atomics_kernel, threads(in.size()), in.data(), sums.data());
}
void reverse_in_dynamic_shared(In in, Out out) {
  kit::cuda::Stream stream;
  kit::launch(reverse_dynamic_kernel,
              {kit::ceil_div(in.size(), kThreads), kThreads, kThreads * sizeof(float), &stream}, in.data(),
              out.data());
  stream.synchronize();
}
void three_dimensions(OutInts out) {
  kit::launch(three_dimensions_kernel, {dim3(3, 2, 2), dim3(4, 2, 3)}, out.data());
}
void barriers_with_votes(Ints in, OutInts out) {
  kit::launch(barriers_kernel, {1, kThreads}, in.data(), out.data());
}
void matrix_products(In a, In b, In c, Out out) {
  kit::launch(wmma_kernel, {1, 32, 2 * 256 * sizeof(half)}, a.data(), b.data(), c.data(), out.data());
}

}  // namespace language
