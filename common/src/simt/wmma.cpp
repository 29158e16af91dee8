#include "kit/simt/wmma.h"

// Products of 16 x 16 matrices by a warp. Lanes hand over their elements through memory of the operating
// system's thread, which runs one thread block at a time.

namespace kit::simt::detail {

namespace {

constexpr int kSize = 16;
constexpr int kMaxWarps = 32;  // of a thread block
constexpr int kElements = 8;   // of a lane

struct Factors {
  float a[kSize][kSize];  // [row, k]
  float b[kSize][kSize];  // [k, column]
};

Factors& factors_of_warp(unsigned thread) {
  thread_local Factors of_warp[kMaxWarps];
  return of_warp[thread / 32];
}

unsigned thread_in_block() {
  return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
}

void publish(const __half* x, bool by_rows, unsigned lane, float (&matrix)[kSize][kSize]) {
  const unsigned line = lane / 2;
  const unsigned first = lane % 2 * kElements;
  for (unsigned i = 0; i < kElements; ++i)
    (by_rows ? matrix[line][first + i] : matrix[first + i][line]) = x[i];
}

}  // namespace

void wmma_publish(const __half* a, bool a_by_rows, const __half* b, bool b_by_rows) {
  const unsigned thread = thread_in_block();
  Factors& factors = factors_of_warp(thread);
  publish(a, a_by_rows, thread % 32, factors.a);
  publish(b, b_by_rows, thread % 32, factors.b);
}

void wmma_multiply(float* d, const float* c) {
  const unsigned thread = thread_in_block();
  const Factors& factors = factors_of_warp(thread);
  const unsigned row = thread % 32 / 2;
  const unsigned first = thread % 2 * kElements;
  float sums[kElements];
  for (int i = 0; i < kElements; ++i) sums[i] = c[i];
  for (int k = 0; k < kSize; ++k) {
    for (unsigned i = 0; i < kElements; ++i) sums[i] += factors.a[row][k] * factors.b[k][first + i];
  }
  for (int i = 0; i < kElements; ++i) d[i] = sums[i];
}

std::int64_t wmma_offset(unsigned leading_dim) {
  const unsigned lane = thread_in_block() % 32;
  return static_cast<std::int64_t>(lane / 2) * leading_dim + lane % 2 * kElements;
}

}  // namespace kit::simt::detail
