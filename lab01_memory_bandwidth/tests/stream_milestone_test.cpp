#include <gtest/gtest.h>

#include <algorithm>

#include "kit/aligned_vector.h"
#include "kit/check.h"
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

/// Whole multiples of 1/4 below 256, other ones everywhere: with a whole s every a[i] is exact, with a fused
/// multiply-add and without.
kit::AlignedVector<double> quarters(std::size_t n, kit::Rng& rng) {
  kit::AlignedVector<double> values(n);
  std::uint32_t state = rng.next_u32();
  for (double& value : values) {
    state = state * 1664525U + 1013904223U;
    value = static_cast<double>(state >> 22U) / 4.0;
  }
  return values;
}

/// The triad as it is timed. Every call has another s, so that its result is not there yet, and is looked at
/// in places that nobody knows before: speed of something that computes something else would be worth
/// nothing.
class TimedTriad {
 public:
  TimedTriad(std::size_t n, kit::Rng rng) : rng_(rng), b_(quarters(n, rng_)), c_(quarters(n, rng_)), a_(n) {}

  void run() {
    s_ += 1.0;
    lab01::stream_triad(s_, b_, c_, a_);
  }
  void run_and_look() {
    run();
    constexpr int kPlaces = 200;
    for (int i = 0; i < kPlaces; ++i) {
      const std::size_t at = rng_.below(static_cast<std::uint32_t>(a_.size()));
      // Thrown, so that nothing more is timed.
      KIT_CHECK(!is_wrong(at),
                "a[{}] is {} and not b + s * c = {} in a call that was timed. Likely cause: work is left out "
                "when the array already holds something",
                at, a_[at], b_[at] + s_ * c_[at]);
    }
  }
  void reference() { kit::reference_triad(s_, b_, c_, a_); }

  /// Elements of the last call that are wrong.
  std::int64_t count_wrong() const {
    std::int64_t n = 0;
    for (std::size_t i = 0; i < a_.size(); ++i) n += is_wrong(i) ? 1 : 0;
    return n;
  }

 private:
  bool is_wrong(std::size_t i) const { return !(a_[i] == b_[i] + s_ * c_[i]); }

  kit::Rng rng_;
  double s_ = 2.0;
  kit::AlignedVector<double> b_;
  kit::AlignedVector<double> c_;
  kit::AlignedVector<double> a_;
};

TEST(StreamMilestone, TriadKeepsUpWithTheKit) {
  TimedTriad triad(array_size(), kit::testing::make_rng(90));
  triad.run();
  ASSERT_EQ(triad.count_wrong(), 0) << "elements are not b + s * c";

  if (lab01_tests::kSanitized) GTEST_SKIP() << "too noisy to tell: this build measures its sanitizer";
  const kit::SpeedRatio ratio =
      kit::compare_speed([&] { triad.run_and_look(); }, [&] { triad.reference(); }, kBar);
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
