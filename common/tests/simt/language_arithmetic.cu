#include "kit/cuda/kernel.h"
#include "language.h"

namespace language {

namespace {

constexpr int kThreads = 256;
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
void fast_math(In in, Out out) {
  kit::launch(fast_math_kernel, threads(in.size()), in.data(), out.data(), in.size());
}
void bits(Ints in, OutInts out) {
  kit::launch(bits_kernel, threads(in.size()), in.data(), out.data(), in.size());
}

}  // namespace language
