#include "lab01/roofline.h"

#include <gtest/gtest.h>

#include <limits>

#include "kit/device_table.h"
#include "reference.h"

namespace {

using kit::testing::matches_value;
using kit::testing::throws_error;
using lab01::Bound;
using lab01::Roof;
using namespace lab01_tests;  // NOLINT(google-build-using-namespace): the lab's own test helpers

constexpr double kExact = 1e-12;  // a handful of double operations, 1e-16 each
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

Roof random_roof(kit::Rng& rng) {
  return {(1 + 999 * rng.uniform()) * 1e12, (0.1 + 5 * rng.uniform()) * 1e12};
}

TEST(Roofline, IntensityIsFlopsPerByte) {
  kit::Rng rng = kit::testing::make_rng(20);
  for (int i = 0; i < 20; ++i) {
    const double flops = 1e9 * (1 + rng.uniform());
    const double bytes = 1e7 * (1 + rng.uniform());
    EXPECT_TRUE(
        matches_value(lab01::arithmetic_intensity(flops, bytes), flops / bytes, kExact,
                      std::vector<KnownValue>{{"bytes per FLOP; it is FLOPs per byte", bytes / flops}}));
  }
  EXPECT_EQ(lab01::arithmetic_intensity(0.0, 8.0), 0.0) << "a copy computes nothing";
}

void expect_ridge(const Roof& roof) {
  const double expected = roof.peak_flop_per_s / roof.bandwidth_bytes_per_s;
  EXPECT_TRUE(matches_value(
      lab01::ridge_point(roof), expected, kExact,
      std::vector<KnownValue>{
          {"bandwidth over peak: the ridge point upside down; it is FLOPs for each byte", 1 / expected},
          {"the ridge of a peak with sparsity, twice the dense one", 2 * expected},
          {"the ridge of multiply-adds; each is 2 FLOPs", expected / 2}}));
}

TEST(Roofline, RidgeIsPeakOverBandwidth) {
  kit::Rng rng = kit::testing::make_rng(21);
  for (int i = 0; i < 20; ++i) expect_ridge(random_roof(rng));
}

TEST(Roofline, RidgeOfAnA100) {
  // 156 is what the round 2 TB/s gives. The data sheet's 2,039 GB/s of the 80 GB SXM module give 153.
  EXPECT_TRUE(matches_value(
      lab01::ridge_point({312e12, 2.0e12}), 156.0, kExact,
      std::vector<KnownValue>{{"the ridge point upside down", 1.0 / 156.0},
                              {"the ridge of a peak with sparsity, twice the dense one", 312.0}}));
  const kit::Device& a100 = kit::find_device("a100-80gb");
  const Roof roof{kit::peak_flop_per_s(a100, kit::NumberFormat::kFp16), a100.bandwidth_bytes_per_s};
  EXPECT_NEAR(lab01::ridge_point(roof), 153.016, 1e-3);
}

TEST(Roofline, AttainableIsTheLowerRoof) {
  kit::Rng rng = kit::testing::make_rng(22);
  for (int i = 0; i < 20; ++i) {
    const Roof roof = random_roof(rng);
    const double ridge = roof.peak_flop_per_s / roof.bandwidth_bytes_per_s;
    const double low = ridge * rng.uniform();
    const double high = ridge * (1 + 10 * rng.uniform());
    EXPECT_TRUE(
        matches_value(lab01::attainable_flop_per_s(roof, low), low * roof.bandwidth_bytes_per_s, kExact,
                      std::vector<KnownValue>{{"the peak, although memory cannot feed it at this intensity",
                                               roof.peak_flop_per_s}}))
        << "below the ridge";
    EXPECT_TRUE(
        matches_value(lab01::attainable_flop_per_s(roof, high), roof.peak_flop_per_s, kExact,
                      std::vector<KnownValue>{{"intensity times bandwidth, which is more than the peak",
                                               high * roof.bandwidth_bytes_per_s}}))
        << "above the ridge";
  }
  EXPECT_EQ(lab01::attainable_flop_per_s({1e12, 1e11}, 0.0), 0.0);
}

TEST(Roofline, BoundChangesAtTheRidge) {
  kit::Rng rng = kit::testing::make_rng(23);
  for (int i = 0; i < 20; ++i) {
    const Roof roof = random_roof(rng);
    const double ridge = roof.peak_flop_per_s / roof.bandwidth_bytes_per_s;
    EXPECT_EQ(lab01::bound(roof, ridge * 0.999), Bound::kMemory)
        << "just below the ridge memory is the limit";
    EXPECT_EQ(lab01::bound(roof, ridge * 1.001), Bound::kCompute)
        << "just above the ridge arithmetic is the limit";
  }
  EXPECT_EQ(lab01::bound({1e12, 1e11}, 10.0), Bound::kCompute) << "at the ridge itself: kCompute";
  EXPECT_EQ(lab01::bound({1e12, 1e11}, 0.0), Bound::kMemory);
}

TEST(Roofline, FloorIsTheSlowerOfTheTwo) {
  kit::Rng rng = kit::testing::make_rng(24);
  for (int i = 0; i < 20; ++i) {
    const Roof roof = random_roof(rng);
    const double flops = 1e12 * (1 + 100 * rng.uniform());
    const double bytes = 1e9 * (1 + 1000 * rng.uniform());
    const double compute = 1e3 * flops / roof.peak_flop_per_s;
    const double memory = 1e3 * bytes / roof.bandwidth_bytes_per_s;
    EXPECT_TRUE(
        matches_value(lab01::time_floor_ms(roof, flops, bytes), std::max(compute, memory), kExact,
                      std::vector<KnownValue>{
                          {"the sum of both times; they overlap", compute + memory},
                          {"the faster of the two", std::min(compute, memory)},
                          {"seconds where milliseconds are asked for", std::max(compute, memory) / 1e3}}));
  }
  EXPECT_TRUE(matches_value(lab01::time_floor_ms({312e12, 2e12}, 0.0, 14e9), 7.0, kExact));
}

TEST(Roofline, RejectsWhatCannotBe) {
  const Roof good{1e12, 1e11};
  EXPECT_TRUE(throws_error([] { (void)lab01::arithmetic_intensity(1.0, 0.0); }, "bytes")) << "0 bytes";
  EXPECT_TRUE(throws_error([] { (void)lab01::arithmetic_intensity(-1.0, 1.0); }, "-1")) << "-1 FLOPs";
  EXPECT_TRUE(throws_error([] { (void)lab01::arithmetic_intensity(kNan, 1.0); }, "nan")) << "NaN FLOPs";
  EXPECT_TRUE(throws_error([] { (void)lab01::ridge_point({0.0, 1e11}); }, "peak")) << "peak 0";
  EXPECT_TRUE(throws_error(
      [] {
        (void)lab01::ridge_point({1e12, -1e11});
      },
      "bandwidth"))
      << "negative bandwidth";
  EXPECT_TRUE(throws_error([] { (void)lab01::ridge_point({kInfinity, 1e11}); }, "inf")) << "infinite peak";
  EXPECT_TRUE(throws_error([&] { (void)lab01::attainable_flop_per_s(good, -2.0); }, "-2")) << "intensity -2";
  EXPECT_TRUE(throws_error([&] { (void)lab01::bound(good, kNan); }, "nan")) << "intensity NaN";
  EXPECT_TRUE(throws_error([&] { (void)lab01::time_floor_ms(good, 1.0, 0.0); }, "bytes")) << "0 bytes";
}

}  // namespace
