#include <gtest/gtest.h>

#include <algorithm>

#include "cuda_support.h"
#include "lab04/cuda_kernels.h"
#include "lab04/quantized_products.h"

namespace {

using kit::DeviceBuffer;
using kit::Shape;
using kit::simt::Access;
using kit::simt::Space;
using kit::testing::LaunchCounts;
using kit::testing::nan_device_buffer;
using kit::testing::refuses;
using lab04_tests::counts_of;
using lab04_tests::Int8Mistake;
using lab04_tests::Int8Product;
using lab04_tests::random_int8_product;

// The sum is exact. It is rounded to float, and two factors follow: three roundings of 6e-8.
constexpr kit::Tolerance kTolerance{0.0, 4e-7};

std::vector<kit::KnownMistake> mistakes_of(const Int8Product& p) {
  const auto as_unsigned = [](std::int8_t code) { return int{static_cast<std::uint8_t>(code)}; };
  const std::vector<Int8Mistake> all = {
      {"codes of both sides taken for unsigned bytes: __dp4a of two ints multiplies signed ones",
       as_unsigned,
       as_unsigned,
       {}},
      {"codes of x taken for unsigned bytes", as_unsigned, {}, {}},
      {"codes of w taken for unsigned bytes", {}, as_unsigned, {}},
      {"a sum in 16 bits",
       {},
       {},
       [](std::int64_t sum) { return std::int64_t{static_cast<std::int16_t>(sum)}; }},
  };
  std::vector<kit::KnownMistake> known;
  known.reserve(all.size() + 2);
  for (const Int8Mistake& mistake : all) known.push_back({mistake.cause, reference(p, mistake)});
  Int8Product other = p;
  std::ranges::fill(other.x_scales, p.x_scales.front());
  known.push_back({"the scale of row 0 of x for every row", reference(other)});
  other = p;
  std::ranges::fill(other.w_scales, p.w_scales.front());
  known.push_back({"the scale of row 0 of w for every output", reference(other)});
  return known;
}

void expect_product(const Int8Product& p) {
  SCOPED_TRACE(fmt::format("n {}, out {}, in {}", p.xq.dim(0), p.wq.dim(0), p.xq.dim(1)));
  const kit::Tensor<float> expected = reference(p);
  const kit::Tensor<float> got = run(p);
  if (kit::compare(got, expected, kTolerance).ok) return;
  EXPECT_TRUE(kit::testing::matches(got, expected, kTolerance, mistakes_of(p)));
}

KIT_CUDA_TEST(LinearW8a8Cuda, MatchesTheReference) {
  expect_product(random_int8_product(64, 64, 128, 14300));
  expect_product(random_int8_product(5, 33, 64, 14301));
}

KIT_CUDA_TEST(LinearW8a8Cuda, LastTilesMayBeOfAnySize) {
  expect_product(random_int8_product(1, 1, 16, 14302));
  expect_product(random_int8_product(31, 7, 48, 14303));
  expect_product(random_int8_product(65, 70, 144, 14304));
  expect_product(random_int8_product(1, 100, 272, 14305));
}

KIT_CUDA_TEST(LinearW8a8Cuda, SumsHave32Bits) {
  Int8Product p = random_int8_product(3, 4, 2048, 14306);
  for (std::int8_t& code : p.xq.span()) code = 127;
  for (std::int8_t& code : p.wq.row(0)) code = 127;
  for (std::int8_t& code : p.wq.row(1)) code = -127;
  expect_product(p);
}

KIT_CUDA_TEST(LinearW8a8Cuda, ATileSharesWhatIsLoaded) {
  KIT_SKIP_WITHOUT_COUNTS();
  constexpr std::int64_t kN = 64;
  constexpr std::int64_t kOut = 128;
  constexpr std::int64_t kIn = 128;
  const LaunchCounts counts = counts_of(random_int8_product(kN, kOut, kIn, 14307));
  // Without tiles an output loads its row of x and its row of w. A tile of 16 x 16 outputs, the smallest that
  // is worth its name, loads a sixteenth. Scales and a rest of one load in ten are nobody's concern.
  const std::int64_t without = 2 * kIn * kN * kOut;
  const std::int64_t loaded = counts.bytes(Space::kGlobal, Access::kLoad);
  const std::int64_t scales = 2 * 4 * kN * kOut;
  EXPECT_LE(loaded, without / 16 * 11 / 10 + scales)
      << "bytes loaded by threads; " << without << " would be a row of each side for every output\n"
      << counts.to_string()
      << "Let a thread block put rows of both sides into shared memory, and use each for a tile of outputs.";
  EXPECT_EQ(counts.bytes(Space::kGlobal, Access::kStore), 4 * kN * kOut)
      << "bytes stored: y, each element once\n"
      << counts.to_string();
}

/// All arguments in device memory, with shapes that a test can bend.
struct Arguments {
  DeviceBuffer<std::int8_t> codes_memory{std::span<const std::int8_t>(std::vector<std::int8_t>(300'000, 1))};
  DeviceBuffer<float> scales_memory{std::span<const float>(std::vector<float>(64, 1.0F))};
  DeviceBuffer<float> y_memory = nan_device_buffer(64);
  Shape xq{3, 32}, x_scales{3}, wq{5, 32}, w_scales{5}, y{3, 5};

  void call() {
    lab04::linear_w8a8_cuda({codes_memory.data(), xq}, {scales_memory.data(), x_scales},
                            {codes_memory.data(), wq}, {scales_memory.data(), w_scales},
                            {y_memory.data(), y});
  }
};

KIT_CUDA_TEST(LinearW8a8Cuda, RejectsShapesThatDisagree) {
  const auto expect_refuses = [](const char* what, const std::function<void(Arguments&)>& bend) {
    Arguments arguments;
    bend(arguments);
    EXPECT_TRUE(refuses([&] { arguments.call(); }, arguments.y_memory)) << what;
  };
  expect_refuses("xq is [n * in]", [](Arguments& a) { a.xq = {96}; });
  expect_refuses("rows of 32 and of 48", [](Arguments& a) { a.wq = {5, 48}; });
  expect_refuses("one scale for all of x", [](Arguments& a) { a.x_scales = {1}; });
  expect_refuses("4 scales for 5 rows of w", [](Arguments& a) { a.w_scales = {4}; });
  expect_refuses("y is [out, n]", [](Arguments& a) { a.y = {5, 3}; });
  expect_refuses("rows of 24, must be a multiple of 16", [](Arguments& a) {
    a.xq = {3, 24};
    a.wq = {5, 24};
  });
  const std::int64_t too_long = (lab04::kMaxInt8SumLength / 16 + 1) * 16;
  expect_refuses("a sum that an int32 may not hold", [=](Arguments& a) {
    a.xq = a.wq = {1, too_long};
    a.x_scales = a.w_scales = {1};
    a.y = {1, 1};
  });
}

KIT_CUDA_TEST(LinearW8a8Cuda, NoOutputsNoLaunch) {
  KIT_SKIP_WITHOUT_COUNTS();
  Arguments a;
  a.xq = {0, 32};
  a.x_scales = {0};
  a.y = {0, 5};
  EXPECT_TRUE(kit::simt::profile([&] { a.call(); }).empty()) << "a launch although there is nothing to do";
}

}  // namespace
