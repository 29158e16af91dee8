#include "attention_cases.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kit/memory.h"

namespace lab05_tests {

using kit::Tensor;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// Keys first .. end - 1.
struct Visible {
  std::int64_t first = 0;
  std::int64_t end = 0;
};

Visible visible(std::int64_t i, const Inputs& in, const lab05::FlashConfig& config, const Variant& variant) {
  const std::int64_t kv_len = in.k.dim(0);
  Visible keys{0, kv_len};
  if (config.causal) {
    const std::int64_t position = variant.top_left ? i : i + kv_len - in.q.dim(0);
    keys.end = std::clamp<std::int64_t>(position + 1 + variant.mask_shift, 0, kv_len);
    if (config.window > 0 && variant.window_from_start) {
      keys.end = std::min<std::int64_t>(keys.end, config.window);
    } else if (config.window > 0) {
      keys.first = std::max<std::int64_t>(0, position - config.window + 1 - variant.window_shift);
    }
  }
  if (!variant.ragged_tile) keys.end = std::min(keys.end, kv_len / config.bc * config.bc);
  return keys;
}

double dot(std::span<const float> a, std::span<const float> b) {
  double sum = 0.0;
  for (std::size_t d = 0; d < a.size(); ++d) sum += double{a[d]} * double{b[d]};
  return sum;
}

float named_log_sum_exp(double m, double l, Variant::LogSumExp which) {
  switch (which) {
    case Variant::LogSumExp::kBase2:
      return static_cast<float>((m + std::log(l)) / std::log(2.0));
    case Variant::LogSumExp::kWithoutM:
      return static_cast<float>(std::log(l));
    case Variant::LogSumExp::kOnlyM:
      return static_cast<float>(m);
    default:
      return static_cast<float>(m + std::log(l));
  }
}

/// What a tile-wise computation that forgets to rescale multiplies the weight of key j by: e^(m at the end -
/// m after the tile of key j).
std::vector<double> missing_factors(const std::vector<double>& scores, std::int64_t first, int bc) {
  std::vector<double> factors(scores.size());
  double m = -kInfinity;
  const double m_end = *std::ranges::max_element(scores);
  for (std::size_t j = 0; j < scores.size();) {
    const auto end =
        std::min(scores.size(),
                 static_cast<std::size_t>(((first + static_cast<std::int64_t>(j)) / bc + 1) * bc - first));
    for (std::size_t t = j; t < end; ++t) m = std::max(m, scores[t]);
    for (; j < end; ++j) factors[j] = std::exp(m_end - m);
  }
  return factors;
}

void attend(const Inputs& in, const lab05::FlashConfig& config, const Variant& variant, std::int64_t i,
            std::int64_t h, Result& result) {
  const std::int64_t n_kv_heads = in.k.dim(1);
  const std::int64_t kv_head = variant.kv_head_modulo ? h % n_kv_heads : h / (in.q.dim(1) / n_kv_heads);
  const double scale = variant.scale ? 1.0 / std::sqrt(static_cast<double>(in.q.dim(2))) : 1.0;
  const Visible keys = visible(i, in, config, variant);
  const std::span<float> out = result.out.row(i, h);
  if (keys.first >= keys.end) {
    result.log_sum_exp(i, h) = -std::numeric_limits<float>::infinity();
    for (std::size_t d = 0; d < out.size(); ++d) {
      double sum = 0.0;
      for (std::int64_t j = 0; j < in.k.dim(0); ++j) sum += double{in.v.row(j, kv_head)[d]};
      out[d] = variant.masked_rows_average && in.k.dim(0) > 0
                   ? static_cast<float>(sum / static_cast<double>(in.k.dim(0)))
                   : 0.0F;
    }
    return;
  }
  std::vector<double> scores;
  for (std::int64_t j = keys.first; j < keys.end; ++j)
    scores.push_back(scale * dot(in.q.row(i, h), in.k.row(j, kv_head)));
  const double m = *std::ranges::max_element(scores);
  const std::vector<double> factors = missing_factors(scores, keys.first, config.bc);
  double l = 0.0;
  std::vector<double> sums(out.size());
  for (std::size_t j = 0; j < scores.size(); ++j) {
    const double weight = std::exp(scores[j] - m);
    l += variant.l_rescaled ? weight : weight * factors[j];
    const double o_weight = variant.o_rescaled ? weight : weight * factors[j];
    const std::span<const float> value = in.v.row(keys.first + static_cast<std::int64_t>(j), kv_head);
    for (std::size_t d = 0; d < out.size(); ++d) sums[d] += o_weight * double{value[d]};
  }
  for (std::size_t d = 0; d < out.size(); ++d) out[d] = static_cast<float>(sums[d] / l);
  result.log_sum_exp(i, h) = named_log_sum_exp(m, l, variant.log_sum_exp);
}

}  // namespace

Inputs random_inputs(const Sizes& s, std::uint64_t stream, float stddev) {
  kit::Rng rng = kit::testing::make_rng(stream);
  return {kit::testing::random_tensor({s.q_len, s.n_heads, s.head_dim}, rng, stddev),
          kit::testing::random_tensor({s.kv_len, s.n_kv_heads, s.head_dim}, rng, stddev),
          kit::testing::random_tensor({s.kv_len, s.n_kv_heads, s.head_dim}, rng)};
}

Tensor<float> rows_of(const Tensor<float>& x, std::int64_t begin, std::int64_t end) {
  const std::int64_t row = x.rank() == 2 ? x.dim(1) : x.dim(1) * x.dim(2);
  Tensor<float> result(x.rank() == 2 ? kit::Shape{end - begin, x.dim(1)}
                                     : kit::Shape{end - begin, x.dim(1), x.dim(2)});
  std::copy(x.data() + begin * row, x.data() + end * row, result.data());
  return result;
}

Result reference(const Inputs& in, const lab05::FlashConfig& config, const Variant& variant) {
  Result result{Tensor<float>(in.q.shape()), Tensor<float>({in.q.dim(0), in.q.dim(1)})};
  for (std::int64_t i = 0; i < in.q.dim(0); ++i) {
    for (std::int64_t h = 0; h < in.q.dim(1); ++h) attend(in, config, variant, i, h, result);
  }
  return result;
}

std::vector<NamedVariant> classic_mistakes(const lab05::FlashConfig& config) {
  std::vector<NamedVariant> mistakes;
  const auto add = [&](const char* cause, auto change) {
    mistakes.push_back({cause, {}});
    change(mistakes.back().variant);
  };
  add("attention without the 1/sqrt(head_dim) scale", [](Variant& x) { x.scale = false; });
  add("query head h reading kv head h % n_kv_heads instead of h / (n_heads / n_kv_heads)",
      [](Variant& x) { x.kv_head_modulo = true; });
  add("o not rescaled by e^(m before - m after) when a tile raises the maximum",
      [](Variant& x) { x.o_rescaled = false; });
  add("l not rescaled by e^(m before - m after) when a tile raises the maximum",
      [](Variant& x) { x.l_rescaled = false; });
  add("whole tiles of Bc keys alone: the last, partly filled one is not read",
      [](Variant& x) { x.ragged_tile = false; });
  add("a log-sum-exp in base 2; it is the natural one",
      [](Variant& x) { x.log_sum_exp = Variant::LogSumExp::kBase2; });
  add("ln l, the maximum m not added", [](Variant& x) { x.log_sum_exp = Variant::LogSumExp::kWithoutM; });
  add("the maximum m alone, without ln l", [](Variant& x) { x.log_sum_exp = Variant::LogSumExp::kOnlyM; });
  if (!config.causal) return mistakes;
  add("a causal mask aligned to the first key (top left): the queries are the last positions",
      [](Variant& x) { x.top_left = true; });
  add("a causal mask that lets each query see one key of the future", [](Variant& x) { x.mask_shift = 1; });
  add("a causal mask that hides each query's own key", [](Variant& x) { x.mask_shift = -1; });
  add("fully masked queries that average all values, as a mask of -1e30 makes them; they are 0",
      [](Variant& x) { x.masked_rows_average = true; });
  if (config.window == 0) return mistakes;
  add("a window that is one key too long", [](Variant& x) { x.window_shift = 1; });
  add("a window that is one key too short", [](Variant& x) { x.window_shift = -1; });
  add("a window counted from key 0: the first keys instead of the latest",
      [](Variant& x) { x.window_from_start = true; });
  add("attention without the window", [](Variant& x) { x.window_shift = 1 << 30; });
  return mistakes;
}

Result student(const Inputs& in, const lab05::FlashConfig& config) {
  Result result{kit::testing::nan_tensor(in.q.shape()), kit::testing::nan_tensor({in.q.dim(0), in.q.dim(1)})};
  kit::CountingResource counting;
  kit::OneThreadResource scratch(counting);
  lab05::flash_attention(in.q, in.k, in.v, config, scratch, result.out, result.log_sum_exp);
  EXPECT_EQ(counting.live_bytes(), 0) << "bytes of scratch that were not given back";
  return result;
}

void expect_log_sum_exp(const Tensor<float>& got, const Tensor<float>& expected,
                        std::span<const kit::KnownMistake> mistakes, kit::Tolerance tolerance) {
  ASSERT_EQ(got.shape().to_string(), expected.shape().to_string());
  // An infinity is compared here: as numbers -inf - -inf is NaN.
  const float minus_infinity = -std::numeric_limits<float>::infinity();
  Tensor<float> finite_got = kit::clone(got.view());
  Tensor<float> finite_expected = kit::clone(expected.view());
  std::int64_t n_wrong = 0;
  for (std::int64_t i = 0; i < got.size(); ++i) {
    if (expected.data()[i] != minus_infinity) continue;
    if (got.data()[i] == minus_infinity) {
      finite_got.data()[i] = finite_expected.data()[i] = 0.0F;
    } else if (++n_wrong == 1) {
      ADD_FAILURE() << "log_sum_exp of a fully masked query is " << got.data()[i]
                    << ", want -infinity (query " << i / got.dim(1) << ", head " << i % got.dim(1)
                    << "). A finite number that stands for minus infinity gives one";
    }
  }
  if (n_wrong == 0) {
    EXPECT_TRUE(kit::testing::matches(finite_got, finite_expected, tolerance, mistakes)) << "log_sum_exp";
  }
}

void expect_matches(const Result& got, const Inputs& in, const lab05::FlashConfig& config,
                    kit::Tolerance tolerance) {
  const Result expected = reference(in, config);
  std::vector<kit::KnownMistake> outs;
  std::vector<kit::KnownMistake> log_sum_exps;
  for (const auto& [cause, variant] : classic_mistakes(config)) {
    Result wrong = reference(in, config, variant);
    // NaN and infinities of a wrong answer are no signature.
    const auto finite = [](const Tensor<float>& x) {
      return std::ranges::all_of(x.span(), [](float y) { return std::isfinite(y); });
    };
    if (finite(wrong.out)) outs.push_back({cause, std::move(wrong.out)});
    if (finite(wrong.log_sum_exp)) log_sum_exps.push_back({cause, std::move(wrong.log_sum_exp)});
  }
  EXPECT_TRUE(kit::testing::matches(got.out, expected.out, tolerance, outs)) << "out";
  expect_log_sum_exp(got.log_sum_exp, expected.log_sum_exp, log_sum_exps, tolerance);
}

void expect_matches_reference(const Sizes& s, const lab05::FlashConfig& config, std::uint64_t stream) {
  SCOPED_TRACE(
      fmt::format("q_len {}, kv_len {}, n_heads {}, n_kv_heads {}, head_dim {}; br {}, bc {}, causal {}, "
                  "window {}",
                  s.q_len, s.kv_len, s.n_heads, s.n_kv_heads, s.head_dim, config.br, config.bc, config.causal,
                  config.window));
  const Inputs in = random_inputs(s, stream);
  expect_matches(student(in, config), in, config, tolerance);
}

}  // namespace lab05_tests
