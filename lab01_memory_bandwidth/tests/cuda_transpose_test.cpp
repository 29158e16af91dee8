#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "cuda_support.h"
#include "lab01/cuda_kernels.h"

namespace {

using kit::DeviceBuffer;
using kit::Shape;
using kit::Tensor;
using kit::simt::Access;
using kit::simt::Counters;
using kit::simt::Space;
using kit::testing::nan_device_buffer;
using kit::testing::refuses;
using lab01_tests::equals;
using lab01_tests::Operation;
using lab01_tests::Profile;
using lab01_tests::run;
using lab01_tests::writes_only_its_output;

Tensor<float> random_matrix(std::int64_t rows, std::int64_t cols, std::uint64_t stream) {
  kit::Rng rng = kit::testing::make_rng(stream);
  return kit::testing::random_tensor({rows, cols}, rng);
}

Tensor<float> transposed(const Tensor<float>& in) {
  Tensor<float> out({in.dim(1), in.dim(0)});
  for (std::int64_t i = 0; i < in.dim(0); ++i) {
    for (std::int64_t j = 0; j < in.dim(1); ++j) out(j, i) = in(i, j);
  }
  return out;
}

/// Of a square matrix: each 32 x 32 tile turned, but left where it was.
Tensor<float> turned_in_place(const Tensor<float>& in) {
  Tensor<float> out(in.shape());
  for (std::int64_t i = 0; i < in.dim(0); ++i) {
    for (std::int64_t j = 0; j < in.dim(1); ++j) out(i / 32 * 32 + j % 32, j / 32 * 32 + i % 32) = in(i, j);
  }
  return out;
}

void expect_transposes(const Operation& transpose, std::uint64_t stream) {
  // Square matrices of whole tiles first: what goes wrong there has a known look.
  for (const Shape& shape :
       {Shape{32, 32}, Shape{64, 64}, Shape{96, 96}, Shape{33, 33}, Shape{64, 32}, Shape{32, 96}, Shape{1, 1},
        Shape{1, 1000}, Shape{1000, 1}, Shape{31, 33}, Shape{100, 45}, Shape{65, 130}, Shape{0, 5}}) {
    const std::int64_t rows = shape[0];
    const std::int64_t cols = shape[1];
    SCOPED_TRACE(fmt::format("in is [{}, {}]", rows, cols));
    const Tensor<float> in = random_matrix(rows, cols, stream++);
    std::vector<kit::KnownMistake> mistakes;
    if (rows == cols) {
      mistakes.push_back({"the input, not transposed", in});
      if (rows % 32 == 0 && rows > 32)
        mistakes.push_back(
            {"tiles that are turned but stay in their place: the tile that is read at (blockIdx.y, "
             "blockIdx.x) belongs at (blockIdx.x, blockIdx.y)",
             turned_in_place(in)});
    }
    EXPECT_TRUE(equals(run(transpose, in, {cols, rows}), transposed(in), mistakes));
  }
}

// Whole tiles, not square, and rows of whole sectors. Each request of a warp moves 32 elements.
constexpr std::int64_t kRows = 96;
constexpr std::int64_t kCols = 160;
constexpr std::int64_t kWarps = kRows * kCols / 32;

Profile profile_of(const Operation& transpose, std::uint64_t stream) {
  const Tensor<float> in = random_matrix(kRows, kCols, stream);
  const Tensor<float> expected = transposed(in);
  return {transpose, in, {kCols, kRows}, &expected};
}

KIT_CUDA_TEST(TransposeCuda, NaiveTransposesAnySize) {
  expect_transposes(lab01::transpose_naive_cuda, 800);
}

KIT_CUDA_TEST(TransposeCuda, TiledTransposesAnySize) {
  expect_transposes(lab01::transpose_tiled_cuda, 820);
}

KIT_CUDA_TEST(TransposeCuda, PaddedTransposesAnySize) {
  expect_transposes(lab01::transpose_padded_cuda, 840);
}

KIT_CUDA_TEST(TransposeCuda, WriteOnlyTheirOutput) {
  const Tensor<float> in = random_matrix(50, 37, 860);
  EXPECT_TRUE(writes_only_its_output(lab01::transpose_naive_cuda, in, {37, 50})) << "transpose_naive_cuda";
  EXPECT_TRUE(writes_only_its_output(lab01::transpose_tiled_cuda, in, {37, 50})) << "transpose_tiled_cuda";
  EXPECT_TRUE(writes_only_its_output(lab01::transpose_padded_cuda, in, {37, 50})) << "transpose_padded_cuda";
}

KIT_CUDA_TEST(TransposeCuda, RejectShapesThatDoNotMatch) {
  const DeviceBuffer<float> in(random_matrix(1, 64, 861).span());
  DeviceBuffer<float> out = nan_device_buffer(64);
  const auto refuse = [&](const Shape& from, const Shape& to) {
    SCOPED_TRACE(fmt::format("from {} to {}", from.to_string(), to.to_string()));
    const kit::TensorView<const float> source(in.data(), from);
    const kit::TensorView<float> target(out.data(), to);
    EXPECT_TRUE(refuses([&] { lab01::transpose_naive_cuda(source, target); }, out)) << "transpose_naive_cuda";
    EXPECT_TRUE(refuses([&] { lab01::transpose_tiled_cuda(source, target); }, out)) << "transpose_tiled_cuda";
    EXPECT_TRUE(refuses([&] { lab01::transpose_padded_cuda(source, target); }, out))
        << "transpose_padded_cuda";
  };
  refuse({4, 6}, {4, 6});
  refuse({4, 6}, {6, 5});
  refuse({4, 6}, {5, 4});
  refuse({4, 6}, {24});
  refuse({24}, {4, 6});
}

KIT_CUDA_TEST(TransposeCuda, NaiveReadsRowsAndWritesColumns) {
  KIT_SKIP_WITHOUT_COUNTS();
  const Profile profile = profile_of(lab01::transpose_naive_cuda, 862);
  SCOPED_TRACE(profile.to_string());
  const Counters load = profile.total(Space::kGlobal, Access::kLoad);
  const Counters store = profile.total(Space::kGlobal, Access::kStore);
  std::string hint = "One warp should take 32 neighbours of a row of in.";
  if (load.sectors > store.sectors)
    hint =
        "The roles are exchanged: a warp reads a column and writes a row. Let threadIdx.x run along a row.";
  if (store.sectors == 16 * kWarps)
    hint = "16 sectors: a warp is spread over two rows. Make thread blocks 32 threads wide.";
  if (load.sectors == 4 * kWarps && store.sectors == 4 * kWarps)
    hint = "Neither side has a stride: this is the tiled transpose. Keep the naive one to compare.";
  EXPECT_EQ(load.sectors, 4 * kWarps) << "a warp reads 32 neighbours of a row: 4 sectors. " << hint;
  EXPECT_EQ(store.sectors, 32 * kWarps) << "it writes them a row of out apart: 32 sectors. " << hint;
}

KIT_CUDA_TEST(TransposeCuda, TiledTakesColumnsFromOneBank) {
  KIT_SKIP_WITHOUT_COUNTS();
  const Profile profile = profile_of(lab01::transpose_tiled_cuda, 863);
  SCOPED_TRACE(profile.to_string());
  const Counters load = profile.total(Space::kShared, Access::kLoad);
  const Counters store = profile.total(Space::kShared, Access::kStore);
  EXPECT_EQ(load.thread_accesses, kRows * kCols) << "each element is read from the tile once";
  EXPECT_EQ(store.thread_accesses, kRows * kCols) << "each element is put into the tile once";
  // A row of the tile is one wavefront, a column 32: one side of the turn has each.
  EXPECT_EQ(load.wavefronts + store.wavefronts, (1 + 32) * kWarps)
      << (load.wavefronts + store.wavefronts == 2 * kWarps
              ? "no bank conflicts: this is the padded transpose. Keep a tile of 32 x 32 floats to compare."
              : "a warp stores a row of the 32 x 32 tile in 1 wavefront and loads a column, one bank, in "
                "32.");
}

}  // namespace
