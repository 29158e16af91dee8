#include "lab01/stream.h"

#include <thread>
#include <vector>

#include "kit/check.h"
#include "kit/parallel.h"

namespace lab01 {

namespace {

/// Threads of its own, and restrict pointers instead of pragmas.
template <class Body>
void on_all_cores(std::size_t n, const Body& body) {
  const auto n_threads = static_cast<std::size_t>(kit::n_threads());
  std::vector<std::jthread> threads;
  for (std::size_t t = 0; t < n_threads; ++t) {
    const std::size_t begin = n * t / n_threads;
    const std::size_t end = n * (t + 1) / n_threads;
    threads.emplace_back([&body, begin, end] { body(begin, end); });
  }
}

void same(std::size_t x, std::size_t y, std::size_t z) {
  KIT_CHECK(x == y && y == z, "lengths {}, {}, {}", x, y, z);
}

}  // namespace

void stream_copy(std::span<const double> a, std::span<double> c) {
  same(a.size(), c.size(), c.size());
  on_all_cores(a.size(), [&](std::size_t begin, std::size_t end) {
    std::copy(a.begin() + static_cast<std::ptrdiff_t>(begin), a.begin() + static_cast<std::ptrdiff_t>(end),
              c.begin() + static_cast<std::ptrdiff_t>(begin));
  });
}

void stream_scale(double s, std::span<const double> c, std::span<double> b) {
  same(c.size(), b.size(), b.size());
  on_all_cores(c.size(), [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) b[i] = s * c[i];
  });
}

void stream_add(std::span<const double> a, std::span<const double> b, std::span<double> c) {
  same(a.size(), b.size(), c.size());
  on_all_cores(a.size(), [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) c[i] = a[i] + b[i];
  });
}

void stream_triad(double s, std::span<const double> b, std::span<const double> c, std::span<double> a) {
  same(a.size(), b.size(), c.size());
  on_all_cores(a.size(), [&](std::size_t begin, std::size_t end) {
    const double* __restrict x = b.data();
    const double* __restrict y = c.data();
    double* __restrict out = a.data();
    for (std::size_t i = begin; i < end; ++i) out[i] = x[i] + s * y[i];
  });
}

std::int64_t stream_bytes(StreamKernel kernel, std::int64_t n, Stores stores) {
  std::int64_t lines = 2;
  if (kernel == StreamKernel::kAdd || kernel == StreamKernel::kTriad) ++lines;
  if (stores == Stores::kWriteAllocate) ++lines;
  KIT_CHECK(n > 0 && n < (std::int64_t{1} << 58), "n = {}", n);
  return 8 * lines * n;
}

}  // namespace lab01
