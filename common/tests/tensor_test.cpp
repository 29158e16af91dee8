#include "kit/tensor.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <numeric>
#include <vector>

namespace {

using kit::Shape;
using kit::Tensor;
using kit::TensorView;

TEST(Shape, SizeAndText) {
  EXPECT_EQ((Shape{2, 3, 4}).size(), 24);
  EXPECT_EQ((Shape{2, 3, 4}).to_string(), "[2, 3, 4]");
  EXPECT_EQ((Shape{5, 0}).size(), 0);
  EXPECT_EQ(Shape{}.size(), 1);
  EXPECT_EQ(Shape{}.to_string(), "[]");
}

TEST(Shape, RejectsTheImpossible) {
  EXPECT_THROW((Shape{1, 2, 3, 4, 5}), kit::Error);
  EXPECT_THROW((Shape{2, -1}), kit::Error);
  EXPECT_THROW((Shape{std::int64_t{1} << 32, std::int64_t{1} << 32}), kit::Error);
  EXPECT_NO_THROW((Shape{std::int64_t{1} << 32, 0, std::int64_t{1} << 32}));
}

TEST(Tensor, IsRowMajorAndAligned) {
  Tensor<float> t({2, 3, 4});
  std::iota(t.span().begin(), t.span().end(), 0.0F);
  EXPECT_EQ(t(1, 2, 3), 23.0F);
  EXPECT_EQ(t(0, 2, 1), 9.0F);
  EXPECT_EQ(t.row(1, 1)[2], 18.0F);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(t.data()) % 64, 0U);
}

TEST(Tensor, LargeOnesAreAlignedToHugePages) {
  const Tensor<float> t({4 << 20});
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(t.data()) % (2 << 20), 0U);
}

TEST(TensorView, ChecksTheSpanItIsGiven) {
  std::vector<float> data(6);
  EXPECT_NO_THROW((TensorView<float>(std::span<float>(data), {2, 3})));
  EXPECT_THROW((TensorView<float>(std::span<float>(data), {2, 4})), kit::Error);
}

TEST(TensorView, EmptyHasNoElements) {
  EXPECT_EQ(TensorView<float>().size(), 0);
  EXPECT_EQ(Tensor<float>().size(), 0);
}

TEST(TensorView, CloneIsIndependent) {
  Tensor<float> t({2}, 1.0F);
  const Tensor<float> copy = kit::clone(t.view());
  t(0) = 5.0F;
  EXPECT_EQ(copy(0), 1.0F);
}

TEST(Tensor, HoldsSmallTypes) {
  const Tensor<std::int8_t> bytes({3}, std::int8_t{-7});
  EXPECT_EQ(bytes(2), -7);
  const Tensor<kit::Half> halves({2}, kit::to_half(1.5F));
  EXPECT_EQ(kit::to_float(halves(1)), 1.5F);
}

}  // namespace
