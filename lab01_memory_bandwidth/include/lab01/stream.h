#pragma once

#include <cstdint>
#include <span>

/// Lab 01, task 5: how fast memory is. Source: McCalpin 1995, STREAM.
///
/// The four kernels use all cores (kit/parallel.h), each one contiguous piece, and so little arithmetic that
/// memory is what they wait for. All spans of a call have the same length n >= 0; the one that is written
/// does not overlap the others. Throws kit::Error that names the lengths when they differ.
namespace lab01 {

/// c[i] = a[i]
void stream_copy(std::span<const double> a, std::span<double> c);
/// b[i] = s * c[i]
void stream_scale(double s, std::span<const double> c, std::span<double> b);
/// c[i] = a[i] + b[i]
void stream_add(std::span<const double> a, std::span<const double> b, std::span<double> c);
/// a[i] = b[i] + s * c[i]
void stream_triad(double s, std::span<const double> b, std::span<const double> c, std::span<double> a);

enum class StreamKernel { kCopy, kScale, kAdd, kTriad };

/// How a store reaches memory.
enum class Stores {
  /// An ordinary store into a cache that allocates on a write: the line is first read from memory, then
  /// changed,
  /// and some time later written back.
  kWriteAllocate,
  /// Whole lines go past the caches; nothing is read.
  kNonTemporal
};

/// Bytes between memory and caches in one call with arrays of n doubles, far larger than the caches.
/// Throws kit::Error that names n and its value when n is not positive or the product exceeds 64 bits.
std::int64_t stream_bytes(StreamKernel kernel, std::int64_t n, Stores stores);

}  // namespace lab01
