#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "device_data.h"
#include "kit/cuda/testing.h"
#include "kit/dtype.h"
#include "language.h"

// CUDA's types and functions, on the executor and on a GPU, against plain host code.
namespace {

using kit::DeviceBuffer;
using language::Floats;
using language::Integers;
using language::on_device;
using language::unwritten;

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

}  // namespace
