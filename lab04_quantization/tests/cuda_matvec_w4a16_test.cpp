#include <gtest/gtest.h>

#include "cuda_support.h"
#include "lab04/cuda_kernels.h"

namespace {

using kit::DeviceBuffer;
using kit::Shape;
using kit::simt::Access;
using kit::simt::Space;
using kit::testing::LaunchCounts;
using kit::testing::nan_device_buffer;
using kit::testing::refuses;
using lab04_tests::counts_of;
using lab04_tests::Int4Matvec;
using lab04_tests::Int4Mistake;
using lab04_tests::random_int4_matvec;

// Results are about 1. In whatever order up to 8192 products are added, the roundings (6e-8 each of a partial
// sum) come to a few 1e-6, also where codes carry an offset that is subtracted at the end. The mistakes are
// off by 1e-2 and more.
constexpr kit::Tolerance kTolerance{3e-5, 3e-5};

std::vector<kit::KnownMistake> mistakes_of(const Int4Matvec& w) {
  const std::int64_t n_groups = w.scales.dim(1);
  const std::int64_t group_size = w.codes.dim(1) / n_groups;
  const std::vector<Int4Mistake> all = {
      {"the two codes of a byte exchanged: the first is its low half",
       [&](auto row, auto i) { return w.codes(row, i ^ 1); },
       {}},
      {"codes from 0 to 15: the sign of a half byte is lost",
       [&](auto row, auto i) { return w.codes(row, i) & 0xF; },
       {}},
      {"codes minus 8, as if they were unsigned with a zero point; they are two's complement",
       [&](auto row, auto i) { return (w.codes(row, i) & 0xF) - 8; },
       {}},
      {"the scale of group 0 for every group of a row", {}, [&](auto row, auto) { return w.scales(row, 0); }},
      {"the scale of the next group",
       {},
       [&](auto row, auto i) { return w.scales(row, std::min(i / group_size + 1, n_groups - 1)); }},
      {"the scales of row 0 for every row", {}, [&](auto, auto i) { return w.scales(0, i / group_size); }},
      {"weights without their scales", {}, [](auto, auto) { return 1.0F; }},
  };
  std::vector<kit::KnownMistake> known;
  known.reserve(all.size());
  for (const Int4Mistake& mistake : all) known.push_back({mistake.cause, reference(w, mistake)});
  return known;
}

void expect_product(std::int64_t out, std::int64_t in, std::int64_t group_size, std::uint64_t stream) {
  SCOPED_TRACE(fmt::format("out {}, in {}, groups of {}", out, in, group_size));
  const Int4Matvec w = random_int4_matvec(out, in, group_size, stream);
  const kit::Tensor<float> expected = reference(w);
  const kit::Tensor<float> got = run(w);
  if (kit::compare(got, expected, kTolerance).ok) return;
  EXPECT_TRUE(kit::testing::matches(got, expected, kTolerance, mistakes_of(w)));
}

KIT_CUDA_TEST(MatvecW4a16Cuda, MatchesTheReference) {
  expect_product(33, 256, 64, 14200);
  expect_product(16, 1024, 128, 14201);
  expect_product(70, 128, 32, 14202);
}

KIT_CUDA_TEST(MatvecW4a16Cuda, AnyNumberOfRowsAndInputs) {
  expect_product(1, 32, 32, 14203);
  expect_product(3, 96, 32, 14204);
  expect_product(31, 1056, 96, 14205);
  expect_product(5, 4128, 32, 14206);
  expect_product(2, 8192, 128, 14207);
}

KIT_CUDA_TEST(MatvecW4a16Cuda, AGroupMayBeTheWholeRow) {
  expect_product(9, 512, 512, 14208);
  expect_product(4, 4160, 4160, 14209);
}

KIT_CUDA_TEST(MatvecW4a16Cuda, StoresNothingButTheResult) {
  KIT_SKIP_WITHOUT_COUNTS();
  constexpr std::int64_t kOut = 24;
  constexpr std::int64_t kIn = 512;
  const LaunchCounts counts = counts_of(random_int4_matvec(kOut, kIn, 64, 14210));
  const std::int64_t stored = counts.bytes(Space::kGlobal, Access::kStore);
  const std::vector<kit::testing::KnownCount> mistakes = {
      {"weights written to device memory as floats: they become numbers in registers, where the product is",
       4 * (kOut + kOut * kIn)},
      {"weights written to device memory in 16 bits: they become numbers in registers, where the product is",
       4 * kOut + 2 * kOut * kIn},
  };
  EXPECT_TRUE(kit::testing::matches_count(stored, 4 * kOut, mistakes))
      << "bytes stored in device memory: y, each element once\n"
      << counts.to_string();
}

/// All arguments in device memory, with shapes that a test can bend.
struct Arguments {
  DeviceBuffer<std::uint8_t> codes_memory{std::span<const std::uint8_t>(std::vector<std::uint8_t>(4096, 1))};
  DeviceBuffer<kit::Half> scales_memory{
      std::span<const kit::Half>(std::vector<kit::Half>(4096, kit::to_half(1.0F)))};
  DeviceBuffer<float> x_memory{std::span<const float>(std::vector<float>(4096, 1.0F))};
  DeviceBuffer<float> y_memory = nan_device_buffer(4096);
  Shape codes{8, 64}, scales{8, 4}, x{128}, y{8};

  void call() {
    lab04::matvec_w4a16_cuda({codes_memory.data(), codes}, {scales_memory.data(), scales},
                             {x_memory.data(), x}, {y_memory.data(), y});
  }
};

KIT_CUDA_TEST(MatvecW4a16Cuda, RejectsShapesThatDisagree) {
  const auto expect_refuses = [](const char* what, const std::function<void(Arguments&)>& bend) {
    Arguments arguments;
    bend(arguments);
    EXPECT_TRUE(refuses([&] { arguments.call(); }, arguments.y_memory)) << what;
  };
  expect_refuses("codes are [out * in / 2]", [](Arguments& a) { a.codes = {512}; });
  expect_refuses("scales of 7 rows for codes of 8", [](Arguments& a) { a.scales = {7, 4}; });
  expect_refuses("x has one input for each byte, a byte has two codes", [](Arguments& a) { a.x = {64}; });
  expect_refuses("y has one row more", [](Arguments& a) { a.y = {9}; });
  expect_refuses("no groups", [](Arguments& a) { a.scales = {8, 0}; });
  expect_refuses("3 groups do not divide 128 inputs", [](Arguments& a) { a.scales = {8, 3}; });
  expect_refuses("groups of 16 inputs, must be a multiple of 32", [](Arguments& a) { a.scales = {8, 8}; });
}

KIT_CUDA_TEST(MatvecW4a16Cuda, NoRowsNoLaunch) {
  KIT_SKIP_WITHOUT_COUNTS();
  Arguments a;
  a.codes = {0, 64};
  a.scales = {0, 4};
  a.y = {0};
  EXPECT_TRUE(kit::simt::profile([&] { a.call(); }).empty()) << "a launch although there is nothing to do";
}

}  // namespace
