#include <gtest/gtest.h>

#include <algorithm>

#include "kit/aligned_vector.h"
#include "kit/interleaved.h"
#include "kit/probe.h"
#include "kit/reference_stream.h"
#include "kit/testing.h"
#include "lab01/stream.h"
#include "reference.h"

// The triad against the kit's own, in turns in one process, so that the ratio says something about the code
// and little about the machine. Where it says nothing, the outcome is inconclusive and costs nothing
// silently.

namespace {

constexpr double kBar = 0.8;

/// Doubles in each of three arrays: together three times the last-level cache, within reason.
std::size_t array_size() {
  constexpr std::int64_t kLeast = std::int64_t{64} << 20;
  constexpr std::int64_t kMost = std::int64_t{256} << 20;
  return static_cast<std::size_t>(std::clamp(kit::last_level_cache_bytes(), kLeast, kMost)) / sizeof(double);
}

TEST(StreamMilestone, TriadKeepsUpWithTheKit) {
  const std::size_t n = array_size();
  const double s = 3.0;
  const kit::AlignedVector<double> b(n, 1.5);
  const kit::AlignedVector<double> c(n, 0.25);
  kit::AlignedVector<double> a(n, 0.0);
  lab01::stream_triad(s, b, c, a);
  // Speed of something that computes something else would be worth nothing.
  ASSERT_EQ(std::count(a.begin(), a.end(), 2.25), static_cast<std::ptrdiff_t>(n))
      << "stream_triad: a = b + s * c";

  if (lab01_tests::kSanitized) GTEST_SKIP() << "too noisy to tell: this build measures its sanitizer";
  const kit::SpeedRatio ratio = kit::compare_speed([&] { lab01::stream_triad(s, b, c, a); },
                                                   [&] { kit::reference_triad(s, b, c, a); }, kBar);
  kit::testing::record_value("triad_share_of_reference", ratio.median);
  kit::testing::record_value("triad_share_wanted", kBar);
  kit::testing::record_value("triad_share_spread", ratio.spread);
  if (ratio.outcome == kit::SpeedOutcome::kInconclusive)
    GTEST_SKIP() << "too noisy to tell: " << ratio.to_string() << ", the bar is " << kBar
                 << ". Close other programs and grade again.";
  if (ratio.outcome == kit::SpeedOutcome::kMissed)
    FAIL() << "stream_triad reaches " << ratio.to_string() << ", the bar is " << kBar
           << "\nLikely causes: it runs on one core (kit::parallel_for uses all), or cores get small, "
              "scattered pieces "
              "instead of one long one each";
}

}  // namespace
