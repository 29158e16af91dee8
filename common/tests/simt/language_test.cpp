#include "language.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kit/cuda/testing.h"
#include "kit/dtype.h"

// CUDA's language, on the executor and on a GPU, against plain host code.
namespace {

using kit::DeviceBuffer;
using Floats = std::vector<float>;
using Integers = std::vector<std::int32_t>;

template <class T>
DeviceBuffer<T> on_device(const std::vector<T>& values) {
  return DeviceBuffer<T>(std::span<const T>(values));
}

template <class T>
DeviceBuffer<T> unwritten(std::int64_t n) {
  DeviceBuffer<T> buffer(n);
  buffer.fill_bytes(0xFF);
  return buffer;
}

/// Among the neighbours of a first guess the one nearest to `exact`, an even last bit in a tie: the
/// definition of rounding, without the kit's or the hardware's arithmetic.
template <class T, class Convert>
float nearest(double exact, Convert guess) {
  const T first = guess(static_cast<float>(exact));
  float best = kit::to_float(first);
  std::uint16_t best_bits = first.bits;
  for (const int step : {-1, 1}) {
    const auto bits = static_cast<std::uint16_t>(first.bits + step);
    const float candidate = kit::to_float(T{bits});
    const double gain =
        std::fabs(static_cast<double>(best) - exact) - std::fabs(static_cast<double>(candidate) - exact);
    if (gain > 0.0 || (gain == 0.0 && best_bits % 2 == 1)) {
      best = candidate;
      best_bits = bits;
    }
  }
  return best;
}
float nearest_half(double exact) {
  return nearest<kit::Half>(exact, kit::to_half);
}
float nearest_bfloat16(double exact) {
  return nearest<kit::BFloat16>(exact, [](float x) { return kit::to_bfloat16(x); });
}

/// n values of both signs between 1/8 and 8, rounded to 16 bits.
Floats random_values(std::int64_t n, std::uint64_t stream, float (*round)(double)) {
  kit::Rng rng = kit::testing::make_rng(stream);
  Floats values(static_cast<std::size_t>(n));
  for (float& value : values) {
    const double magnitude = std::exp2(6.0 * static_cast<double>(rng.uniform()) - 3.0);
    value = round(rng.uniform() < 0.5 ? -magnitude : magnitude);
  }
  return values;
}

struct Operands {
  Floats a, b, c;
  DeviceBuffer<float> on_device_a, on_device_b, on_device_c;
  explicit Operands(std::int64_t n, float (*round)(double))
      : a(random_values(n, 1, round)),
        b(random_values(n, 2, round)),
        c(random_values(n, 3, round)),
        on_device_a(on_device(a)),
        on_device_b(on_device(b)),
        on_device_c(on_device(c)) {}
};

using Function = void (*)(language::In, language::In, language::In, language::Out);

void check_scalars(Function function, float (*round)(double)) {
  constexpr std::int64_t kN = 999;
  const Operands x(kN, round);
  auto out = unwritten<float>(language::kHalfResults * kN);
  function(x.on_device_a.view({kN}), x.on_device_b.view({kN}), x.on_device_c.view({kN}),
           out.view({language::kHalfResults, kN}));
  const Floats got = out.to_host();
  for (std::size_t i = 0; i < kN; ++i) {
    const double a = x.a[i];
    const double b = x.b[i];
    const double c = x.c[i];
    const std::array<float, language::kHalfResults> expected = {round(a + b),
                                                                round(a - b),
                                                                round(a * b),
                                                                round(a / b),
                                                                round(a * b + c),
                                                                std::max(x.a[i], x.b[i]),
                                                                std::min(x.a[i], x.b[i]),
                                                                -x.a[i],
                                                                std::fabs(x.b[i]),
                                                                round(a + c),
                                                                a < b ? 1.0F : 0.0F};
    for (std::size_t k = 0; k < expected.size(); ++k)
      ASSERT_EQ(got[k * kN + i], expected[k]) << "operation " << k << " of " << a << ", " << b << ", " << c;
  }
}

void check_pairs(Function function, float (*round)(double)) {
  constexpr std::int64_t kN = 998;
  const Operands x(kN, round);
  auto out = unwritten<float>(language::kPairResults * kN);
  function(x.on_device_a.view({kN}), x.on_device_b.view({kN}), x.on_device_c.view({kN}),
           out.view({language::kPairResults, kN}));
  const Floats got = out.to_host();
  for (std::size_t i = 0; i < kN; ++i) {
    const double a = x.a[i];
    const double b = x.b[i];
    const std::array<float, language::kPairResults> expected = {round(a + b),
                                                                round(a - b),
                                                                round(a * b),
                                                                round(a * b + static_cast<double>(x.c[i])),
                                                                std::max(x.a[i], x.b[i]),
                                                                x.a[i ^ 1U]};
    for (std::size_t k = 0; k < expected.size(); ++k)
      ASSERT_EQ(got[k * kN + i], expected[k]) << "operation " << k << " of " << a << " and " << b;
  }
}

KIT_CUDA_TEST(CudaLanguage, HalfRoundsOnceToNearestEven) {
  check_scalars(language::half_arithmetic, nearest_half);
}
KIT_CUDA_TEST(CudaLanguage, BFloat16RoundsOnceToNearestEven) {
  check_scalars(language::bfloat16_arithmetic, nearest_bfloat16);
}
KIT_CUDA_TEST(CudaLanguage, Half2IsTwoHalves) {
  check_pairs(language::half2_arithmetic, nearest_half);
}
KIT_CUDA_TEST(CudaLanguage, BFloat162IsTwoBFloat16) {
  check_pairs(language::bfloat162_arithmetic, nearest_bfloat16);
}

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

KIT_CUDA_TEST(CudaLanguage, Dp4aMultipliesSignedBytesAndWraps) {
  const std::vector<std::array<std::int8_t, 4>> bytes = {
      {1, 2, 3, 4}, {-1, 2, -3, 4}, {127, 127, 127, 127}, {-128, -128, -128, -128}, {0, -1, 100, -100}};
  Integers a, b, c, expected;
  for (const auto& x : bytes) {
    for (const auto& y : bytes) {
      for (const int start : {0, -5, std::numeric_limits<int>::max()}) {
        a.push_back(std::bit_cast<std::int32_t>(x));
        b.push_back(std::bit_cast<std::int32_t>(y));
        c.push_back(start);
        std::int64_t sum = start;
        for (std::size_t i = 0; i < 4; ++i) sum += std::int64_t{x[i]} * y[i];
        expected.push_back(static_cast<std::int32_t>(static_cast<std::uint32_t>(sum)));
      }
    }
  }
  const auto n = static_cast<std::int64_t>(a.size());
  auto out = unwritten<std::int32_t>(n);
  language::dp4a(on_device(a).view({n}), on_device(b).view({n}), on_device(c).view({n}), out.view({n}));
  kit::cuda::synchronize();
  EXPECT_EQ(out.to_host(), expected);
}

KIT_CUDA_TEST(CudaLanguage, VectorsHaveFourElements) {
  constexpr std::int64_t kN = 300;
  Integers values(4 * kN);
  std::iota(values.begin(), values.end(), -600);
  Integers expected(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::size_t j = i % 4;
    expected[i] = 2 * values[i - j + 3 - j] + static_cast<int>(j);
  }
  const auto in = on_device(values);
  auto out = unwritten<std::int32_t>(4 * kN);
  language::int_vectors(in.view({kN, 4}), out.view({kN, 4}));
  EXPECT_EQ(out.to_host(), expected);

  const auto in_floats = on_device(Floats(values.begin(), values.end()));
  auto out_floats = unwritten<float>(4 * kN);
  language::vectors(in_floats.view({kN, 4}), out_floats.view({kN, 4}));
  EXPECT_EQ(out_floats.to_host(), Floats(expected.begin(), expected.end()));
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

KIT_CUDA_TEST(CudaLanguage, FastMathIsCloseToTheFunction) {
  constexpr std::int64_t kN = 500;
  Floats values(kN);
  for (std::size_t i = 0; i < kN; ++i) values[i] = 0.02F * static_cast<float>(i + 1);  // 0.02 .. 10
  const auto in = on_device(values);
  auto out = unwritten<float>(language::kFastMath * kN);
  language::fast_math(in.view({kN}), out.view({language::kFastMath, kN}));
  const Floats got = out.to_host();
  // CUDA C++ Programming Guide, "Mathematical functions": __expf errs by 2 + 1.16 |x| ulp; __logf and __log2f
  // by 2^-21.41 and 2^-22 absolutely on [0.5, 2], else by 3 ulp; __sinf and __cosf by 2^-21 within [-pi, pi]
  // and by more beyond, where the argument's reduction loses bits. 1e-4 of max(1, |value|) is over all of
  // these up to 10.
  constexpr double kTolerance = 1e-4;
  for (std::size_t i = 0; i < kN; ++i) {
    const double x = values[i];
    const std::array<double, language::kFastMath> expected = {
        std::exp(x), std::log(x),      std::log2(x), std::sin(x),
        std::cos(x), std::pow(x, 1.5), 1.0 / x,      1.0 / std::sqrt(x),
        1.0 / x,     x * x + 1.0,      std::tanh(x), std::clamp(x - 1.0, 0.0, 1.0)};
    for (std::size_t k = 0; k < expected.size(); ++k) {
      const double error = std::fabs(static_cast<double>(got[k * kN + i]) - expected[k]);
      EXPECT_TRUE(error <= kTolerance * std::max(1.0, std::fabs(expected[k])))
          << "function " << k << " of " << x << ": " << got[k * kN + i] << ", not " << expected[k];
    }
  }
}

KIT_CUDA_TEST(CudaLanguage, BitFunctionsCountBits) {
  const Integers values = {
      0, 1, -1, 2, 12, 13, 20, -20, 1 << 30, 0x12345678, std::numeric_limits<int>::min()};
  const auto n = static_cast<std::int64_t>(values.size());
  const auto in = on_device(values);
  auto out = unwritten<std::int32_t>(language::kBits * n);
  language::bits(in.view({n}), out.view({language::kBits, n}));
  const Integers got = out.to_host();
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto x = static_cast<std::uint32_t>(values[i]);
    int n_set = 0, first = 0, n_leading = 32;
    std::uint32_t reversed = 0;
    for (int bit = 31; bit >= 0; --bit) {
      if ((x >> bit & 1U) == 0) continue;
      ++n_set;
      first = bit + 1;
      n_leading = std::min(n_leading, 31 - bit);
      reversed |= 1U << (31 - bit);
    }
    const std::uint64_t product = std::uint64_t{x} * (0x80000000U + 12345U);
    const double eighths = static_cast<double>(static_cast<float>(values[i])) / 8.0;
    const Integers expected = {n_set,
                               n_leading,
                               first,
                               std::bit_cast<int>(reversed),
                               std::bit_cast<int>(static_cast<std::uint32_t>(product >> 32)),
                               std::bit_cast<int>(static_cast<float>(values[i])),
                               static_cast<int>(std::nearbyint(eighths)),
                               static_cast<int>(std::floor(eighths)),
                               static_cast<int>(std::ceil(eighths)),
                               std::bit_cast<int>(0xdd00aa00U | (x & 0x00ff00ffU))};
    for (std::size_t k = 0; k < expected.size(); ++k)
      EXPECT_EQ(got[k * values.size() + i], expected[k]) << "function " << k << " of " << values[i];
  }
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
