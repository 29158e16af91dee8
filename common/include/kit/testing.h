#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "kit/compare.h"
#include "kit/rng.h"

/// What the graded tests share. Link kit_testing_main for a main() that knows --kit_seed.
namespace kit::testing {

/// Seed of this run: --kit_seed=N on the command line, else KIT_SEED, else 1.
std::uint64_t seed();
/// A generator for one purpose: the run's seed on a stream of its own, so that tests do not disturb each
/// other.
Rng make_rng(std::uint64_t stream);

/// Random normal tensor; every batch, head and layer gets other data.
Tensor<float> random_tensor(const Shape& shape, Rng& rng, float stddev = 1.0F);
/// An output to be written: all NaN, so that what is not written shows.
Tensor<float> nan_tensor(const Shape& shape);

/// compare() as a gtest assertion: EXPECT_TRUE(matches(got, expected, tolerance, mistakes)).
::testing::AssertionResult matches(TensorView<const float> got, TensorView<const float> expected,
                                   Tolerance tolerance, std::span<const KnownMistake> mistakes = {});

/// A wrong number with a known cause, which completes "the result matches ...": "the value in GiB".
struct KnownCount {
  std::string cause;
  std::int64_t count = 0;
};
struct KnownValue {
  std::string cause;
  double value = 0.0;
};

/// Exact equality of a count. A failure says both, their quotient, and the first known mistake that equals
/// `got` (and not `expected`).
::testing::AssertionResult matches_count(std::int64_t got, std::int64_t expected,
                                         std::span<const KnownCount> mistakes = {});

/// |got - expected| <= relative * |expected|; NaN never passes. A failure is explained in the same way.
::testing::AssertionResult matches_value(double got, double expected, double relative,
                                         std::span<const KnownValue> mistakes = {});

/// A milestone's measured value, and series for the report's figures; the grader reads them from the test's
/// record.
void record_value(const std::string& key, double value);
void record_series(const std::string& key, std::span<const double> values);

/// The shipped models: KIT_MODELS_DIR, else the source tree's models/.
std::filesystem::path models_dir();

/// Runs `statement`, which must throw kit::Error whose message contains `needle` (what the user must be
/// told). On anything else the assertion says what happened.
::testing::AssertionResult throws_error(const std::function<void()>& statement,
                                        const std::string& needle = "");

}  // namespace kit::testing
