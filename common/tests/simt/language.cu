#include "language.h"

#include "kit/cuda/kernel.h"
#include "kit/cuda/wmma.h"

// Longer than other .cu files: one place for everything that nvcc and the executor must agree on.
namespace language {

namespace {

constexpr int kThreads = 256;
constexpr unsigned kAllLanes = 0xffffffffU;
__constant__ float kScale[2] = {1.0F, 2.0F};

__device__ __forceinline__ int global_thread() {
  return static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
}

template <class T>
__device__ T from_float(float x);
template <>
__device__ half from_float<half>(float x) {
  return __float2half(x);
}
template <>
__device__ nv_bfloat16 from_float<nv_bfloat16>(float x) {
  return __float2bfloat16(x);
}
__device__ float as_float(half x) {
  return __half2float(x);
}
__device__ float as_float(nv_bfloat16 x) {
  return __bfloat162float(x);
}

template <class T>
__global__ void scalar_kernel(const float* __restrict__ in_a, const float* __restrict__ in_b,
                              const float* __restrict__ in_c, float* __restrict__ out, int n) {
  const int i = global_thread();
  if (i >= n) return;
  const T a = from_float<T>(in_a[i]);
  const T b = from_float<T>(in_b[i]);
  const T c = from_float<T>(in_c[i]);
  T sum = a;
  sum += c;
  const T results[] = {a + b,        __hsub(a, b), a * b, a / b,     __hfma(a, b, c),
                       __hmax(a, b), __hmin(a, b), -a,    __habs(b), sum};
  for (int k = 0; k < kHalfResults - 1; ++k) out[k * n + i] = as_float(results[k]);
  out[(kHalfResults - 1) * n + i] = a < b ? 1.0F : 0.0F;
}

__device__ half2 pair_of(float x, float y, half2 /*type*/) {
  return __floats2half2_rn(x, y);
}
__device__ nv_bfloat162 pair_of(float x, float y, nv_bfloat162 /*type*/) {
  return __floats2bfloat162_rn(x, y);
}
__device__ float2 as_float2(half2 x) {
  return __half22float2(x);
}
__device__ float2 as_float2(nv_bfloat162 x) {
  return __bfloat1622float2(x);
}

template <class T>
__global__ void pair_kernel(const float2* a, const float2* b, const float2* c, float2* out, int n) {
  const int i = global_thread();
  if (i >= n) return;
  const float2 wide = a[i];
  const T x = pair_of(wide.x, wide.y, T());
  const T y = pair_of(b[i].x, b[i].y, T());
  const T z = pair_of(c[i].x, c[i].y, T());
  const T results[] = {__hadd2(x, y), x - y, x * y, __hfma2(x, y, z), __hmax2(x, y), __lowhigh2highlow(x)};
  for (int k = 0; k < kPairResults; ++k) out[k * n + i] = as_float2(results[k]);
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

__global__ void dp4a_kernel(const int* a, const int* b, const int* c, int* out, int n) {
  const int i = global_thread();
  if (i < n) out[i] = __dp4a(a[i], b[i], c[i]);
}

__global__ void float4_kernel(const float4* in, float4* out, int n) {
  const int i = global_thread();
  if (i >= n) return;
  const float4 x = __ldg(&in[i]);
  float4 y = make_float4(x.w, x.z, x.y, x.x);
  y.x *= kScale[1];
  y.y = kScale[1] * y.y + kScale[0];
  y.z = fmaf(2.0F, y.z, 2.0F);
  y.w = fmaf(2.0F, y.w, 3.0F);
  out[i] = y;
}

__global__ void int4_kernel(const int4* in, int4* out, int n) {
  const int i = global_thread();
  if (i >= n) return;
  const int4 x = __ldg(in + i);
  const int2 upper = make_int2(x.w, x.z);
  int4 y{2 * upper.x, 2 * upper.y, 0, 0};
  y.y += 1;
  y.z = 2 * x.y + 2;
  y.w = 2 * x.x + 3;
  out[i] = y;
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

__global__ void __launch_bounds__(kThreads) fast_math_kernel(const float* in, float* out, int n) {
  const int i = global_thread();
  if (i >= n) return;
  const float x = in[i];
  const float results[kFastMath] = {
      __expf(x),           __logf(x), __log2f(x),   __sinf(x),        __cosf(x), __powf(x, 1.5F),
      __fdividef(1.0F, x), rsqrtf(x), __frcp_rn(x), fmaf(x, x, 1.0F), tanhf(x),  __saturatef(x - 1.0F)};
#pragma unroll
  for (int k = 0; k < kFastMath; ++k) out[k * n + i] = results[k];
}

__global__ void bits_kernel(const int* in, int* out, int n) {
  const int i = global_thread();
  if (i >= n) return;
  const auto x = static_cast<unsigned>(in[i]);
  const float eighths = static_cast<float>(in[i]) * 0.125F;
  const int results[kBits] = {__popc(x),
                              __clz(in[i]),
                              __ffs(in[i]),
                              static_cast<int>(__brev(x)),
                              static_cast<int>(__umulhi(x, 0x80000000U + 12345U)),
                              __float_as_int(__int2float_rn(in[i])),
                              __float2int_rn(eighths),
                              __float2int_rd(eighths),
                              __float2int_ru(eighths),
                              static_cast<int>(__byte_perm(x, 0xddccbbaaU, 0x7240U))};
  for (int k = 0; k < kBits; ++k) out[k * n + i] = results[k];
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

template <class T, class U>
T as(U* data) {
  return reinterpret_cast<T>(data);
}

kit::LaunchConfig threads(std::int64_t n) {
  return {kit::ceil_div(n, kThreads), kThreads};
}

template <class T>
void pairs(In a, In b, In c, Out out) {
  const int n = static_cast<int>(a.size()) / 2;
  kit::launch(pair_kernel<T>, threads(n), as<const float2*>(a.data()), as<const float2*>(b.data()),
              as<const float2*>(c.data()), as<float2*>(out.data()), n);
}

}  // namespace

void half_arithmetic(In a, In b, In c, Out out) {
  kit::launch(scalar_kernel<half>, threads(a.size()), a.data(), b.data(), c.data(), out.data(), a.size());
}
void bfloat16_arithmetic(In a, In b, In c, Out out) {
  kit::launch(scalar_kernel<nv_bfloat16>, threads(a.size()), a.data(), b.data(), c.data(), out.data(),
              a.size());
}
void half2_arithmetic(In a, In b, In c, Out out) {
  pairs<half2>(a, b, c, out);
}
void bfloat162_arithmetic(In a, In b, In c, Out out) {
  pairs<nv_bfloat162>(a, b, c, out);
}
void shuffles(In in, Out out) {
  kit::launch(shuffles_kernel, {1, 32}, in.data(), out.data());
}
void votes(Ints in, OutInts out) {
  kit::launch(votes_kernel, {1, 32}, in.data(), out.data());
}
void dp4a(Ints a, Ints b, Ints c, OutInts out) {
  kit::launch(dp4a_kernel, threads(a.size()), a.data(), b.data(), c.data(), out.data(), a.size());
}
void vectors(In in, Out out) {
  kit::launch(float4_kernel, threads(in.dim(0)), as<const float4*>(in.data()), as<float4*>(out.data()),
              in.dim(0));
}
void int_vectors(Ints in, OutInts out) {
  kit::launch(int4_kernel, threads(in.dim(0)), as<const int4*>(in.data()), as<int4*>(out.data()), in.dim(0));
}
void atomics(Ints in, OutInts totals) {
  kit::launch(atomics_kernel, threads(in.size()), in.data(), totals.data());
}
void float_atomics(In in, Out sums) {
  kit::launch(float_atomics_kernel, threads(in.size()), in.data(), sums.data());
}
void fast_math(In in, Out out) {
  kit::launch(fast_math_kernel, threads(in.size()), in.data(), out.data(), in.size());
}
void bits(Ints in, OutInts out) {
  kit::launch(bits_kernel, threads(in.size()), in.data(), out.data(), in.size());
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
