#include "lab01/measure.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <numeric>

#include "kit/linear.h"
#include "kit/work_clock.h"
#include "reference.h"

// How long something takes is never tested. With a clock of the test's own, everything about measuring is;
// with the real one, only that the points lie where points can lie.

namespace {

using kit::testing::matches_count;
using kit::testing::matches_value;
using kit::testing::throws_error;
using namespace lab01_tests;  // NOLINT(google-build-using-namespace): the lab's own test helpers

constexpr double kExact = 1e-12;  // a handful of double operations, 1e-16 each
// Times are differences of clock readings, which have grown to some 1e3 seconds: 1e-13 of rounding over 1e-3.
constexpr double kClockExact = 1e-9;

using Floats = kit::TensorView<const float>;

struct Call {
  std::int64_t batch;
  double seconds;
};

/// A `linear` whose calls take random times by a clock of its own, and that looks at what it is given.
class FakeLinear {
 public:
  FakeLinear(std::int64_t in, std::int64_t out, std::uint64_t stream)
      : in_(in), out_(out), rng_(kit::testing::make_rng(stream)) {}

  lab01::Linear linear() {
    return [this](Floats x, Floats w, kit::TensorView<float> y) { call(x, w, y); };
  }
  lab01::Clock clock() {
    return [this] { return now_; };
  }
  std::vector<double> seconds_of(std::int64_t batch) const {
    std::vector<double> all;
    for (const Call& one : calls_) {
      if (one.batch == batch) all.push_back(one.seconds);
    }
    return all;
  }

 private:
  void call(Floats x, Floats w, kit::TensorView<float> y) {
    const std::int64_t batch = x.rank() == 2 ? x.dim(0) : -1;
    EXPECT_EQ(x.shape(), (kit::Shape{batch, in_})) << "x is [batch, in]";
    EXPECT_EQ(w.shape(), (kit::Shape{out_, in_})) << "w is [out, in]";
    EXPECT_EQ(y.shape(), (kit::Shape{batch, out_})) << "y is [batch, out]";
    double sum = 0.0;
    for (const float value : x.span()) sum += value;
    for (const float value : w.span()) sum += value;
    EXPECT_TRUE(std::isfinite(sum)) << "x and W must be finite numbers";
    // The first call of a batch is the fastest here, so that it shows when it is timed.
    const bool first = calls_.empty() || calls_.back().batch != batch;
    const double seconds = first ? 1e-4 : 1e-3 * (1 + rng_.uniform());
    calls_.push_back({batch, seconds});
    now_ += seconds;
  }

  std::int64_t in_;
  std::int64_t out_;
  kit::Rng rng_;
  double now_ = 100.0;
  std::vector<Call> calls_;
};

kit::MachineCeilings some_machine() {
  kit::MachineCeilings machine;
  machine.read_gb_per_s = 40.0;
  machine.copy_gb_per_s = 55.0;
  machine.peak_gflop_per_s = 600.0;
  return machine;
}

TEST(Measure, TakesTheFastestOfTheTimedCalls) {
  constexpr int kRepeats = 5;
  const std::vector<std::int64_t> batches = {1, 7, 32};
  FakeLinear fake(96, 40, 60);
  const auto points =
      lab01::measure_linear(96, 40, batches, kRepeats, some_machine(), fake.linear(), fake.clock());
  ASSERT_EQ(points.size(), batches.size());
  for (std::size_t i = 0; i < batches.size(); ++i) {
    SCOPED_TRACE(fmt::format("batch {}", batches[i]));
    std::vector<double> seconds = fake.seconds_of(batches[i]);
    ASSERT_EQ(seconds.size(), kRepeats + 1U) << "one call that is not timed, then n_repeats";
    const double with_first = *std::min_element(seconds.begin(), seconds.end());
    seconds.erase(seconds.begin());
    const double sum = std::accumulate(seconds.begin(), seconds.end(), 0.0);
    EXPECT_EQ(points[i].batch, batches[i]);
    EXPECT_TRUE(matches_value(
        points[i].seconds, *std::min_element(seconds.begin(), seconds.end()), kClockExact,
        std::vector<KnownValue>{{"the first call, which only warms up", with_first},
                                {"the mean of all calls; the fastest is the least disturbed", sum / kRepeats},
                                {"all calls together", sum},
                                {"the slowest call", *std::max_element(seconds.begin(), seconds.end())},
                                {"the last call", seconds.back()}}))
        << "seconds";
  }
}

TEST(Measure, CountsFlopsAndBytes) {
  kit::Rng rng = kit::testing::make_rng(61);
  const std::int64_t in = between(rng, 50, 300);
  const std::int64_t out = between(rng, 301, 600);
  const std::vector<std::int64_t> batches = {1, 2, 3, 8, 64, 100};
  FakeLinear fake(in, out, 62);
  const kit::MachineCeilings machine = some_machine();
  const auto points = lab01::measure_linear(in, out, batches, 1, machine, fake.linear(), fake.clock());
  ASSERT_EQ(points.size(), batches.size());
  for (const auto& p : points) {
    SCOPED_TRACE(fmt::format("in {}, out {}, batch {}", in, out, p.batch));
    EXPECT_TRUE(matches_count(
        p.flops, 2 * p.batch * in * out,
        std::vector<KnownCount>{{"one FLOP for a multiply-add; it is two", p.batch * in * out}}));
    EXPECT_TRUE(matches_count(
        p.bytes, 4 * (in * out + p.batch * (in + out)),
        std::vector<KnownCount>{
            {"the weights alone: x is read and y is written, too", 4 * in * out},
            {"2 bytes a number; these are float32", 2 * (in * out + p.batch * (in + out))},
            {"the weights read once for every row of x", 4 * p.batch * (in * out + in + out)}}));
    const auto flops = static_cast<double>(p.flops);
    const double intensity = flops / static_cast<double>(p.bytes);
    const double roof = std::min(machine.peak_gflop_per_s, intensity * machine.read_gb_per_s);
    EXPECT_TRUE(matches_value(p.intensity, intensity, kExact)) << "intensity";
    EXPECT_TRUE(
        matches_value(p.gflop_per_s, flops / p.seconds / 1e9, kExact,
                      std::vector<KnownValue>{{"FLOP/s where GFLOP/s are asked for", flops / p.seconds}}))
        << "gflop_per_s";
    EXPECT_TRUE(matches_value(
        p.roof_gflop_per_s, roof, kExact,
        std::vector<KnownValue>{{"FLOP/s where GFLOP/s are asked for", roof * 1e9},
                                {"the copy bandwidth; products mostly read",
                                 std::min(machine.peak_gflop_per_s, intensity * machine.copy_gb_per_s)},
                                {"the peak, although memory cannot feed it here", machine.peak_gflop_per_s}}))
        << "roof_gflop_per_s";
  }
}

/// The roof itself, for the figure: straight on both sides of the ridge.
void record_roof(const kit::MachineCeilings& machine, double highest_intensity) {
  const double ridge = machine.peak_gflop_per_s / machine.read_gb_per_s;
  const std::vector<double> xs = {0.25, ridge, std::max(2 * ridge, highest_intensity)};
  std::vector<double> ys;
  for (const double x : xs) ys.push_back(std::min(machine.peak_gflop_per_s, x * machine.read_gb_per_s));
  kit::testing::record_series("roof_intensity", xs);
  kit::testing::record_series("roof_gflop_per_s", ys);
}

TEST(Measure, PlacesLinearUnderThisMachinesRoof) {
  // KIT_QUICK is for the run of record, where every call would carry half a gigabyte to another process, and
  // for the kit's own tests, which grade dozens of submissions. Small products on an invented machine make no
  // figure.
  const bool quick = kSanitized || std::getenv("KIT_QUICK") != nullptr;
  // 512 MiB of weights: most last-level caches hold a fraction of it.
  constexpr std::int64_t kIn = 8192;
  const std::int64_t out = quick ? 512 : 16384;
  // The roof is measured in one second and the products in another, and a shared machine changes in between.
  // This finds wrong units, not slow code.
  const double slack = quick ? 1000.0 : 10.0;
  const std::vector<std::int64_t> batches = {1, 2, 4, 8, 16, 32, 64};
  {
    // A stub says so before two seconds of measuring.
    FakeLinear fake(8, 8, 64);
    (void)lab01::measure_linear(8, 8, batches, 1, some_machine(), fake.linear(), fake.clock());
  }
  const kit::MachineCeilings machine = quick ? some_machine() : kit::measure_ceilings();
  const auto points = lab01::measure_linear(kIn, out, batches, 3, machine, kit::linear, kit::work_seconds);
  ASSERT_EQ(points.size(), batches.size());
  std::vector<double> intensity;
  std::vector<double> gflop_per_s;
  for (const auto& p : points) {
    EXPECT_GT(p.seconds, 0.0) << "batch " << p.batch;
    EXPECT_TRUE(std::isfinite(p.gflop_per_s)) << "batch " << p.batch;
    EXPECT_LE(p.gflop_per_s, slack * p.roof_gflop_per_s) << "batch " << p.batch << " lies far above the roof";
    if (!intensity.empty()) {
      EXPECT_GT(p.intensity, intensity.back()) << "intensity grows with the batch";
    }
    intensity.push_back(p.intensity);
    gflop_per_s.push_back(p.gflop_per_s);
  }
  if (quick) return;
  record_roof(machine, intensity.back());
  kit::testing::record_series("batch", std::vector<double>(batches.begin(), batches.end()));
  kit::testing::record_series("intensity", intensity);
  kit::testing::record_series("gflop_per_s", gflop_per_s);
}

TEST(Measure, RejectsWhatCannotBe) {
  FakeLinear fake(8, 4, 63);
  const std::vector<std::int64_t> one = {1};
  const auto measure = [&](std::int64_t in, std::int64_t out, const std::vector<std::int64_t>& batches,
                           int repeats, const kit::MachineCeilings& machine, const lab01::Clock& clock) {
    (void)lab01::measure_linear(in, out, batches, repeats, machine, fake.linear(), clock);
  };
  const kit::MachineCeilings good = some_machine();
  EXPECT_TRUE(throws_error([&] { measure(0, 4, one, 1, good, fake.clock()); }, "in")) << "in 0";
  EXPECT_TRUE(throws_error([&] { measure(8, -4, one, 1, good, fake.clock()); }, "-4")) << "out -4";
  EXPECT_TRUE(throws_error([&] { measure(8, 4, {1, -2}, 1, good, fake.clock()); }, "-2")) << "a batch of -2";
  EXPECT_TRUE(throws_error([&] { measure(8, 4, one, 0, good, fake.clock()); }, "n_repeats")) << "no repeats";
  EXPECT_TRUE(throws_error([&] { measure(8, 4, one, 1, {}, fake.clock()); }))
      << "a machine that was not measured";
  EXPECT_TRUE(throws_error([&] { measure(8, 4, one, 1, good, [] { return 1.0; }); }))
      << "a clock that stands still";
}

}  // namespace
