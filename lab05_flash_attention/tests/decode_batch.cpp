#include "decode_batch.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <span>
#include <utility>

#include "lab05/cuda_kernels.h"

namespace lab05_tests {

using kit::DeviceBuffer;
using kit::Shape;
using kit::Tensor;
using kit::testing::nan_device_buffer;
using kit::testing::random_tensor;
using kit::testing::same_bits;
using kit::testing::to_host;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr double kNothing = -std::numeric_limits<double>::infinity();

using Range = std::pair<std::int64_t, std::int64_t>;  // positions, the second excluded

/// A right decode, or a wrong one with a cause.
struct Variant {
  std::string cause = {};
  bool scale = true;
  bool kv_head_modulo = false;
  std::function<Range(std::int64_t context_len, std::int64_t split)> range = {};
  std::function<std::int64_t(std::int64_t seq, std::int64_t position)> row_of = {};
  std::function<double(double lse, double max)> weight = {};  // of a split in the merge
  double empty_lse = kNothing;                                // of a split without positions
  bool divided = true;                                        // a split's values by its sum
};

/// The softmax average of a range of positions, for one query head.
struct Average {
  double lse = kNothing;
  double sum = 0.0;         // relative to the largest score
  std::vector<double> out;  // [head_dim]
};

/// Rows of keys and values of a sequence, and the query that looks at them.
struct View {
  const DecodeBatch& batch;
  const Variant& variant;
  std::int64_t seq, head, kv_head;
};

/// Nothing when a position has no row: tests try wrong mappings, too.
std::optional<Average> average(const View& view, Range range) {
  const DecodeBatch& batch = view.batch;
  const std::int64_t head_dim = batch.q.dim(2);
  const std::int64_t row_size = batch.k.dim(2) * head_dim;
  const float* const q = batch.q.data() + (view.seq * batch.q.dim(1) + view.head) * head_dim;
  std::vector<double> scores;
  std::vector<const float*> values;
  for (std::int64_t p = range.first; p < range.second; ++p) {
    const std::int64_t row =
        view.variant.row_of ? view.variant.row_of(view.seq, p) : batch.row_of(view.seq, p);
    if (row < 0 || (row + 1) * row_size > batch.k.size()) return std::nullopt;
    const std::int64_t at = row * row_size + view.kv_head * head_dim;
    double score = 0.0;
    for (std::int64_t i = 0; i < head_dim; ++i) score += double{q[i]} * double{batch.k.data()[at + i]};
    scores.push_back(view.variant.scale ? score / std::sqrt(static_cast<double>(head_dim)) : score);
    values.push_back(batch.v.data() + at);
  }
  Average result{.out = std::vector<double>(static_cast<std::size_t>(head_dim))};
  if (scores.empty()) return result;
  const double max = *std::ranges::max_element(scores);
  for (std::size_t j = 0; j < scores.size(); ++j) {
    const double weight = std::exp(scores[j] - max);
    result.sum += weight;
    for (std::size_t i = 0; i < result.out.size(); ++i) result.out[i] += weight * double{values[j][i]};
  }
  for (double& element : result.out) element /= result.sum;
  result.lse = max + std::log(result.sum);
  return result;
}

/// Splits of one query head, merged into out [head_dim]; returns the log-sum-exp.
double merge(const std::vector<Average>& splits, const Variant& variant, float* out) {
  std::vector<double> lses;
  lses.reserve(splits.size());
  for (const Average& split : splits) lses.push_back(split.sum == 0.0 ? variant.empty_lse : split.lse);
  const double max = *std::ranges::max_element(lses);
  const std::size_t head_dim = splits.front().out.size();
  std::fill_n(out, head_dim, 0.0F);
  if (max == kNothing) return max;
  double sum = 0.0;
  std::vector<double> average(head_dim);
  for (std::size_t s = 0; s < splits.size(); ++s) {
    const double weight = variant.weight ? variant.weight(lses[s], max) : std::exp(lses[s] - max);
    sum += weight;
    for (std::size_t i = 0; i < head_dim; ++i) average[i] += weight * splits[s].out[i];
  }
  for (std::size_t i = 0; i < head_dim; ++i) out[i] = static_cast<float>(average[i] / sum);
  return max + std::log(sum);
}

Decoded nan_result(const DecodeBatch& batch) {
  const std::int64_t n_seqs = batch.n_seqs();
  const std::int64_t n_heads = batch.q.dim(1);
  return {.partial_out = Tensor<float>(Shape{n_seqs, n_heads, batch.n_splits, batch.q.dim(2)}, kNan),
          .partial_log_sum_exp = Tensor<float>(Shape{n_seqs, n_heads, batch.n_splits}, kNan),
          .out = Tensor<float>(batch.q.shape(), kNan),
          .log_sum_exp = Tensor<float>(Shape{n_seqs, n_heads}, kNan)};
}

std::optional<Decoded> decode(const DecodeBatch& batch, const Variant& variant) {
  Decoded result = nan_result(batch);
  const std::int64_t head_dim = batch.q.dim(2);
  const std::int64_t n_heads = batch.q.dim(1);
  const std::int64_t n_kv_heads = batch.k.dim(2);
  for (std::int64_t s = 0; s < batch.n_seqs(); ++s) {
    const std::int64_t len = batch.context_lens[static_cast<std::size_t>(s)];
    const std::int64_t chunk = (len + batch.n_splits - 1) / batch.n_splits;
    for (std::int64_t h = 0; h < n_heads; ++h) {
      const std::int64_t kv_head = variant.kv_head_modulo ? h % n_kv_heads : h / (n_heads / n_kv_heads);
      std::vector<Average> splits;
      for (std::int64_t i = 0; i < batch.n_splits; ++i) {
        const Range right{i * chunk, std::min((i + 1) * chunk, len)};
        const auto split =
            average({batch, variant, s, h, kv_head}, variant.range ? variant.range(len, i) : right);
        if (!split) return std::nullopt;
        const std::int64_t at = (s * n_heads + h) * batch.n_splits + i;
        result.partial_log_sum_exp.data()[at] =
            static_cast<float>(split->sum == 0.0 ? variant.empty_lse : split->lse);
        const double factor = variant.divided ? 1.0 : split->sum;
        for (std::int64_t e = 0; e < head_dim; ++e)
          result.partial_out.data()[at * head_dim + e] =
              static_cast<float>(factor * split->out[static_cast<std::size_t>(e)]);
        splits.push_back(*split);
      }
      result.log_sum_exp(s, h) =
          static_cast<float>(merge(splits, variant, result.out.data() + (s * n_heads + h) * head_dim));
    }
  }
  return result;
}

std::vector<Variant> mistakes_of_paging(const DecodeBatch& batch) {
  const std::int64_t size = batch.k.dim(1);
  const auto entry = [&batch](std::int64_t s, std::int64_t i) {
    return i < batch.block_tables.dim(1) ? std::int64_t{batch.block_tables(s, i)} : std::int64_t{-1};
  };
  return {
      {.cause =
           "a position p looked up in block_tables[s, p % block_size] at row p / block_size: / and % are "
           "exchanged",
       .row_of = [=](auto s, auto p) { return entry(s, p % size) * size + p / size; }},
      {.cause = "the block table of sequence 0 used for every sequence",
       .row_of = [=](auto, auto p) { return entry(0, p / size) * size + p % size; }},
      {.cause = "block numbers used as rows, not multiplied by block_size",
       .row_of = [=](auto s, auto p) { return entry(s, p / size) + p % size; }},
      {.cause = "the block table ignored: positions are taken in the order of the blocks",
       .row_of = [size, n = batch.block_tables.dim(1)](auto s, auto p) { return s * n * size + p; }},
      {.cause = "a split's positions counted from its own beginning when they are looked up: every split "
                "reads the first blocks",
       .row_of =
           [=, &batch](auto s, auto p) {
             const std::int64_t len = batch.context_lens[static_cast<std::size_t>(s)];
             const std::int64_t in_split = p % ((len + batch.n_splits - 1) / batch.n_splits);
             return entry(s, in_split / size) * size + in_split % size;
           }},
  };
}

std::vector<Variant> mistakes_of(const DecodeBatch& batch) {
  const std::int64_t n = batch.n_splits;
  const auto chunk = [n](std::int64_t len) { return (len + n - 1) / n; };
  std::vector<Variant> all = {
      {.cause = "attention without the 1/sqrt(head_dim) scale", .scale = false},
      {.cause = "query head h reading kv head h % n_kv_heads instead of h / (n_heads / n_kv_heads)",
       .kv_head_modulo = true},
      {.cause = "splits that overlap by one: the first position of the next split counts twice",
       .range =
           [=](auto len, auto i) {
             return Range{i * chunk(len), std::min((i + 1) * chunk(len) + 1, len)};
           }},
      {.cause = "splits without their last position",
       .range =
           [=](auto len, auto i) {
             return Range{i * chunk(len), std::min((i + 1) * chunk(len), len) - 1};
           }},
      {.cause = "the last split read to the end of its chunk instead of to context_len",
       .range =
           [=](auto len, auto i) {
             return Range{i * chunk(len), (i + 1) * chunk(len)};
           }},
      {.cause = "chunks of floor(context_len / n_splits): what is left over is read by no split",
       .range =
           [=](auto len, auto i) {
             return Range{i * (len / n), (i + 1) * (len / n)};
           }},
      {.cause = "one split with all positions, the others empty",
       .range =
           [](auto len, auto i) {
             return i == 0 ? Range{0, len} : Range{0, 0};
           }},
      {.cause = "only the first split: the others are lost in the merge",
       .range =
           [=](auto len, auto i) {
             return i == 0 ? Range{0, std::min(chunk(len), len)} : Range{0, 0};
           }},
      {.cause = "the mean of all splits' results: a split must weigh e^(its log-sum-exp)",
       .weight = [](double, double) { return 1.0; }},
      {.cause = "the mean of the splits that have positions: a split must weigh e^(its log-sum-exp)",
       .weight = [](double lse, double) { return lse == kNothing ? 0.0 : 1.0; }},
      {.cause = "splits weighted by e^(maximum - log-sum-exp): the sign of the exponent",
       .weight = [](double lse, double max) { return lse == kNothing ? 0.0 : std::exp(max - lse); }},
      {.cause = "splits weighted by 2^(log-sum-exp - maximum), although it is a natural logarithm",
       .weight = [](double lse, double max) { return std::exp2(lse - max); }},
      {.cause = "empty splits with a log-sum-exp of 0: they weigh e^0. Nothing has a sum of 0, and its "
                "logarithm is -infinity",
       .empty_lse = 0.0},
      {.cause = "values that a split has not divided by its sum", .divided = false},
  };
  if (batch.paged()) {
    auto more = mistakes_of_paging(batch);
    std::ranges::move(more, std::back_inserter(all));
  }
  return all;
}

struct Field {
  const char* name;
  Tensor<float> Decoded::*tensor;
};

/// Compares some fields of a result. Wrong answers are computed only when there is one to explain.
::testing::AssertionResult matches_fields(const DecodeBatch& batch, std::span<const Field> fields,
                                          kit::Tolerance tolerance) {
  const Decoded got = run(batch);
  const Decoded expected = reference(batch);
  std::string message;
  for (const Field& field : fields) {
    if (kit::compare(got.*field.tensor, expected.*field.tensor, tolerance).ok) continue;
    std::vector<kit::KnownMistake> known;
    for (const Variant& mistake : mistakes_of(batch)) {
      auto result = decode(batch, mistake);
      if (result) known.push_back({mistake.cause, std::move((*result).*field.tensor)});
    }
    if (field.tensor == &Decoded::log_sum_exp || field.tensor == &Decoded::partial_log_sum_exp) {
      Tensor<float> base_2 = expected.*field.tensor;
      for (float& lse : base_2.span()) lse *= 1.44269504F;
      known.push_back({"a logarithm to base 2, it must be natural", std::move(base_2)});
    }
    message += fmt::format("{}:\n{}", field.name,
                           kit::compare(got.*field.tensor, expected.*field.tensor, tolerance, known).message);
  }
  if (message.empty()) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << message;
}

}  // namespace

std::string DecodeSizes::to_string() const {
  return fmt::format("n_heads {}, n_kv_heads {}, head_dim {}, n_splits {}, context_lens {}", n_heads,
                     n_kv_heads, head_dim, n_splits, fmt::join(context_lens, " "));
}

std::int64_t DecodeBatch::row_of(std::int64_t seq, std::int64_t position) const {
  const std::int64_t size = k.dim(1);
  if (!paged()) return seq * size + position;
  const std::int64_t i = position / size;
  return i < block_tables.dim(1) ? block_tables(seq, i) * size + position % size : -1;
}

DecodeBatch contiguous_batch(const DecodeSizes& sizes, std::uint64_t stream) {
  kit::Rng rng = kit::testing::make_rng(stream);
  const auto n_seqs = static_cast<std::int64_t>(sizes.context_lens.size());
  // Behind the longest sequence there is room for a split that reads too far.
  const std::int64_t longest = *std::ranges::max_element(sizes.context_lens);
  const Shape cache{n_seqs, longest + sizes.n_splits, sizes.n_kv_heads, sizes.head_dim};
  return {.q = random_tensor({n_seqs, sizes.n_heads, sizes.head_dim}, rng),
          .k = random_tensor(cache, rng),
          .v = random_tensor(cache, rng),
          .block_tables = {},
          .context_lens = sizes.context_lens,
          .n_splits = sizes.n_splits};
}

DecodeBatch paged_batch(const DecodeSizes& sizes, std::int64_t block_size, std::uint64_t stream) {
  kit::Rng rng = kit::testing::make_rng(stream);
  const auto n_seqs = static_cast<std::int64_t>(sizes.context_lens.size());
  const std::int64_t longest = *std::ranges::max_element(sizes.context_lens);
  // One more than the longest needs, and up to a whole sector of entries.
  const std::int64_t max_blocks = ((longest + block_size - 1) / block_size + 1 + 7) / 8 * 8;
  const std::int64_t n_blocks = n_seqs * max_blocks + 3;
  std::vector<std::int32_t> blocks(static_cast<std::size_t>(n_blocks));
  std::iota(blocks.begin(), blocks.end(), 0);
  for (std::size_t i = blocks.size(); i > 1; --i)
    std::swap(blocks[i - 1], blocks[rng.below(static_cast<std::uint32_t>(i))]);

  const Shape cache{n_blocks, block_size, sizes.n_kv_heads, sizes.head_dim};
  DecodeBatch batch{.q = random_tensor({n_seqs, sizes.n_heads, sizes.head_dim}, rng),
                    .k = random_tensor(cache, rng),
                    .v = random_tensor(cache, rng),
                    .block_tables = Tensor<std::int32_t>({n_seqs, max_blocks}),
                    .context_lens = sizes.context_lens,
                    .n_splits = sizes.n_splits};
  std::copy_n(blocks.begin(), batch.block_tables.size(), batch.block_tables.data());
  return batch;
}

void spoil_the_rest(DecodeBatch& batch) {
  std::vector<bool> visible(static_cast<std::size_t>(batch.k.dim(0) * batch.k.dim(1)));
  for (std::int64_t s = 0; s < batch.n_seqs(); ++s) {
    for (std::int64_t p = 0; p < batch.context_lens[static_cast<std::size_t>(s)]; ++p)
      visible[static_cast<std::size_t>(batch.row_of(s, p))] = true;
  }
  const std::int64_t row_size = batch.k.dim(2) * batch.k.dim(3);
  for (std::size_t row = 0; row < visible.size(); ++row) {
    if (visible[row]) continue;
    const std::int64_t at = static_cast<std::int64_t>(row) * row_size;
    std::fill_n(batch.k.data() + at, row_size, kNan);
    std::fill_n(batch.v.data() + at, row_size, kNan);
  }
  for (std::int64_t s = 0; batch.paged() && s < batch.n_seqs(); ++s) {
    const std::int64_t size = batch.k.dim(1);
    const std::int64_t len = batch.context_lens[static_cast<std::size_t>(s)];
    for (std::int64_t i = (len + size - 1) / size; i < batch.block_tables.dim(1); ++i)
      batch.block_tables(s, i) = i % 2 == 0 ? 1'000'000'000 : -1;
  }
}

Decoded run(const DecodeBatch& batch) {
  Decoded result = nan_result(batch);
  const DeviceBuffer<float> q(batch.q.span());
  const DeviceBuffer<float> k(batch.k.span());
  const DeviceBuffer<float> v(batch.v.span());
  const DeviceBuffer<std::int32_t> lens{std::span(batch.context_lens)};
  const DeviceBuffer<std::int32_t> tables(batch.block_tables.span());
  DeviceBuffer<float> partial_out = nan_device_buffer(result.partial_out.size());
  DeviceBuffer<float> partial_lse = nan_device_buffer(result.partial_log_sum_exp.size());
  DeviceBuffer<float> out = nan_device_buffer(result.out.size());
  DeviceBuffer<float> lse = nan_device_buffer(result.log_sum_exp.size());
  const Shape n_seqs{batch.n_seqs()};
  if (batch.paged()) {
    lab05::paged_flash_decoding_cuda(
        q.view(batch.q.shape()), k.view(batch.k.shape()), v.view(batch.v.shape()),
        tables.view(batch.block_tables.shape()), lens.view(n_seqs), batch.n_splits,
        partial_out.view(result.partial_out.shape()), partial_lse.view(result.partial_log_sum_exp.shape()),
        out.view(result.out.shape()), lse.view(result.log_sum_exp.shape()));
  } else {
    lab05::flash_decoding_cuda(q.view(batch.q.shape()), k.view(batch.k.shape()), v.view(batch.v.shape()),
                               lens.view(n_seqs), batch.n_splits,
                               partial_out.view(result.partial_out.shape()),
                               partial_lse.view(result.partial_log_sum_exp.shape()),
                               out.view(result.out.shape()), lse.view(result.log_sum_exp.shape()));
  }
  result.partial_out = to_host(partial_out, result.partial_out.shape());
  result.partial_log_sum_exp = to_host(partial_lse, result.partial_log_sum_exp.shape());
  result.out = to_host(out, result.out.shape());
  result.log_sum_exp = to_host(lse, result.log_sum_exp.shape());
  EXPECT_TRUE(same_bits(q.to_host(), batch.q.span()) && same_bits(k.to_host(), batch.k.span()) &&
              same_bits(v.to_host(), batch.v.span()))
      << "an input was changed";
  return result;
}

Decoded reference(const DecodeBatch& batch) {
  return decode(batch, {}).value();
}

::testing::AssertionResult attends(const DecodeBatch& batch, kit::Tolerance tolerance) {
  static constexpr Field kFields[] = {{"out", &Decoded::out}, {"log_sum_exp", &Decoded::log_sum_exp}};
  return matches_fields(batch, kFields, tolerance);
}

::testing::AssertionResult splits_right(const DecodeBatch& batch, kit::Tolerance tolerance) {
  static constexpr Field kFields[] = {{"partial_out", &Decoded::partial_out},
                                      {"partial_log_sum_exp", &Decoded::partial_log_sum_exp}};
  return matches_fields(batch, kFields, tolerance);
}

kit::testing::LaunchCounts counts_of(const DecodeBatch& batch) {
  return kit::testing::LaunchCounts([&] {
    const Decoded got = run(batch);
    EXPECT_TRUE(kit::testing::matches(got.out, reference(batch).out, {1e-4, 1e-4}))
        << "the result is wrong, so counts say little";
  });
}

}  // namespace lab05_tests
