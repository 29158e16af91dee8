#include "kit/testing.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <string_view>

#include "testing_seed.h"

namespace kit::testing {

namespace {

std::uint64_t parse_seed(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  KIT_CHECK(error == std::errc() && end == text.data() + text.size(), "seed '{}' is not a number", text);
  return value;
}

std::uint64_t& current_seed() {
  static std::uint64_t value = [] {
    const char* text = std::getenv("KIT_SEED");
    return text == nullptr ? std::uint64_t{1} : parse_seed(text);
  }();
  return value;
}

/// |got - expected| <= relative * |expected|, false on NaN.
bool near(double got, double expected, double relative) {
  return got == expected || std::abs(got - expected) <= relative * std::abs(expected);
}

/// ", 8 times the expected one"; nothing where a quotient says nothing.
std::string quotient(double got, double expected) {
  if (expected == 0.0 || !std::isfinite(got / expected)) return "";
  return fmt::format(", {:.6g} times the expected", got / expected);
}

std::string likely_cause(const std::string& cause) {
  return fmt::format("\nLikely cause: the result matches {}.", cause);
}

}  // namespace

void set_seed(std::string_view text) {
  current_seed() = parse_seed(text);
}

std::uint64_t seed() {
  return current_seed();
}

Rng make_rng(std::uint64_t stream) {
  return Rng(seed(), stream);
}

Tensor<float> random_tensor(const Shape& shape, Rng& rng, float stddev) {
  Tensor<float> tensor(shape);
  rng.fill_normal(tensor.span(), stddev);
  return tensor;
}

Tensor<float> nan_tensor(const Shape& shape) {
  return Tensor<float>(shape, std::numeric_limits<float>::quiet_NaN());
}

::testing::AssertionResult matches(TensorView<const float> got, TensorView<const float> expected,
                                   Tolerance tolerance, std::span<const KnownMistake> mistakes) {
  const Comparison result = compare(got, expected, tolerance, mistakes);
  if (result.ok) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << result.message;
}

::testing::AssertionResult matches_count(std::int64_t got, std::int64_t expected,
                                         std::span<const KnownCount> mistakes) {
  if (got == expected) return ::testing::AssertionSuccess();
  std::string message = fmt::format("expected {}, got {}{}", expected, got,
                                    quotient(static_cast<double>(got), static_cast<double>(expected)));
  for (const KnownCount& mistake : mistakes) {
    if (got != mistake.count) continue;
    message += likely_cause(mistake.cause);
    break;
  }
  return ::testing::AssertionFailure() << message;
}

::testing::AssertionResult matches_value(double got, double expected, double relative,
                                         std::span<const KnownValue> mistakes) {
  if (near(got, expected, relative)) return ::testing::AssertionSuccess();
  std::string message = fmt::format("expected {:.9g}, got {:.9g}{}", expected, got, quotient(got, expected));
  for (const KnownValue& mistake : mistakes) {
    if (near(mistake.value, expected, relative) || !near(got, mistake.value, relative)) continue;
    message += likely_cause(mistake.cause);
    break;
  }
  return ::testing::AssertionFailure() << message;
}

void record_value(const std::string& key, double value) {
  ::testing::Test::RecordProperty(key, fmt::format("{}", value));
}

void record_series(const std::string& key, std::span<const double> values) {
  ::testing::Test::RecordProperty("series." + key, fmt::format("{}", fmt::join(values, ",")));
}

std::filesystem::path models_dir() {
  const char* directory = std::getenv("KIT_MODELS_DIR");
  return directory == nullptr ? KIT_MODELS_DIR : directory;
}

::testing::AssertionResult throws_error(const std::function<void()>& statement, const std::string& needle) {
  // NotImplemented and every other exception pass through: the test then fails with its own words.
  try {
    statement();
  } catch (const Error& error) {
    if (std::string_view(error.what()).find(needle) != std::string_view::npos)
      return ::testing::AssertionSuccess();
    return ::testing::AssertionFailure()
           << "the kit::Error should name '" << needle << "', it says: " << error.what();
  }
  return ::testing::AssertionFailure() << "nothing was thrown, a kit::Error was expected (use KIT_CHECK)";
}

}  // namespace kit::testing
