#include "kit/heap_usage.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <vector>

#include "kit/tensor.h"

namespace {

constexpr std::int64_t kMebibyte = std::int64_t{1} << 20;
// What the C library adds to a block, and what is allocated beside it.
constexpr std::int64_t kSlack = 64 * 1024;

/// Bytes by which `body` raised the peak.
template <class Body>
std::int64_t peak_of(const Body& body) {
  kit::reset_heap_peak();
  const std::int64_t before = kit::heap_usage().live_bytes;
  body();
  return kit::heap_usage().peak_bytes - before;
}

/// So that no compiler leaves an allocation out that nobody looks at.
void look_at(const void* pointer) {
  asm volatile("" : : "g"(pointer) : "memory");
}

void expect_near(std::int64_t got, std::int64_t expected) {
  EXPECT_LT(std::abs(got - expected), kSlack) << got << " bytes, want about " << expected;
}

TEST(HeapUsage, SeesContainersAndTensors) {
  expect_near(peak_of([] {
                std::vector<char> x(kMebibyte);
                look_at(x.data());
              }),
              kMebibyte);
  expect_near(peak_of([] { kit::Tensor<float> x({256, 1024}); }), kMebibyte);
  expect_near(kit::heap_usage().largest_bytes, kMebibyte);
}

TEST(HeapUsage, AddsManyRows) {
  expect_near(peak_of([] { std::vector<std::vector<char>> rows(1024, std::vector<char>(1024)); }), kMebibyte);
}

TEST(HeapUsage, SeesTheFunctionsOfC) {
  using Free = decltype(&std::free);
  expect_near(peak_of([] {
                std::unique_ptr<void, Free> x(std::malloc(kMebibyte), std::free);
                look_at(x.get());
              }),
              kMebibyte);
  expect_near(peak_of([] {
                std::unique_ptr<void, Free> x(std::calloc(1024, 1024), std::free);
                look_at(x.get());
              }),
              kMebibyte);
  expect_near(peak_of([] {
                void* grown = std::realloc(std::malloc(100), kMebibyte);
                look_at(grown);
                std::free(grown);
              }),
              kMebibyte);
}

TEST(HeapUsage, ForgetsWhatWasFreed) {
  const std::int64_t before = kit::heap_usage().live_bytes;
  {
    std::vector<char> x(kMebibyte);
    look_at(x.data());
  }
  expect_near(kit::heap_usage().live_bytes, before);
  kit::reset_heap_peak();
  EXPECT_LT(kit::heap_usage().largest_bytes, kSlack);
}

}  // namespace
