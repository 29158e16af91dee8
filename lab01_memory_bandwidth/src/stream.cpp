#include "lab01/stream.h"

#include "kit/check.h"

// Task 5. kit::parallel_for (kit/parallel.h) runs a loop on all cores.

namespace lab01 {

void stream_copy(std::span<const double> a, std::span<double> c) {
  (void)a, (void)c;
  throw kit::NotImplemented("lab01 task 5: stream_copy");
}

void stream_scale(double s, std::span<const double> c, std::span<double> b) {
  (void)s, (void)c, (void)b;
  throw kit::NotImplemented("lab01 task 5: stream_scale");
}

void stream_add(std::span<const double> a, std::span<const double> b, std::span<double> c) {
  (void)a, (void)b, (void)c;
  throw kit::NotImplemented("lab01 task 5: stream_add");
}

void stream_triad(double s, std::span<const double> b, std::span<const double> c, std::span<double> a) {
  (void)s, (void)b, (void)c, (void)a;
  throw kit::NotImplemented("lab01 task 5: stream_triad");
}

std::int64_t stream_bytes(StreamKernel kernel, std::int64_t n, Stores stores) {
  // How many arrays are read, how many written? What does a write-allocating cache do before a line is
  // changed?
  (void)kernel, (void)n, (void)stores;
  throw kit::NotImplemented("lab01 task 5: stream_bytes");
}

}  // namespace lab01
