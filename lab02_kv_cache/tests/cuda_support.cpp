#include "cuda_support.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <optional>

#include "lab02/cuda_kernels.h"

namespace lab02_tests {

using kit::DeviceBuffer;
using kit::Tensor;
using kit::testing::random_tensor;
using kit::testing::same_bits;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::int64_t longest(const std::vector<std::int32_t>& lens) {
  return lens.empty() ? 0 : *std::ranges::max_element(lens);
}

/// Rows of k and v that hold a visible position.
std::vector<bool> visible_rows(const DecodeBatch& batch) {
  std::vector<bool> visible(static_cast<std::size_t>(batch.k.dim(0) * batch.k.dim(1)));
  for (std::int64_t s = 0; s < batch.n_seqs(); ++s) {
    for (std::int64_t t = 0; t < batch.context_lens[s]; ++t) visible[batch.row_of(s, t)] = true;
  }
  return visible;
}

/// A wrong answer: other lengths, other rows, or a variant of attention.
struct Mistake {
  std::string cause;
  std::function<std::int64_t(std::int64_t seq)> length;
  kit::RowOf row_of;
  kit::AttentionVariant variant;
};

std::vector<Mistake> paged_mistakes(const DecodeBatch& batch,
                                    const std::function<std::int64_t(std::int64_t)>& length) {
  const std::int64_t size = batch.k.dim(1);  // of a block
  const std::int64_t max_blocks = batch.block_tables.dim(1);
  const auto entry = [&batch](std::int64_t s, std::int64_t i) {
    return i < batch.block_tables.dim(1) ? std::int64_t{batch.block_tables(s, i)} : std::int64_t{-1};
  };
  return {
      {"the last block read to its end instead of to context_len",
       [=](std::int64_t s) { return (length(s) + size - 1) / size * size; },
       {},
       {}},
      {"a position t looked up in block_table[t % block_size] at place t / block_size: / and % are exchanged",
       length,
       [=](std::int64_t s, std::int64_t t) { return entry(s, t % size) * size + t / size; },
       {}},
      {"the block table ignored: positions are taken in the order of the blocks",
       length,
       [=](std::int64_t s, std::int64_t t) { return s * max_blocks * size + t; },
       {}},
      {"the block table of sequence 0 used for every sequence",
       length,
       [=](std::int64_t, std::int64_t t) { return entry(0, t / size) * size + t % size; },
       {}},
      {"block numbers used as rows, not multiplied by block_size",
       length,
       [=](std::int64_t s, std::int64_t t) { return entry(s, t / size) + t % size; },
       {}},
  };
}

std::vector<Mistake> contiguous_mistakes(const DecodeBatch& batch,
                                         const std::function<std::int64_t(std::int64_t)>& length) {
  const std::int64_t max_len = batch.k.dim(1);
  return {
      {"all max_len positions read, whatever context_lens says",
       [=](std::int64_t) { return max_len; },
       {},
       {}},
      {"the keys and values of sequence 0 used for every sequence",
       length,
       [=](std::int64_t, std::int64_t t) { return t; },
       {}},
  };
}

std::vector<Mistake> mistakes_of(const DecodeBatch& batch) {
  const auto length = [&batch](std::int64_t s) { return std::int64_t{batch.context_lens[s]}; };
  std::vector<Mistake> all = {
      {"attention without the 1/sqrt(head_dim) scale", length, {}, {.scale = false}},
      {"query head h reading kv head h % n_kv_heads instead of h / (n_heads / n_kv_heads)",
       length,
       {},
       {.kv_head_modulo = true}},
      {"one position too many: context_len itself is not visible",
       [=](std::int64_t s) { return length(s) + 1; },
       {},
       {}},
      {"one position too few: the last visible one is context_len - 1",
       [=](std::int64_t s) { return length(s) - 1; },
       {},
       {}},
      {"the length of sequence 0 used for every sequence", [=](std::int64_t) { return length(0); }, {}, {}},
  };
  const auto more = batch.paged() ? paged_mistakes(batch, length) : contiguous_mistakes(batch, length);
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

std::vector<kit::KnownMistake> known_mistakes(const DecodeBatch& batch) {
  std::vector<kit::KnownMistake> known;
  const kit::RowOf right = [&](std::int64_t s, std::int64_t t) { return batch.row_of(s, t); };
  for (const Mistake& mistake : mistakes_of(batch)) {
    std::vector<std::int32_t> lens;
    for (std::int64_t s = 0; s < batch.n_seqs(); ++s)
      lens.push_back(static_cast<std::int32_t>(mistake.length(s)));
    auto result = kit::reference_decode_attention(batch.q, batch.k, batch.v, lens,
                                                  mistake.row_of ? mistake.row_of : right, mistake.variant);
    if (result) known.push_back({mistake.cause, std::move(*result)});
  }
  return known;
}

}  // namespace

std::int64_t DecodeBatch::row_of(std::int64_t seq, std::int64_t position) const {
  const std::int64_t size = k.dim(1);
  if (!paged()) return seq * size + position;
  // A sequence that has not this many blocks has no such row.
  const std::int64_t i = position / size;
  return i < block_tables.dim(1) ? block_tables(seq, i) * size + position % size : -1;
}

DecodeBatch contiguous_batch(const DecodeSizes& sizes, std::uint64_t stream) {
  kit::Rng rng = kit::testing::make_rng(stream);
  const auto n_seqs = static_cast<std::int64_t>(sizes.context_lens.size());
  // Behind the longest sequence there is room for two more.
  const kit::Shape cache{n_seqs, longest(sizes.context_lens) + 2, sizes.n_kv_heads, sizes.head_dim};
  return {.q = random_tensor({n_seqs, sizes.n_heads, sizes.head_dim}, rng),
          .k = random_tensor(cache, rng),
          .v = random_tensor(cache, rng),
          .block_tables = {},
          .context_lens = sizes.context_lens};
}

DecodeBatch paged_batch(const DecodeSizes& sizes, std::int64_t block_size, std::uint64_t stream) {
  kit::Rng rng = kit::testing::make_rng(stream);
  const auto n_seqs = static_cast<std::int64_t>(sizes.context_lens.size());
  // One more than the longest needs, and up to a whole sector of entries.
  const std::int64_t n_needed = (longest(sizes.context_lens) + block_size - 1) / block_size;
  const std::int64_t max_blocks = (n_needed + 1 + 7) / 8 * 8;
  const std::int64_t n_blocks = n_seqs * max_blocks + 3;
  std::vector<std::int32_t> blocks(static_cast<std::size_t>(n_blocks));
  std::iota(blocks.begin(), blocks.end(), 0);
  for (std::size_t i = blocks.size(); i > 1; --i)
    std::swap(blocks[i - 1], blocks[rng.below(static_cast<std::uint32_t>(i))]);

  const kit::Shape cache{n_blocks, block_size, sizes.n_kv_heads, sizes.head_dim};
  DecodeBatch batch{.q = random_tensor({n_seqs, sizes.n_heads, sizes.head_dim}, rng),
                    .k = random_tensor(cache, rng),
                    .v = random_tensor(cache, rng),
                    .block_tables = Tensor<std::int32_t>({n_seqs, max_blocks}),
                    .context_lens = sizes.context_lens};
  std::copy_n(blocks.begin(), batch.block_tables.size(), batch.block_tables.data());
  return batch;
}

void spoil_the_rest(DecodeBatch& batch) {
  const std::vector<bool> visible = visible_rows(batch);
  const std::int64_t row_size = batch.k.dim(2) * batch.k.dim(3);
  for (std::size_t row = 0; row < visible.size(); ++row) {
    if (visible[row]) continue;
    const std::int64_t at = static_cast<std::int64_t>(row) * row_size;
    std::fill_n(batch.k.data() + at, row_size, kNan);
    std::fill_n(batch.v.data() + at, row_size, kNan);
  }
  for (std::int64_t s = 0; batch.paged() && s < batch.n_seqs(); ++s) {
    const std::int64_t size = batch.k.dim(1);
    for (std::int64_t i = (batch.context_lens[s] + size - 1) / size; i < batch.block_tables.dim(1); ++i)
      batch.block_tables(s, i) = i % 2 == 0 ? 1'000'000'000 : -1;
  }
}

Tensor<float> run(const DecodeBatch& batch) {
  const DeviceBuffer<float> q(batch.q.span());
  const DeviceBuffer<float> k(batch.k.span());
  const DeviceBuffer<float> v(batch.v.span());
  const DeviceBuffer<std::int32_t> lens{std::span(batch.context_lens)};
  const DeviceBuffer<std::int32_t> tables(batch.block_tables.span());
  DeviceBuffer<float> out = kit::testing::nan_device_buffer(batch.q.size());
  const kit::Shape n_seqs{batch.n_seqs()};
  if (batch.paged()) {
    lab02::paged_decode_attention_cuda(q.view(batch.q.shape()), k.view(batch.k.shape()),
                                       v.view(batch.v.shape()), tables.view(batch.block_tables.shape()),
                                       lens.view(n_seqs), out.view(batch.q.shape()));
  } else {
    lab02::decode_attention_cuda(q.view(batch.q.shape()), k.view(batch.k.shape()), v.view(batch.v.shape()),
                                 lens.view(n_seqs), out.view(batch.q.shape()));
  }
  Tensor<float> result = kit::testing::to_host(out, batch.q.shape());
  EXPECT_TRUE(same_bits(q.to_host(), batch.q.span()) && same_bits(k.to_host(), batch.k.span()) &&
              same_bits(v.to_host(), batch.v.span()))
      << "an input was changed";
  return result;
}

Tensor<float> reference(const DecodeBatch& batch) {
  return kit::reference_decode_attention(batch.q, batch.k, batch.v, batch.context_lens,
                                         [&](std::int64_t s, std::int64_t t) { return batch.row_of(s, t); })
      .value();
}

::testing::AssertionResult attends(const DecodeBatch& batch, kit::Tolerance tolerance) {
  const Tensor<float> got = run(batch);
  const Tensor<float> expected = reference(batch);
  // Wrong answers are computed only when there is one to explain.
  if (kit::compare(got, expected, tolerance).ok) return ::testing::AssertionSuccess();
  return kit::testing::matches(got, expected, tolerance, known_mistakes(batch));
}

kit::testing::LaunchCounts counts_of(const DecodeBatch& batch) {
  return kit::testing::LaunchCounts([&] {
    const Tensor<float> got = run(batch);
    EXPECT_TRUE(kit::testing::matches(got, reference(batch), {1e-4, 1e-4}))
        << "the result is wrong, so counts say little";
  });
}

}  // namespace lab02_tests
