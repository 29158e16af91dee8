#include "kit/reference_stream.h"

#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#define HWY_COMPILE_ONLY_STATIC
#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include "kit/check.h"
#include "kit/parallel.h"

namespace kit {

namespace {

namespace hn = hwy::HWY_NAMESPACE;
using Lanes = hn::ScalableTag<double>;
constexpr std::int64_t kLanes = hn::MaxLanes(Lanes());

void check_lengths(std::span<const double> b, std::span<const double> c, std::span<double> a) {
  KIT_CHECK(b.size() == a.size() && c.size() == a.size(), "a has {} elements, b {}, c {}", a.size(), b.size(),
            c.size());
}

/// One contiguous piece a thread, so that every thread streams.
void for_each_piece(std::size_t size, const std::function<void(std::int64_t, std::int64_t)>& body) {
  const auto n = static_cast<std::int64_t>(size);
  parallel_for(n, std::max<std::int64_t>(1, (n - 1) / n_threads() + 1), body);
}

bool is_aligned(const double* pointer) {
  return reinterpret_cast<std::uintptr_t>(pointer) % (kLanes * sizeof(double)) == 0;
}

}  // namespace

void reference_triad(double s, std::span<const double> b, std::span<const double> c, std::span<double> a) {
  check_lengths(b, c, a);
  for_each_piece(a.size(), [&](std::int64_t begin, std::int64_t end) {
    const Lanes d;
    const auto factor = hn::Set(d, s);
    std::int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes) {
      const auto sum = hn::MulAdd(factor, hn::LoadU(d, c.data() + i), hn::LoadU(d, b.data() + i));
      hn::StoreU(sum, d, a.data() + i);
    }
    for (; i < end; ++i) a[i] = b[i] + s * c[i];
  });
}

void reference_triad_nontemporal(double s, std::span<const double> b, std::span<const double> c,
                                 std::span<double> a) {
  check_lengths(b, c, a);
  for_each_piece(a.size(), [&](std::int64_t begin, std::int64_t end) {
    const Lanes d;
    const auto factor = hn::Set(d, s);
    std::int64_t i = begin;
    for (; i < end && !is_aligned(a.data() + i); ++i)
      a[i] = b[i] + s * c[i];  // Stream wants aligned addresses
    for (; i + kLanes <= end; i += kLanes) {
      const auto sum = hn::MulAdd(factor, hn::LoadU(d, c.data() + i), hn::LoadU(d, b.data() + i));
      hn::Stream(sum, d, a.data() + i);
    }
    hwy::FlushStream();  // others see the stores before they see that the piece is done
    for (; i < end; ++i) a[i] = b[i] + s * c[i];
  });
}

}  // namespace kit
