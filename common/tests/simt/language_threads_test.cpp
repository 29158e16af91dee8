#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <numeric>
#include <vector>

#include "device_data.h"
#include "kit/cuda/testing.h"
#include "language.h"

// What threads do together, on the executor and on a GPU, against plain host code.
namespace {

using language::Floats;
using language::Integers;
using language::on_device;
using language::unwritten;

KIT_CUDA_TEST(CudaLanguage, ShufflesReadTheNamedLane) {
  Floats values(32);
  for (std::size_t i = 0; i < 32; ++i) values[i] = static_cast<float>(i * i) + 0.5F;
  const auto in = on_device(values);
  auto out = unwritten<float>(language::kShuffles * 32);
  language::shuffles(in.view({32}), out.view({language::kShuffles, 32}));
  const Floats got = out.to_host();
  for (std::size_t lane = 0; lane < 32; ++lane) {
    // Out of range a lane keeps its own value.
    const std::array<std::size_t, language::kShuffles> source = {
        5, lane >= 3 ? lane - 3 : lane, lane + 3 < 32 ? lane + 3 : lane, lane ^ 1U, lane / 8 * 8 + 2, 31, 7};
    for (std::size_t k = 0; k < source.size(); ++k)
      EXPECT_EQ(got[k * 32 + lane], values[source[k]]) << "shuffle " << k << ", lane " << lane;
  }
}

void check_votes(const Integers& values) {
  const auto in = on_device(values);
  auto out = unwritten<std::int32_t>(language::kVotes * 32);
  language::votes(in.view({32}), out.view({language::kVotes, 32}));
  const Integers got = out.to_host();
  std::uint32_t odd = 0;
  int odd_lanes = 0;
  for (std::size_t i = 0; i < 32; ++i) {
    if (values[i] % 2 != 0) odd |= 1U << i;
    if (i % 2 == 1) odd_lanes += values[i];
  }
  const auto fold = [&](auto op) { return std::accumulate(values.begin() + 1, values.end(), values[0], op); };
  const int least = *std::min_element(values.begin(), values.end());
  for (std::size_t lane = 0; lane < 32; ++lane) {
    std::uint32_t alike = 0;
    for (std::size_t i = 0; i < 32; ++i) alike |= values[i] % 4 == values[lane] % 4 ? 1U << i : 0U;
    const Integers expected = {std::bit_cast<int>(odd),
                               least >= 0 ? 1 : 0,
                               least < 0 ? 1 : 0,
                               std::bit_cast<int>(alike),
                               fold(std::plus<>()),
                               least,
                               *std::max_element(values.begin(), values.end()),
                               fold(std::bit_and<>()),
                               fold(std::bit_or<>()),
                               fold(std::bit_xor<>()),
                               lane % 2 == 1 ? odd_lanes : 0};
    for (std::size_t k = 0; k < expected.size(); ++k)
      EXPECT_EQ(got[k * 32 + lane], expected[k]) << "vote " << k << ", lane " << lane;
  }
}

KIT_CUDA_TEST(CudaLanguage, VotesAndReductionsSeeTheWholeWarp) {
  Integers values(32);
  for (int i = 0; i < 32; ++i) values[static_cast<std::size_t>(i)] = i * i * 7 + 64;
  check_votes(values);
  values[9] = -3;
  check_votes(values);
}

KIT_CUDA_TEST(CudaLanguage, AtomicsLoseNoUpdate) {
  constexpr std::size_t kN = 1024;
  Integers values(kN);
  for (std::size_t i = 0; i < kN; ++i) values[i] = static_cast<int>(i * 37 % 1021) + 16;
  const auto in = on_device(values);
  auto totals = on_device(Integers{0, 1 << 30, -1, -1, 0, 0, 0, 0, -1, -1});
  language::atomics(in.view({kN}), totals.view({language::kAtomics}));
  const Integers got = totals.to_host();
  const auto fold = [&](int start, auto op) {
    return std::accumulate(values.begin(), values.end(), start, op);
  };
  const int most = *std::max_element(values.begin(), values.end());
  const Integers expected = {fold(0, std::plus<>()),
                             *std::min_element(values.begin(), values.end()),
                             most,
                             fold(-1, std::bit_and<>()),
                             fold(0, std::bit_or<>()),
                             fold(0, std::bit_xor<>()),
                             -fold(0, std::plus<>()),
                             kN % 100,  // atomicInc to 99 counts modulo 100
                             most};
  for (std::size_t k = 0; k < expected.size(); ++k) EXPECT_EQ(got[k], expected[k]) << "atomic " << k;
  EXPECT_NE(std::find(values.begin(), values.end(), got[9]), values.end()) << "atomicExch left " << got[9];
}

KIT_CUDA_TEST(CudaLanguage, FloatAtomicsAddInAnyOrder) {
  constexpr std::size_t kN = 512;
  Floats values(kN);
  for (std::size_t i = 0; i < kN; ++i) values[i] = 0.25F * static_cast<float>(i) - 31.125F;  // sums are exact
  const auto in = on_device(values);
  auto sums = on_device(Floats{0.0F, std::numeric_limits<float>::infinity()});
  language::float_atomics(in.view({kN}), sums.view({2}));
  const Floats got = sums.to_host();
  EXPECT_EQ(got[0], std::accumulate(values.begin(), values.end(), 0.0F));
  EXPECT_EQ(got[1], 0.125F);
}

KIT_CUDA_TEST(CudaLanguage, DynamicSharedMemoryBelongsToTheBlock) {
  constexpr std::size_t kN = 1024;
  Floats values(kN);
  std::iota(values.begin(), values.end(), 1.0F);
  const auto in = on_device(values);
  auto out = unwritten<float>(kN);
  language::reverse_in_dynamic_shared(in.view({kN}), out.view({kN}));
  Floats expected = values;
  for (auto block = expected.begin(); block != expected.end(); block += 256) std::reverse(block, block + 256);
  EXPECT_EQ(out.to_host(), expected);
}

KIT_CUDA_TEST(CudaLanguage, GridsHaveThreeDimensions) {
  auto out = unwritten<std::int32_t>(6 * 4 * 12);
  language::three_dimensions(out.view({6, 4, 12}));
  const Integers got = out.to_host();
  for (int z = 0; z < 6; ++z) {
    for (int y = 0; y < 4; ++y) {
      for (int x = 0; x < 12; ++x)
        EXPECT_EQ(got[static_cast<std::size_t>((z * 4 + y) * 12 + x)], 10000 * z + 100 * y + x);
    }
  }
}

KIT_CUDA_TEST(CudaLanguage, BarriersVote) {
  for (const int zero_at : {-1, 200}) {
    Integers values(256);
    for (int i = 0; i < 256; ++i) values[static_cast<std::size_t>(i)] = i % 3 == 0 ? -9 : zero_at < 0 ? 7 : 5;
    if (zero_at >= 0) values[static_cast<std::size_t>(zero_at)] = 0;
    const auto in = on_device(values);
    auto out = unwritten<std::int32_t>(3);
    language::barriers_with_votes(in.view({256}), out.view({3}));
    const auto n_positive = std::count_if(values.begin(), values.end(), [](int x) { return x > 0; });
    EXPECT_EQ(out.to_host(),
              (Integers{static_cast<int>(n_positive), zero_at < 0 ? 1 : 0, zero_at < 0 ? 1 : 0}));
  }
}

// Small integers: products and sums are exact in any order.
KIT_CUDA_TEST(CudaLanguage, WarpsMultiplyMatrices) {
  Floats a(256), b(256), c(256);
  for (std::size_t i = 0; i < 256; ++i) {
    a[i] = static_cast<float>(i * 7 % 23) - 11.0F;
    b[i] = static_cast<float>(i * 5 % 19) - 9.0F;
    c[i] = static_cast<float>(i);
  }
  Floats expected(std::size_t{256} * language::kMatrixProducts);
  for (std::size_t row = 0; row < 16; ++row) {
    for (std::size_t column = 0; column < 16; ++column) {
      float product = c[row * 16 + column];
      float by_columns = product;
      for (std::size_t k = 0; k < 16; ++k) {
        product += a[row * 16 + k] * b[k * 16 + column];
        by_columns += a[k * 16 + row] * b[column * 16 + k];
      }
      expected[row * 16 + column] = product;
      expected[256 + row * 16 + column] = by_columns;
      expected[512 + column * 16 + row] = 2.0F * product;
    }
  }
  const auto on_a = on_device(a);
  const auto on_b = on_device(b);
  const auto on_c = on_device(c);
  auto out = unwritten<float>(std::int64_t{256} * language::kMatrixProducts);
  language::matrix_products(on_a.view({16, 16}), on_b.view({16, 16}), on_c.view({16, 16}),
                            out.view({language::kMatrixProducts, 16, 16}));
  EXPECT_EQ(out.to_host(), expected);
}

}  // namespace
