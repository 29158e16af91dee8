#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "kit/parallel.h"
#include "lab04/quantized_products.h"

namespace lab04 {

namespace {

// x86 multiplies bytes four at a time into an int32 (vpdpbusd), if one side is unsigned. So activations are
// stored as code + 128, and 128 times the sum of the row of weights is taken away again. In between a sum may
// leave the range of int32; arithmetic modulo 2^32 brings it back exactly.
constexpr int kOffset = 128;

/// Compilers choose that instruction for a loop of fixed length, without any pragma: sums of integers may be
/// taken in any order.
template <int N>
std::uint32_t dot_of(const std::uint8_t* x, const std::int8_t* w) {
  std::uint32_t sum = 0;
  for (int i = 0; i < N; ++i) sum += static_cast<std::uint32_t>(x[i] * w[i]);
  return sum;
}

/// sum over x[i] * w[i], modulo 2^32.
std::uint32_t dot(const std::uint8_t* x, const std::int8_t* w, std::int64_t n) {
  std::uint32_t sum = 0;
  std::int64_t i = 0;
  for (; i + 512 <= n; i += 512) sum += dot_of<512>(x + i, w + i);
  for (; i + 64 <= n; i += 64) sum += dot_of<64>(x + i, w + i);
  for (; i < n; ++i) sum += dot_of<1>(x + i, w + i);
  return sum;
}

/// Rows of w that stay in the first-level cache while all tokens pass by.
constexpr std::int64_t kRows = 8;
/// Below this many products waking another core costs more than it saves.
constexpr std::int64_t kSerialWork = 512 * 1024;

/// A product whose activations are ready: x as code + 128.
void multiply(std::span<const std::uint8_t> x, std::span<const float> x_scales,
              kit::TensorView<const std::int8_t> w, std::span<const float> w_scales,
              kit::TensorView<float> y) {
  const std::int64_t n = y.dim(0);
  const std::int64_t in = w.dim(1);
  const std::vector<std::uint8_t> ones(static_cast<std::size_t>(in), 1);
  const auto run = [&](std::int64_t begin, std::int64_t end) {
    std::array<std::uint32_t, kRows> excess;
    for (std::int64_t o = begin; o < end; ++o) {
      excess[o - begin] = kOffset * dot(ones.data(), w.row(o).data(), in);
    }
    for (std::int64_t t = 0; t < n; ++t) {
      const float x_scale = x_scales[x_scales.size() == 1 ? 0 : t];
      for (std::int64_t o = begin; o < end; ++o) {
        const std::uint32_t sum = dot(x.data() + t * in, w.row(o).data(), in) - excess[o - begin];
        y(t, o) = x_scale * w_scales[o] * static_cast<float>(static_cast<std::int16_t>(sum));
      }
    }
  };
  const std::int64_t enough = kSerialWork / std::max<std::int64_t>(n * in, 1) + 1;
  kit::parallel_for(w.dim(0), (enough + kRows - 1) / kRows * kRows,
                    [&](std::int64_t begin, std::int64_t end) {
                      for (; begin < end; begin += kRows) run(begin, std::min(end, begin + kRows));
                    });
}

void check_shapes(const kit::Shape& x, kit::TensorView<const std::int8_t> w, std::span<const float> w_scales,
                  const kit::Shape& y) {
  KIT_CHECK(x.rank() == 2 && w.rank() == 2 && y.rank() == 2 && x[1] == w.dim(1) && y[0] == x[0] &&
                y[1] == w.dim(0) && std::ssize(w_scales) == w.dim(0),
            "x {} (n, in), w {} (out, in), {} weight scales (out) and y {} (n, out) do not fit",
            x.to_string(), w.shape().to_string(), w_scales.size(), y.to_string());
  KIT_CHECK(w.dim(1) <= kMaxInt8SumLength,
            "a sum of {} products of two INT8 numbers may overflow an int32; {} always fit", w.dim(1),
            kMaxInt8SumLength);
}

void check_finite(std::span<const float> row, std::int64_t t) {
  const auto bad = std::ranges::find_if(row, [](float x) { return !std::isfinite(x); });
  KIT_CHECK(bad == row.end(), "x[{}, {}] is {}", t, bad - row.begin(), *bad);
}

/// max|x| / 127, or 1 where that would be no normal number.
float scale_for(std::span<const float> x) {
  float max = 0.0F;
#pragma omp simd reduction(max : max)
  for (std::size_t i = 0; i < x.size(); ++i) max = std::max(max, std::abs(x[i]));
  const float scale = max / 127.0F;
  return scale < 0x1p-126F ? 1.0F : scale;
}

/// round(x / scale) + 128, ties to even, at most 127 steps from 128.
void quantize(std::span<const float> x, float scale, std::uint8_t* codes) {
#pragma omp simd
  for (std::size_t i = 0; i < x.size(); ++i) {
    const float steps = std::clamp(std::nearbyint(x[i] / scale), -127.0F, 127.0F);
    codes[i] = static_cast<std::uint8_t>(static_cast<int>(steps) + kOffset);
  }
}

}  // namespace

void linear_w8a8(kit::TensorView<const std::int8_t> xq, std::span<const float> x_scales,
                 kit::TensorView<const std::int8_t> wq, std::span<const float> w_scales,
                 kit::TensorView<float> y) {
  check_shapes(xq.shape(), wq, w_scales, y.shape());
  KIT_CHECK(std::ssize(x_scales) == xq.dim(0) || x_scales.size() == 1,
            "{} activation scales for {} tokens: want one each, or one", x_scales.size(), xq.dim(0));
  std::vector<std::uint8_t> x(static_cast<std::size_t>(xq.size()));
  std::ranges::transform(xq.span(), x.begin(),
                         [](std::int8_t code) { return static_cast<std::uint8_t>(code + kOffset); });
  multiply(x, x_scales, wq, w_scales, y);
}

void linear_w8a8_dynamic(kit::TensorView<const float> x, kit::TensorView<const std::int8_t> wq,
                         std::span<const float> w_scales, kit::TensorView<float> y) {
  check_shapes(x.shape(), wq, w_scales, y.shape());
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(x.size()));
  std::vector<float> x_scales;
  for (std::int64_t t = 0; t < x.dim(0); ++t) {
    check_finite(x.row(t), t);
    x_scales.push_back(scale_for(x.row(t)));
    quantize(x.row(t), x_scales.back(), codes.data() + t * x.dim(1));
  }
  multiply(codes, x_scales, wq, w_scales, y);
}

void linear_w8a8_static(kit::TensorView<const float> x, float x_scale, kit::TensorView<const std::int8_t> wq,
                        std::span<const float> w_scales, kit::TensorView<float> y) {
  check_shapes(x.shape(), wq, w_scales, y.shape());
  KIT_CHECK(x_scale > 0.0F && std::isfinite(x_scale), "the activations' scale is {}", x_scale);
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(x.size()));
  for (std::int64_t t = 0; t < x.dim(0); ++t) {
    check_finite(x.row(t), t);
    quantize(x.row(t), x_scale, codes.data() + t * x.dim(1));
  }
  multiply(codes, {&x_scale, 1}, wq, w_scales, y);
}

}  // namespace lab04
