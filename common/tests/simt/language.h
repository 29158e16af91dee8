#pragma once

#include <cstdint>

#include "kit/tensor.h"

/// Kernels of the CUDA language that students write: each uses one group of types or functions. They compile
/// under nvcc and for the executor, and give the same results. All views are device memory.
namespace language {

using In = kit::TensorView<const float>;
using Out = kit::TensorView<float>;
using Ints = kit::TensorView<const std::int32_t>;
using OutInts = kit::TensorView<std::int32_t>;

inline constexpr int kHalfResults = 11;
/// a, b, c: [n], rounded to 16 bits first; out: [kHalfResults, n] = a + b, a - b, a * b, a / b, fma(a, b, c),
/// max(a, b), min(a, b), -a, |b|, a += c, a < b (1 or 0).
void half_arithmetic(In a, In b, In c, Out out);
void bfloat16_arithmetic(In a, In b, In c, Out out);
inline constexpr int kPairResults = 6;
/// Two elements a thread. a, b, c: [n], n even; out: [kPairResults, n] = a + b, a - b, a * b, fma(a, b, c),
/// max(a, b), lower and upper exchanged.
void half2_arithmetic(In a, In b, In c, Out out);
void bfloat162_arithmetic(In a, In b, In c, Out out);

inline constexpr int kShuffles = 7;
/// One warp. in: [32], out: [kShuffles, 32] = from lane 5, up 3, down 3, xor 1, from lane 2 of each 8, the
/// broadcast of a double, of a half2's upper part.
void shuffles(In in, Out out);
inline constexpr int kVotes = 11;
/// One warp. in: [32], out: [kVotes, 32] = ballot(in odd), all(in >= 0), any(in < 0), match_any(in % 4), the
/// reductions add, min, max, and, or, xor (the last three of the bits), then add over the odd lanes alone
/// (even lanes keep 0).
void votes(Ints in, OutInts out);

/// a, b packed four signed bytes each: out[i] = dp4a(a[i], b[i], c[i]).
void dp4a(Ints a, Ints b, Ints c, OutInts out);

/// in: [n, 4]; out[i][j] = 2 * in[i][3 - j] + j by float4 and __ldg; ints: the same by int4.
void vectors(In in, Out out);
void int_vectors(Ints in, OutInts out);

inline constexpr int kAtomics = 10;
/// One thread for each element of in; totals: [kAtomics] = sum, minimum, maximum, and, or, xor, negated sum
/// (atomicSub), count (atomicInc up to 99), maximum by compare and swap, any element (atomicExch). Set to
/// their start by the caller.
void atomics(Ints in, OutInts totals);
/// sums: [2] = sum of floats, minimum of the absolute values as a float's bits.
void float_atomics(In in, Out sums);

inline constexpr int kFastMath = 12;
/// out: [kFastMath, n] = __expf, __logf, __log2f, __sinf, __cosf, __powf(x, 1.5), __fdividef(1, x), rsqrtf,
/// __frcp_rn, fmaf(x, x, 1), tanhf, __saturatef(x - 1), of positive x.
void fast_math(In in, Out out);
inline constexpr int kBits = 10;
/// out: [kBits, n] = popc, clz, ffs, brev, umulhi(x, 2^31 + 12345), the bits of float(x), and of x / 8
/// rounded to nearest even, down, up; byte_perm(x, 0xddccbbaa, 0x7240).
void bits(Ints in, OutInts out);

/// Each thread block turns its 256 elements round, through dynamic shared memory. n: a multiple of 256.
void reverse_in_dynamic_shared(In in, Out out);
/// Grid of 3 x 2 x 2 thread blocks of 4 x 2 x 3 threads; out: [2 * 3, 2 * 2, 3 * 4] is z, y, x of the whole
/// grid, coded as 10000 z + 100 y + x.
void three_dimensions(OutInts out);
/// One thread block of 256. in: [256]; out: [3] = how many are positive, whether any is 7, whether all are
/// not 0.
void barriers_with_votes(Ints in, OutInts out);
inline constexpr int kMatrixProducts = 3;
/// One warp, matrices of 16 x 16, a and b rounded to 16 bits. out: [kMatrixProducts, 16, 16] = a b + c, the
/// same with a and b read by columns (so a^T b^T + c), the first one doubled and stored by columns.
void matrix_products(In a, In b, In c, Out out);

}  // namespace language
