#include "kit/testing.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
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
