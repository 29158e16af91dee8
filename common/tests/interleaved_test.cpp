#include "kit/interleaved.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "kit/aligned_vector.h"
#include "kit/reference_stream.h"
#include "kit/rng.h"
#include "kit/testing.h"

namespace {

using kit::SpeedOutcome;

/// Two jobs that take as long as they say, by a clock of their own.
class FakeJobs {
 public:
  std::function<void()> job(char name, std::function<double()> seconds) {
    return [this, name, seconds = std::move(seconds)] {
      order_ += name;
      now_ += seconds();
    };
  }
  kit::InterleavedOptions options() {
    kit::InterleavedOptions options;
    options.now_s = [this] { return now_; };
    return options;
  }
  const std::string& order() const { return order_; }

 private:
  double now_ = 0.0;
  std::string order_;
};

kit::SpeedRatio compare(double candidate_s, double reference_s, double noise, double bar = 0.8) {
  FakeJobs jobs;
  kit::Rng rng(3);
  const auto noisy = [&rng, noise](double seconds) {
    return [&rng, noise, seconds] { return seconds * std::exp(noise * rng.normal()); };
  };
  return kit::compare_speed(jobs.job('c', noisy(candidate_s)), jobs.job('r', noisy(reference_s)), bar,
                            jobs.options());
}

TEST(CompareSpeed, RunsInTheOrderAbba) {
  FakeJobs jobs;
  const auto second = [] { return 1.0; };
  const kit::SpeedRatio ratio =
      kit::compare_speed(jobs.job('c', second), jobs.job('r', second), 0.8, jobs.options());
  EXPECT_EQ(jobs.order(),
            "cr"
            "crrccrrccrrccrrccr")
      << "a warm-up, then nine pairs";
  EXPECT_EQ(ratio.median, 1.0);
  EXPECT_EQ(ratio.n_rounds, 1);
}

TEST(CompareSpeed, DecidesWhenItIsClear) {
  EXPECT_EQ(compare(1.0, 1.0, 0.02).outcome, SpeedOutcome::kReached);
  EXPECT_NEAR(compare(1.0, 1.0, 0.02).median, 1.0, 0.05);
  EXPECT_EQ(compare(2.0, 1.0, 0.02).outcome, SpeedOutcome::kMissed);
  EXPECT_NEAR(compare(2.0, 1.0, 0.02).median, 0.5, 0.05);
}

TEST(CompareSpeed, NoiseIsInconclusiveAfterEveryRound) {
  const kit::SpeedRatio noisy = compare(1.0, 1.0, 1.0);
  EXPECT_EQ(noisy.outcome, SpeedOutcome::kInconclusive);
  EXPECT_EQ(noisy.n_rounds, 3);
}

TEST(CompareSpeed, ABarInsideTheSpreadIsInconclusive) {
  FakeJobs jobs;
  int n = 0;
  const std::array<double, 3> shares = {0.78, 0.8, 0.82};
  const auto candidate = jobs.job('c', [&] { return 1.0 / shares[static_cast<std::size_t>(n++ % 3)]; });
  const kit::SpeedRatio ratio =
      kit::compare_speed(candidate, jobs.job('r', [] { return 1.0; }), 0.8, jobs.options());
  EXPECT_EQ(ratio.outcome, SpeedOutcome::kInconclusive) << ratio.to_string();
  EXPECT_EQ(ratio.n_rounds, 3);
}

TEST(CompareSpeed, AQuietRoundAfterANoisyOneCounts) {
  FakeJobs jobs;
  int n = 0;
  const auto candidate = jobs.job('c', [&n] { return ++n <= 10 ? (n % 2 == 0 ? 1.0 : 3.0) : 1.0; });
  const kit::SpeedRatio ratio =
      kit::compare_speed(candidate, jobs.job('r', [] { return 1.0; }), 0.8, jobs.options());
  EXPECT_EQ(ratio.outcome, SpeedOutcome::kReached);
  EXPECT_EQ(ratio.n_rounds, 2);
}

TEST(CompareSpeed, AClockThatStandsStillIsNoise) {
  FakeJobs jobs;
  const auto nothing = [] { return 0.0; };
  const kit::SpeedRatio ratio =
      kit::compare_speed(jobs.job('c', nothing), jobs.job('r', nothing), 0.8, jobs.options());
  EXPECT_EQ(ratio.outcome, SpeedOutcome::kInconclusive);
}

TEST(CompareSpeed, RefusesTooFewPairs) {
  kit::InterleavedOptions options;
  options.n_pairs = 8;
  const auto nothing = [] {};
  EXPECT_TRUE(kit::testing::throws_error([&] { (void)kit::compare_speed(nothing, nothing, 0.8, options); },
                                         "n_pairs"));
  EXPECT_TRUE(kit::testing::throws_error([&] { (void)kit::compare_speed(nothing, nothing, -1.0); }, "bar"));
}

TEST(ReferenceTriad, BothKindsOfStoreGiveTheSame) {
  kit::Rng rng = kit::testing::make_rng(70);
  for (const std::size_t n : {0UL, 1UL, 7UL, 33UL, 1000UL, 40'001UL}) {
    for (const std::size_t offset : {0UL, 1UL}) {  // non-temporal stores want aligned addresses
      SCOPED_TRACE(fmt::format("n {}, offset {}", n, offset));
      kit::AlignedVector<double> b(n + 1);
      kit::AlignedVector<double> c(n + 1);
      for (std::size_t i = 0; i <= n; ++i) {
        b[i] = rng.normal();
        c[i] = rng.normal();
      }
      kit::AlignedVector<double> plain(n + 2, -7.0);
      kit::AlignedVector<double> streamed(n + 2, -7.0);
      const auto part = [&](auto& array) { return std::span(array).subspan(offset, n); };
      kit::reference_triad(0.5, std::span(b).first(n), std::span(c).first(n), part(plain));
      kit::reference_triad_nontemporal(0.5, std::span(b).first(n), std::span(c).first(n), part(streamed));
      for (std::size_t i = 0; i < n; ++i) EXPECT_NEAR(plain[offset + i], b[i] + 0.5 * c[i], 1e-15 * 8);
      for (std::size_t i = 0; i < n + 2; ++i) EXPECT_NEAR(plain[i], streamed[i], 1e-15 * 8);
      EXPECT_EQ(plain[n + 1], -7.0) << "written beyond the end";
    }
  }
  std::vector<double> five(5);
  std::vector<double> six(6);
  EXPECT_TRUE(kit::testing::throws_error([&] { kit::reference_triad(1.0, five, six, five); }, "6"));
}

}  // namespace
