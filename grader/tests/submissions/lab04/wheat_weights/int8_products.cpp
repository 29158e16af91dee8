#include <cmath>
#include <vector>

#include "lab04/quantized_products.h"

namespace lab04 {

namespace {

kit::Tensor<std::int8_t> codes_of(kit::TensorView<const float> x, std::span<const float> scales) {
  kit::Tensor<std::int8_t> codes(x.shape());
  for (std::int64_t t = 0; t < x.dim(0); ++t) {
    const float scale = scales[scales.size() == 1 ? 0 : static_cast<std::size_t>(t)];
    for (std::int64_t i = 0; i < x.dim(1); ++i) {
      float steps = std::rint(x(t, i) / scale);
      if (steps > 127.0F) steps = 127.0F;
      if (steps < -127.0F) steps = -127.0F;
      codes(t, i) = static_cast<std::int8_t>(steps);
    }
  }
  return codes;
}

}  // namespace

void linear_w8a8(kit::TensorView<const std::int8_t> xq, std::span<const float> x_scales,
                 kit::TensorView<const std::int8_t> wq, std::span<const float> w_scales,
                 kit::TensorView<float> y) {
  KIT_CHECK(xq.rank() == 2 && wq.rank() == 2 && y.rank() == 2, "not all are matrices");
  const std::int64_t n = xq.dim(0), in = xq.dim(1), out = wq.dim(0);
  KIT_CHECK(wq.dim(1) == in && y.dim(0) == n && y.dim(1) == out, "matrices do not fit");
  KIT_CHECK(std::ssize(w_scales) == out && (std::ssize(x_scales) == n || x_scales.size() == 1),
            "scales do not fit");
  KIT_CHECK(in <= kMaxInt8SumLength, "a sum of {} products is too long", in);
  for (std::int64_t o = 0; o < out; ++o) {
    for (std::int64_t t = 0; t < n; ++t) {
      std::int64_t sum = 0;
      for (std::int64_t i = 0; i < in; ++i) sum += xq(t, i) * wq(o, i);
      const float x_scale = x_scales[x_scales.size() == 1 ? 0 : static_cast<std::size_t>(t)];
      y(t, o) = static_cast<float>(sum) * x_scale * w_scales[static_cast<std::size_t>(o)];
    }
  }
}

void linear_w8a8_dynamic(kit::TensorView<const float> x, kit::TensorView<const std::int8_t> wq,
                         std::span<const float> w_scales, kit::TensorView<float> y) {
  KIT_CHECK(x.rank() == 2, "x has rank {}", x.rank());
  std::vector<float> scales;
  for (std::int64_t t = 0; t < x.dim(0); ++t) {
    float max = 0.0F;
    for (const float v : x.row(t)) {
      KIT_CHECK(std::isfinite(v), "token {} has {}", t, v);
      if (std::fabs(v) > max) max = std::fabs(v);
    }
    scales.push_back(max / 127.0F < 0x1p-126F ? 1.0F : max / 127.0F);
  }
  linear_w8a8(codes_of(x, scales), scales, wq, w_scales, y);
}

void linear_w8a8_static(kit::TensorView<const float> x, float x_scale, kit::TensorView<const std::int8_t> wq,
                        std::span<const float> w_scales, kit::TensorView<float> y) {
  KIT_CHECK(x.rank() == 2 && x_scale > 0.0F && std::isfinite(x_scale), "the scale is {}", x_scale);
  linear_w8a8(codes_of(x, {&x_scale, 1}), {&x_scale, 1}, wq, w_scales, y);
}

}  // namespace lab04
