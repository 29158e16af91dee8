#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "attention_cases.h"
#include "kit/dtype.h"

namespace {

using kit::Tensor;
using lab05::FlashConfig;
using namespace lab05_tests;  // NOLINT(google-build-using-namespace): the lab's own test helpers

float to_fp16(float x) {
  return kit::to_float(kit::to_half(x));
}

void round_to_fp16(Tensor<float>& x) {
  for (float& y : x.span()) y = to_fp16(y);
}

/// Attention as a chain of fp16 operations, causal, bottom right: each product is summed in float, each array
/// that a GPU would store between two kernels (scaled queries, scores, probabilities, output) is rounded to
/// binary16.
Tensor<float> naive_fp16(const Inputs& in) {
  Tensor<float> out(in.q.shape());
  const std::int64_t head_dim = in.q.dim(2);
  const float scale = 1.0F / std::sqrt(static_cast<float>(head_dim));
  for (std::int64_t i = 0; i < in.q.dim(0); ++i) {
    for (std::int64_t h = 0; h < in.q.dim(1); ++h) {
      const std::int64_t kv_head = h / (in.q.dim(1) / in.k.dim(1));
      const std::int64_t end = i + in.k.dim(0) - in.q.dim(0) + 1;
      std::vector<float> p;
      for (std::int64_t j = 0; j < end; ++j) {
        float score = 0.0F;
        for (std::int64_t d = 0; d < head_dim; ++d)
          score += to_fp16(in.q(i, h, d) * scale) * in.k(j, kv_head, d);
        p.push_back(to_fp16(score));
      }
      const float m = *std::ranges::max_element(p);
      float l = 0.0F;
      for (float& x : p) l += x = std::exp(x - m);
      for (float& x : p) x = to_fp16(x / l);
      for (std::int64_t d = 0; d < head_dim; ++d) {
        float sum = 0.0F;
        for (std::int64_t j = 0; j < end; ++j) sum += p[static_cast<std::size_t>(j)] * in.v(j, kv_head, d);
        out(i, h, d) = to_fp16(sum);
      }
    }
  }
  return out;
}

double max_error(const Tensor<float>& got, const Tensor<float>& expected) {
  double worst = 0.0;
  for (std::int64_t i = 0; i < got.size(); ++i) {
    const double error = std::abs(double{got.data()[i]} - double{expected.data()[i]});
    if (!(error <= worst)) worst = error;
    if (std::isnan(worst)) break;
  }
  return worst;
}

// The rule of the flash-attention package's own tests (Dao 2022): no worse than twice what the standard
// computation loses in the same precision of storage.
TEST(AccuracyMilestone, ErrorIsAtMostTwiceThatOfNaiveFp16) {
  constexpr double kBar = 2.0;
  double worst = 0.0;
  std::uint64_t stream = 100;
  for (const Sizes& s : {Sizes{128, 128, 2, 2, 64}, Sizes{113, 203, 4, 2, 64}, Sizes{64, 256, 2, 1, 128},
                         Sizes{217, 217, 2, 1, 32}, Sizes{108, 256, 3, 1, 59}}) {
    for (const float stddev : {1.0F, 2.0F}) {
      Inputs in = random_inputs(s, ++stream, stddev);
      for (Tensor<float>* x : {&in.q, &in.k, &in.v}) round_to_fp16(*x);
      const FlashConfig config{.br = 64, .bc = 32};
      const Tensor<float> expected = reference(in, config).out;
      const double naive = max_error(naive_fp16(in), expected);
      const double flash = max_error(student(in, config).out, expected);
      const double ratio = flash / naive;
      EXPECT_TRUE(ratio <= kBar) << fmt::format(
          "q_len {}, kv_len {}, {} heads over {}, head_dim {}: the largest error is {:.3g}, naive fp16 has "
          "{:.3g}",
          s.q_len, s.kv_len, s.n_heads, s.n_kv_heads, s.head_dim, flash, naive);
      if (!(ratio <= worst)) worst = ratio;
    }
  }
  kit::testing::record_value("error_ratio", worst);
  kit::testing::record_value("error_ratio_bar", kBar);
}

}  // namespace
