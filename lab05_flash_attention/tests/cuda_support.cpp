#include "cuda_support.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>

#include "kit/cuda/launch.h"
#include "lab05/cuda_kernels.h"

namespace lab05_tests {

using kit::DeviceBuffer;
using kit::Half;
using kit::Shape;
using kit::Tensor;
using kit::simt::Access;
using kit::simt::Counters;
using kit::simt::LineReport;
using kit::simt::Space;
using kit::testing::KnownCount;
using kit::testing::LaunchCounts;
using kit::testing::matches;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::int64_t element_bytes(FlashKernel kernel) {
  return kernel == FlashKernel::kFloat ? 4 : 2;
}

// Scores are about 1 and values about 1, and float sums of up to 400 terms in any order, scaled by exp2f that
// is exact to two units in the last place, are off by a few 1e-6. Tensor cores are given weights rounded to
// 11 bits: a relative error of up to 4.9e-4 for each, which on an average of values of up to 4 is 2e-3 at
// worst. The mistakes are off by 1e-2 and more somewhere.
kit::Tolerance out_tolerance(FlashKernel kernel) {
  return kernel == FlashKernel::kTensorCores ? kit::Tolerance{2e-3, 1e-3} : kit::Tolerance{3e-5, 3e-5};
}
// ln of a sum with a relative error of 1e-6, plus the roundings of a maximum of about 5 (or, where a test
// makes scores large, of its own size). Weights are summed up before they are rounded, or after: 1e-3.
kit::Tolerance sum_tolerance(FlashKernel kernel) {
  return kernel == FlashKernel::kTensorCores ? kit::Tolerance{1e-3, 1e-4} : kit::Tolerance{3e-5, 3e-6};
}

std::int64_t first_end(const FlashInput& input) {
  return input.causal ? input.k.dim(0) - input.q.dim(0) + 1 : input.k.dim(0);
}

/// Keys that query i sees are those below this.
std::int64_t visible_keys(const FlashInput& input, std::int64_t i, const FlashMistake& mistake) {
  const std::int64_t kv_len = input.k.dim(0);
  std::int64_t n = kv_len;
  if (input.causal && mistake.masked) n = i + (mistake.top_left ? 1 : first_end(input)) + mistake.more_keys;
  if (!mistake.last_tile) n = std::min(n, kv_len / lab05::kFlashCudaBc * lab05::kFlashCudaBc);
  return std::clamp<std::int64_t>(n, 0, kv_len);
}

std::int64_t kv_head_of(const FlashInput& input, std::int64_t head, const FlashMistake& mistake) {
  const std::int64_t n_kv_heads = input.k.dim(1);
  return mistake.kv_head_modulo ? head % n_kv_heads : head / (input.q.dim(1) / n_kv_heads);
}

std::vector<double> scores_of(const FlashInput& input, std::int64_t i, std::int64_t head,
                              const FlashMistake& mistake) {
  const std::int64_t kv_head = kv_head_of(input, head, mistake);
  const std::int64_t head_dim = input.q.dim(2);
  const double scale = mistake.scale ? 1.0 / std::sqrt(static_cast<double>(head_dim)) : 1.0;
  std::vector<double> scores(static_cast<std::size_t>(visible_keys(input, i, mistake)));
  for (std::size_t j = 0; j < scores.size(); ++j) {
    const auto key = input.k.row(j, kv_head);
    double sum = 0.0;
    for (std::int64_t d = 0; d < head_dim; ++d) sum += double{input.q(i, head, d)} * key[d];
    scores[j] = scale * sum;
  }
  return scores;
}

/// One row, tile by tile, with what is wrong in `mistake`.
double attend_in_tiles(const FlashInput& input, std::span<const double> scores, std::int64_t kv_head,
                       const FlashMistake& mistake, std::span<double> o) {
  double m = -kInfinity;
  double l = 0.0;
  for (std::size_t begin = 0; begin < scores.size(); begin += lab05::kFlashCudaBc) {
    const std::size_t end = std::min(begin + lab05::kFlashCudaBc, scores.size());
    const double m_new = std::max(m, *std::max_element(scores.begin() + begin, scores.begin() + end));
    const double rescale = std::exp(m - m_new);
    for (int n = 0; n < mistake.rescales_l; ++n) l *= rescale;
    for (double& x : o) x *= mistake.rescales_o ? rescale : 1.0;
    m = m_new;
    for (std::size_t j = begin; j < end; ++j) {
      const double weight = std::exp(scores[j] - m);
      l += weight;
      const auto value = input.v.row(j, kv_head);
      for (std::size_t d = 0; d < o.size(); ++d) o[d] += weight * value[d];
    }
  }
  const std::int64_t behind = -input.k.dim(0) & (lab05::kFlashCudaBc - 1);
  if (mistake.counts_keys_behind_end && behind > 0) {
    const double m_new = std::max(m, 0.0);
    l = l * std::exp(m - m_new) + static_cast<double>(behind) * std::exp(-m_new);
    for (double& x : o) x *= std::exp(m - m_new);
    m = m_new;
  }
  for (double& x : o) x = l == 0.0 ? 0.0 : x / l;
  return m + std::log(l);
}

/// One row, from the definition.
double attend(const FlashInput& input, std::span<const double> scores, std::int64_t kv_head,
              std::span<double> o) {
  if (scores.empty()) return -kInfinity;
  const double max = *std::ranges::max_element(scores);
  double sum = 0.0;
  for (const double score : scores) sum += std::exp(score - max);
  for (std::size_t j = 0; j < scores.size(); ++j) {
    const auto value = input.v.row(j, kv_head);
    for (std::size_t d = 0; d < o.size(); ++d) o[d] += std::exp(scores[j] - max) / sum * value[d];
  }
  return max + std::log(sum);
}

FlashResult compute(const FlashInput& input, const FlashMistake* mistake) {
  const FlashMistake none;
  FlashResult result{Tensor<float>(input.q.shape()), Tensor<float>({input.q.dim(0), input.q.dim(1)})};
  std::vector<double> o(static_cast<std::size_t>(input.q.dim(2)));
  for (std::int64_t i = 0; i < input.q.dim(0); ++i) {
    for (std::int64_t head = 0; head < input.q.dim(1); ++head) {
      std::ranges::fill(o, 0.0);
      const FlashMistake& how = mistake != nullptr ? *mistake : none;
      const std::vector<double> scores = scores_of(input, i, head, how);
      const std::int64_t kv_head = kv_head_of(input, head, how);
      const double log_sum_exp = mistake != nullptr ? attend_in_tiles(input, scores, kv_head, how, o)
                                                    : attend(input, scores, kv_head, o);
      std::ranges::transform(o, result.out.row(i, head).begin(),
                             [](double x) { return static_cast<float>(x); });
      result.log_sum_exp(i, head) = static_cast<float>(log_sum_exp);
    }
  }
  return result;
}

std::vector<FlashMistake> classic_mistakes() {
  return {
      {.cause = "attention without the 1/sqrt(head_dim) scale", .scale = false},
      {.cause = "attention without the causal mask", .masked = false},
      {.cause = "a causal mask aligned to the first key: query i sits at position i + kv_len - q_len",
       .top_left = true},
      {.cause = "a causal mask that shows one key too many", .more_keys = 1},
      {.cause = "a causal mask that hides the query's own position", .more_keys = -1},
      {.cause = "query head h reading kv head h % n_kv_heads instead of h / (n_heads / n_kv_heads)",
       .kv_head_modulo = true},
      {.cause = "sums o that are not rescaled when the maximum m grows", .rescales_o = false},
      {.cause = "a sum l that is not rescaled when the maximum m grows", .rescales_l = 0},
      {.cause = "neither o nor l rescaled when the maximum m grows", .rescales_o = false, .rescales_l = 0},
      {.cause = "a sum l that is rescaled twice when the maximum m grows", .rescales_l = 2},
      {.cause = "keys behind kv_len counted with score 0: the last tile is not masked",
       .counts_keys_behind_end = true},
      {.cause = "a last tile of keys left out because it is not full", .last_tile = false},
  };
}

/// Ways to return another number than the log-sum-exp.
std::vector<kit::KnownMistake> log_sum_exp_mistakes(const FlashInput& input, const FlashResult& expected) {
  std::vector<kit::KnownMistake> mistakes = {
      {"log-sum-exp in base 2: multiply by ln 2", expected.log_sum_exp},
      {"the maximum m without ln l", expected.log_sum_exp},
      {"ln l without the maximum m", expected.log_sum_exp},
      {"+infinity where no key is visible", expected.log_sum_exp},
  };
  for (std::int64_t i = 0; i < input.q.dim(0); ++i) {
    for (std::int64_t head = 0; head < input.q.dim(1); ++head) {
      const std::vector<double> scores = scores_of(input, i, head, {});
      const double max = scores.empty() ? -kInfinity : *std::ranges::max_element(scores);
      const float right = expected.log_sum_exp(i, head);
      mistakes[0].result(i, head) = static_cast<float>(right / std::log(2.0));
      mistakes[1].result(i, head) = static_cast<float>(max);
      mistakes[2].result(i, head) = scores.empty() ? right : static_cast<float>(right - max);
      mistakes[3].result(i, head) = scores.empty() ? -right : right;
    }
  }
  return mistakes;
}

template <class T, class Function>
void call(Function* function, const FlashInput& input, DeviceBuffer<float>& out, DeviceBuffer<float>& sums) {
  const auto on_device = [](const Tensor<float>& x) {
    if constexpr (std::is_same_v<T, float>) {
      return DeviceBuffer<float>(x.span());
    } else {
      std::vector<Half> halves;
      for (const float value : x.span()) halves.push_back(kit::to_half(value));
      return DeviceBuffer<Half>(std::span<const Half>(halves));
    }
  };
  const auto unchanged = [](const DeviceBuffer<T>& buffer, const Tensor<float>& x) {
    return std::ranges::equal(buffer.to_host(), x.span(), {}, [](T value) { return kit::to_float(value); });
  };
  const DeviceBuffer<T> q = on_device(input.q);
  const DeviceBuffer<T> k = on_device(input.k);
  const DeviceBuffer<T> v = on_device(input.v);
  function(q.view(input.q.shape()), k.view(input.k.shape()), v.view(input.v.shape()), input.causal,
           out.view(input.q.shape()), sums.view({input.q.dim(0), input.q.dim(1)}));
  EXPECT_TRUE(unchanged(q, input.q) && unchanged(k, input.k) && unchanged(v, input.v))
      << "an input was changed";
}

/// Attention in this shape, arguments in device memory, which a test can bend.
struct Arguments {
  DeviceBuffer<float> memory{std::span<const float>(std::vector<float>(8192, 1.0F))};
  DeviceBuffer<float> out_memory = kit::testing::nan_device_buffer(8192);
  Shape q{6, 4, 64}, k{8, 2, 64}, v{8, 2, 64}, out{6, 4, 64}, log_sum_exp{6, 4};

  void call(FlashKernel kernel) {
    const auto* const halves = reinterpret_cast<const Half*>(memory.data());
    const kit::TensorView<float> o{out_memory.data(), out};
    const kit::TensorView<float> sums{out_memory.data(), log_sum_exp};
    if (kernel == FlashKernel::kFloat)
      lab05::flash_attention_cuda({memory.data(), q}, {memory.data(), k}, {memory.data(), v}, true, o, sums);
    else
      (kernel == FlashKernel::kHalf
           ? lab05::flash_attention_half_cuda
           : lab05::flash_attention_tensor_cores_cuda)({halves, q}, {halves, k}, {halves, v}, true, o, sums);
  }
};

}  // namespace

std::string FlashInput::to_string() const {
  return fmt::format("q {}, k {}, {}", q.shape().to_string(), k.shape().to_string(),
                     causal ? "causal" : "not causal");
}

FlashInput random_flash(const FlashSizes& sizes, std::uint64_t stream) {
  kit::Rng rng = kit::testing::make_rng(stream);
  const Shape kv{sizes.kv_len, sizes.n_kv_heads, sizes.head_dim};
  FlashInput input{.q = kit::testing::random_tensor({sizes.q_len, sizes.n_heads, sizes.head_dim}, rng),
                   .k = kit::testing::random_tensor(kv, rng),
                   .v = kit::testing::random_tensor(kv, rng),
                   .causal = sizes.causal};
  for (Tensor<float>* x : {&input.q, &input.k, &input.v}) {
    for (float& value : x->span()) value = kit::to_float(kit::to_half(value));
  }
  return input;
}

FlashResult reference(const FlashInput& input) {
  return compute(input, nullptr);
}

FlashResult mistaken(const FlashInput& input, const FlashMistake& mistake) {
  return compute(input, &mistake);
}

FlashResult run(const FlashInput& input, FlashKernel kernel) {
  DeviceBuffer<float> out = kit::testing::nan_device_buffer(input.q.size());
  DeviceBuffer<float> sums = kit::testing::nan_device_buffer(input.q.dim(0) * input.q.dim(1));
  switch (kernel) {
    case FlashKernel::kFloat:
      call<float>(&lab05::flash_attention_cuda, input, out, sums);
      break;
    case FlashKernel::kHalf:
      call<Half>(&lab05::flash_attention_half_cuda, input, out, sums);
      break;
    case FlashKernel::kTensorCores:
      call<Half>(&lab05::flash_attention_tensor_cores_cuda, input, out, sums);
      break;
  }
  return {kit::testing::to_host(out, input.q.shape()),
          kit::testing::to_host(sums, {input.q.dim(0), input.q.dim(1)})};
}

void expect_attends(const FlashInput& input, FlashKernel kernel, const std::string& hint, double score) {
  SCOPED_TRACE(input.to_string());
  // Products of 300 sqrt(64) = 2400, where a float is exact to 1.2e-4: a few such roundings over sqrt(64).
  const double of_scores = score > 1.0 ? 3e-6 * score : 0.0;
  kit::Tolerance of_out_tolerance = out_tolerance(kernel);
  kit::Tolerance of_sum_tolerance = sum_tolerance(kernel);
  of_out_tolerance.absolute += of_scores;
  of_sum_tolerance.absolute += of_scores;
  const FlashResult got = run(input, kernel);
  const FlashResult expected = reference(input);
  if (kit::compare(got.out, expected.out, of_out_tolerance).ok &&
      kit::compare(got.log_sum_exp, expected.log_sum_exp, of_sum_tolerance).ok)
    return;
  // Wrong answers are computed only when there is one to explain.
  std::vector<kit::KnownMistake> of_out;
  std::vector<kit::KnownMistake> of_sums = log_sum_exp_mistakes(input, expected);
  for (const FlashMistake& mistake : classic_mistakes()) {
    FlashResult wrong = mistaken(input, mistake);
    of_out.push_back({mistake.cause, std::move(wrong.out)});
    of_sums.push_back({mistake.cause, std::move(wrong.log_sum_exp)});
  }
  EXPECT_TRUE(matches(got.out, expected.out, of_out_tolerance, of_out)) << "out\n" << hint;
  EXPECT_TRUE(matches(got.log_sum_exp, expected.log_sum_exp, of_sum_tolerance, of_sums)) << "log_sum_exp\n"
                                                                                         << hint;
}

void expect_attends(const FlashSizes& sizes, FlashKernel kernel, std::uint64_t stream) {
  expect_attends(random_flash(sizes, stream), kernel,
                 kernel == FlashKernel::kTensorCores
                     ? "Matrices: a row of keys is a column of the second factor (wmma::col_major)."
                     : "");
}

LaunchCounts counts_of(const FlashInput& input, FlashKernel kernel) {
  return LaunchCounts([&] {
    EXPECT_TRUE(matches(run(input, kernel).out, reference(input).out, out_tolerance(kernel)))
        << "the result is wrong, so counts say little";
  });
}

KeyRows key_rows(const FlashInput& input) {
  const std::int64_t q_len = input.q.dim(0);
  const std::int64_t kv_len = input.k.dim(0);
  KeyRows rows;
  for (std::int64_t first = 0; first < q_len; first += lab05::kFlashCudaBr) {
    const std::int64_t last = std::min(first + lab05::kFlashCudaBr, q_len) - 1;
    const std::int64_t end = visible_keys(input, last, {});
    const auto n_tiles = static_cast<std::int64_t>(kit::ceil_div(end, lab05::kFlashCudaBc));
    rows.least += end;
    rows.most += std::min(n_tiles * lab05::kFlashCudaBc, kv_len);
  }
  rows.least *= input.q.dim(1);
  rows.most *= input.q.dim(1);
  return rows;
}

void expect_stores_results_alone(FlashKernel kernel, std::uint64_t stream) {
  const FlashInput input = random_flash({130, 200, 2, 1, 64, false}, stream);
  const LaunchCounts counts = counts_of(input, kernel);
  EXPECT_EQ(counts.launches().size(), 1U) << "one launch does it all";
  const std::int64_t results = 4 * (input.q.size() + input.q.dim(0) * input.q.dim(1));
  const std::int64_t pairs = input.q.dim(0) * input.q.dim(1) * input.k.dim(0);
  const std::vector<KnownCount> mistakes = {
      {"scores or weights of all pairs written to device memory: they stay in the thread block",
       results + 4 * pairs},
      {"scores and weights of all pairs written to device memory: they stay in the thread block",
       results + 8 * pairs},
      {"weights of all pairs written to device memory in 16 bits: they stay in the thread block",
       results + 2 * pairs},
      {"weights of all pairs of whole tiles written to device memory: they stay in the thread block",
       results + 4 * input.q.dim(1) * 2 * lab05::kFlashCudaBr * 4 * lab05::kFlashCudaBc},
  };
  EXPECT_TRUE(kit::testing::matches_count(counts.bytes(Space::kGlobal, Access::kStore), results, mistakes))
      << "bytes stored in device memory: out and log_sum_exp, each element once\n"
      << counts.to_string();
}

void expect_whole_sectors(const FlashSizes& sizes, FlashKernel kernel, std::uint64_t stream) {
  const FlashInput input = random_flash(sizes, stream);
  SCOPED_TRACE(input.to_string());
  const LaunchCounts counts = counts_of(input, kernel);
  const auto narrow = [&](const LineReport& line) {
    return line.space == Space::kGlobal && line.access == Access::kLoad &&
           line.width < 4 * element_bytes(kernel);
  };
  EXPECT_EQ(counts.total(narrow).requests, 0)
      << "loads from device memory of fewer than four elements a lane\n"
      << counts.to_string() << "Likely cause: elements are loaded one at a time. A "
      << (kernel == FlashKernel::kFloat ? "float4 is a load of four floats."
                                        : "uint2 is a load of four 16-bit numbers, a uint4 of eight.");
  const Counters loads = counts.total(Space::kGlobal, Access::kLoad);
  EXPECT_EQ(loads.sectors, loads.ideal_sectors)
      << "sectors of q, k and v that are loaded\n"
      << counts.to_string() << counts.explain_sectors(Access::kLoad);
}

void expect_loads_once(const FlashSizes& sizes, FlashKernel kernel, std::uint64_t stream) {
  const FlashInput input = random_flash(sizes, stream);
  SCOPED_TRACE(input.to_string());
  const LaunchCounts counts = counts_of(input, kernel);
  const std::int64_t loaded = counts.bytes(Space::kGlobal, Access::kLoad);
  const auto bytes = [&](std::int64_t rows) {
    return element_bytes(kernel) * (input.q.size() + 2 * rows * input.q.dim(2));
  };
  const KeyRows rows = key_rows(input);
  if (loaded >= bytes(rows.least) && loaded <= bytes(rows.most)) return;
  FlashInput all = input;
  all.causal = false;
  const std::int64_t n_rows = input.q.dim(0) * input.q.dim(1) * input.k.dim(0);
  const std::vector<KnownCount> mistakes = {
      {"every tile of keys and values loaded: with a causal mask those that nobody sees are left out",
       bytes(key_rows(all).most)},
      {"keys and values loaded once for every 64 query rows, not for kFlashCudaBr (Bc read where Br is "
       "meant)",
       bytes(2 * rows.most)},
      {"keys and values loaded once for every query row", bytes(n_rows)},
  };
  EXPECT_TRUE(kit::testing::matches_count(loaded, bytes(rows.most), mistakes))
      << "bytes loaded from device memory: q once, keys and values of the tiles that a thread block sees "
         "once "
         "for it\n"
      << counts.to_string();
}

std::string conflicts(const LaunchCounts& counts) {
  std::string text = counts.to_string();
  for (const auto& launch : counts.launches()) {
    for (const LineReport& line : launch.lines) {
      const Counters& c = line.counters;
      if (line.space != Space::kShared || c.wavefronts <= c.ideal_wavefronts) continue;
      text += fmt::format("line {}: {:.3g} times the ideal. ", line.line, c.bank_conflict_degree());
    }
  }
  return text +
         "Likely cause of bank conflicts: lanes read rows of a tile whose length shares a factor with "
         "the 32 banks. Pad rows, by 16 bytes where they are read as float4.";
}

void expect_refuses_bad_shapes(FlashKernel kernel) {
  const auto expect_refuses = [=](const char* what, const std::function<void(Arguments&)>& bend) {
    Arguments arguments;
    bend(arguments);
    EXPECT_TRUE(kit::testing::refuses([&] { arguments.call(kernel); }, arguments.out_memory)) << what;
  };
  expect_refuses("q is [q_len, n_heads * head_dim]", [](Arguments& a) { a.q = a.out = {6, 256}; });
  expect_refuses("7 values for 8 keys", [](Arguments& a) { a.v = {7, 2, 64}; });
  expect_refuses("head_dim 32 in k and v, 64 in q", [](Arguments& a) { a.k = a.v = {8, 2, 32}; });
  expect_refuses("out of 5 rows for 6 queries", [](Arguments& a) { a.out = {5, 4, 64}; });
  expect_refuses("log_sum_exp is [n_heads, q_len]", [](Arguments& a) { a.log_sum_exp = {4, 6}; });
  expect_refuses("3 key/value heads do not divide 4 query heads", [](Arguments& a) {
    a.k = a.v = {8, 3, 64};
  });
  expect_refuses("no key/value heads", [](Arguments& a) { a.k = a.v = {8, 0, 64}; });
  expect_refuses("head_dim 48 is none of 32, 64 and 128", [](Arguments& a) {
    a.q = a.out = {6, 4, 48};
    a.k = a.v = {8, 2, 48};
  });
  expect_refuses("head_dim 256 is none of 32, 64 and 128", [](Arguments& a) {
    a.q = a.out = {6, 4, 256};
    a.k = a.v = {8, 2, 256};
  });
}

void expect_no_launch_without_rows(FlashKernel kernel) {
  Arguments a;
  a.q = a.out = {0, 4, 64};
  a.log_sum_exp = {0, 4};
  EXPECT_TRUE(kit::simt::profile([&] { a.call(kernel); }).empty())
      << "a launch although there is nothing to do";
}

}  // namespace lab05_tests
