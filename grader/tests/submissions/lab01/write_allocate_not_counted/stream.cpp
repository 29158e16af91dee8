#include "lab01/stream.h"

#include <algorithm>
#include <functional>

#include "kit/check.h"
#include "kit/checked.h"
#include "kit/parallel.h"

namespace lab01 {

namespace {

void check_length(std::size_t expected, std::size_t got) {
  KIT_CHECK(expected == got, "spans of {} and {} elements, they must have the same length", expected, got);
}

/// One contiguous piece a core: every core streams, and no two of them write to the same line but at the
/// seams.
void for_each_piece(std::size_t size, const std::function<void(std::int64_t begin, std::int64_t end)>& body) {
  const auto n = static_cast<std::int64_t>(size);
  kit::parallel_for(n, std::max<std::int64_t>(1, kit::divide_round_up(n, kit::n_threads())), body);
}

/// Arrays that a kernel reads; each writes one.
std::int64_t n_read(StreamKernel kernel) {
  return kernel == StreamKernel::kAdd || kernel == StreamKernel::kTriad ? 2 : 1;
}

}  // namespace

// `omp simd`: -O2 alone does not vectorise loops whose arrays might overlap.

void stream_copy(std::span<const double> a, std::span<double> c) {
  check_length(a.size(), c.size());
  for_each_piece(a.size(), [&](std::int64_t begin, std::int64_t end) {
#pragma omp simd
    for (std::int64_t i = begin; i < end; ++i) c[i] = a[i];
  });
}

void stream_scale(double s, std::span<const double> c, std::span<double> b) {
  check_length(c.size(), b.size());
  for_each_piece(c.size(), [&](std::int64_t begin, std::int64_t end) {
#pragma omp simd
    for (std::int64_t i = begin; i < end; ++i) b[i] = s * c[i];
  });
}

void stream_add(std::span<const double> a, std::span<const double> b, std::span<double> c) {
  check_length(a.size(), c.size());
  check_length(b.size(), c.size());
  for_each_piece(a.size(), [&](std::int64_t begin, std::int64_t end) {
#pragma omp simd
    for (std::int64_t i = begin; i < end; ++i) c[i] = a[i] + b[i];
  });
}

void stream_triad(double s, std::span<const double> b, std::span<const double> c, std::span<double> a) {
  check_length(b.size(), a.size());
  check_length(c.size(), a.size());
  for_each_piece(a.size(), [&](std::int64_t begin, std::int64_t end) {
#pragma omp simd
    for (std::int64_t i = begin; i < end; ++i) a[i] = b[i] + s * c[i];
  });
}

std::int64_t stream_bytes(StreamKernel kernel, std::int64_t n, Stores stores) {
  KIT_CHECK(n > 0, "n is {}, must be positive", n);
  // An allocating store moves its line twice: in, before it is changed, and out.
  const std::int64_t per_store = stores == Stores::kWriteAllocate ? 1 : 1;
  return kit::checked_product("bytes of n doubles", {n, n_read(kernel) + per_store, sizeof(double)});
}

}  // namespace lab01
