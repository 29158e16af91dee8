#include <gtest/gtest.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "cuda_support.h"
#include "lab04/cuda_kernels.h"
#include "reference_quantizers.h"

// append_kv_int8_cuda, whose codes and scales are exact, and decode_attention_int8_cuda.

namespace {

using kit::DeviceBuffer;
using kit::Shape;
using kit::Tensor;
using kit::simt::Access;
using kit::simt::Space;
using kit::testing::LaunchCounts;
using kit::testing::matches;
using kit::testing::nan_device_buffer;
using kit::testing::refuses;
using lab04_tests::attends;
using lab04_tests::counts_of;
using lab04_tests::Int8Decode;
using lab04_tests::Int8DecodeSizes;
using lab04_tests::Int8Matrix;
using lab04_tests::random_int8_decode;
using lab04_tests::reference_int8_rows;

constexpr std::int8_t kMarkedCode = -128;  // no code
constexpr float kMarkedScale = -7.0F;      // no scale

/// A cache, codes as floats.
struct Cache {
  Tensor<float> k, v;                // [n_seqs, max_len, n_kv_heads, head_dim]
  Tensor<float> k_scales, v_scales;  // [n_seqs, max_len, n_kv_heads]
};

struct Append {
  Tensor<float> k, v;  // [n_seqs, n_kv_heads, head_dim]
  std::vector<std::int32_t> positions;
  std::int64_t max_len = 0;

  Shape cache_shape() const { return {k.dim(0), max_len, k.dim(1), k.dim(2)}; }
  Shape scales_shape() const { return {k.dim(0), max_len, k.dim(1)}; }
};

Append random_append(const std::vector<std::int32_t>& positions, std::int64_t max_len,
                     std::int64_t n_kv_heads, std::int64_t head_dim, std::uint64_t stream) {
  kit::Rng rng = kit::testing::make_rng(stream);
  const Shape shape{static_cast<std::int64_t>(positions.size()), n_kv_heads, head_dim};
  Append append{.k = kit::testing::random_tensor(shape, rng),
                .v = kit::testing::random_tensor(shape, rng),
                .positions = positions,
                .max_len = max_len};
  for (Tensor<float>* x : {&append.k, &append.v}) {
    for (std::int64_t s = 0; s < x->dim(0); ++s) {
      for (std::int64_t h = 0; h < x->dim(1); ++h) {
        const float size = rng.uniform(0.1F, 3.0F);
        for (float& value : x->row(s, h)) value *= size;
      }
    }
  }
  return append;
}

Cache run(const Append& append) {
  const Shape shape = append.cache_shape();
  const Shape scales_shape = append.scales_shape();
  const DeviceBuffer<float> k(append.k.span());
  const DeviceBuffer<float> v(append.v.span());
  const DeviceBuffer<std::int32_t> positions{std::span(append.positions)};
  const std::vector<std::int8_t> codes(static_cast<std::size_t>(shape.size()), kMarkedCode);
  const std::vector<float> scales(static_cast<std::size_t>(scales_shape.size()), kMarkedScale);
  DeviceBuffer<std::int8_t> k_cache{std::span(codes)};
  DeviceBuffer<std::int8_t> v_cache{std::span(codes)};
  DeviceBuffer<float> k_scales{std::span(scales)};
  DeviceBuffer<float> v_scales{std::span(scales)};
  lab04::append_kv_int8_cuda(k.view(append.k.shape()), v.view(append.v.shape()),
                             positions.view({append.k.dim(0)}), k_cache.view(shape),
                             k_scales.view(scales_shape), v_cache.view(shape), v_scales.view(scales_shape));
  const auto to_floats = [&](const DeviceBuffer<std::int8_t>& buffer) {
    Tensor<float> floats(shape);
    std::ranges::copy(buffer.to_host(), floats.data());
    return floats;
  };
  return {.k = to_floats(k_cache),
          .v = to_floats(v_cache),
          .k_scales = kit::testing::to_host(k_scales, scales_shape),
          .v_scales = kit::testing::to_host(v_scales, scales_shape)};
}

/// Position of a new token in its sequence.
using PositionOf = std::function<std::int64_t(std::int64_t seq)>;

/// Codes and scales of `x` at these positions, marks everywhere else. With `per_token` a token's heads share
/// the scale of all of them.
void write(const Append& append, const Tensor<float>& x, const PositionOf& position, bool per_token,
           Tensor<float>& codes, Tensor<float>& scales) {
  codes = Tensor<float>(append.cache_shape(), kMarkedCode);
  scales = Tensor<float>(append.scales_shape(), kMarkedScale);
  const std::int64_t n_kv_heads = x.dim(1);
  const Shape rows =
      per_token ? Shape{x.dim(0), n_kv_heads * x.dim(2)} : Shape{x.dim(0) * n_kv_heads, x.dim(2)};
  const Int8Matrix q = reference_int8_rows({x.data(), rows});
  for (std::int64_t s = 0; s < x.dim(0); ++s) {
    for (std::int64_t h = 0; h < n_kv_heads; ++h) {
      const std::int64_t head = s * n_kv_heads + h;
      const std::int64_t row = (s * append.max_len + position(s)) * n_kv_heads + h;
      std::copy_n(q.codes.data() + head * x.dim(2), x.dim(2), codes.data() + row * x.dim(2));
      scales.data()[row] = q.scales[static_cast<std::size_t>(per_token ? s : head)];
    }
  }
}

Cache written(const Append& append, const Tensor<float>& k, const Tensor<float>& v,
              const PositionOf& position, bool per_token = false) {
  Cache cache;
  write(append, k, position, per_token, cache.k, cache.k_scales);
  write(append, v, position, per_token, cache.v, cache.v_scales);
  return cache;
}

void expect_appends(const Append& append) {
  SCOPED_TRACE(fmt::format("caches {}, positions {}", append.cache_shape().to_string(),
                           fmt::join(append.positions, " ")));
  const PositionOf right = [&](std::int64_t s) { return std::int64_t{append.positions[s]}; };
  const Cache expected = written(append, append.k, append.v, right);
  const Cache got = run(append);
  const auto both = [&](const char* cause, const Cache& wrong) {
    return std::pair{kit::KnownMistake{cause, wrong.k_scales}, kit::KnownMistake{cause, wrong.v_scales}};
  };
  const std::pair<kit::KnownMistake, kit::KnownMistake> all[] = {
      both("one scale for all heads of a token: each head has one of its own",
           written(append, append.k, append.v, right, true)),
      both("keys stored as values, and values as keys", written(append, append.v, append.k, right)),
      both("keys stored twice", written(append, append.k, append.k, right)),
      both("values stored twice", written(append, append.v, append.v, right)),
      both("the position of sequence 0 for every sequence",
           written(append, append.k, append.v, [&](std::int64_t) { return right(0); })),
      both("the next position",
           written(append, append.k, append.v,
                   [&](std::int64_t s) { return std::min(right(s) + 1, append.max_len - 1); })),
  };
  std::vector<kit::KnownMistake> k_mistakes, v_mistakes;
  for (const auto& [of_keys, of_values] : all) {
    k_mistakes.push_back(of_keys);
    v_mistakes.push_back(of_values);
  }
  EXPECT_TRUE(matches(got.k_scales, expected.k_scales, {}, k_mistakes)) << "k_scales";
  EXPECT_TRUE(matches(got.v_scales, expected.v_scales, {}, v_mistakes)) << "v_scales";
  EXPECT_TRUE(matches(got.k, expected.k, {})) << "k_cache; -128 is what was there before";
  EXPECT_TRUE(matches(got.v, expected.v, {})) << "v_cache; -128 is what was there before";
}

KIT_CUDA_TEST(AppendKvInt8Cuda, WritesCodesAndScalesOfEveryHead) {
  expect_appends(random_append({0}, 1, 1, 32, 14400));
  expect_appends(random_append({3, 0, 6}, 7, 2, 64, 14401));
  expect_appends(random_append({1, 4}, 5, 3, 96, 14402));
  expect_appends(random_append({8, 2, 5, 0, 7}, 9, 4, 128, 14403));
}

KIT_CUDA_TEST(AppendKvInt8Cuda, ManySequences) {
  std::vector<std::int32_t> positions(31);
  for (std::size_t s = 0; s < positions.size(); ++s) positions[s] = static_cast<std::int32_t>(s * 5 % 11);
  expect_appends(random_append(positions, 11, 3, 32, 14404));
}

KIT_CUDA_TEST(AppendKvInt8Cuda, HeadsOfZeros) {
  Append append = random_append({1, 2}, 3, 2, 64, 14405);
  std::ranges::fill(append.k.row(0, 1), 0.0F);
  std::ranges::fill(append.v.row(1, 0), 0.0F);
  expect_appends(append);
}

KIT_CUDA_TEST(AppendKvInt8Cuda, OneLaunchThatStoresTheNewTokens) {
  KIT_SKIP_WITHOUT_COUNTS();
  const Append append = random_append({3, 0, 6}, 7, 2, 64, 14406);
  const LaunchCounts counts([&] { run(append); });
  EXPECT_EQ(counts.launches().size(), 1U) << "one launch for keys and values of all sequences";
  EXPECT_EQ(counts.bytes(Space::kGlobal, Access::kStore), 2 * 3 * 2 * (64 + 4))
      << "bytes stored in device memory: codes and scales of 3 tokens of 2 heads, each once\n"
      << counts.to_string();
}

// Scores of size 1 carry a few float roundings (6e-8 each) of at most 128 products, in any order, and exp2f
// is exact to two units in the last place (1.2e-7 each): below 1e-5. The mistakes are off by 1e-2 and more.
constexpr kit::Tolerance kTolerance{3e-5, 3e-5};

void expect_attends(const Int8DecodeSizes& sizes, std::uint64_t stream) {
  SCOPED_TRACE(fmt::format("n_heads {}, n_kv_heads {}, head_dim {}, context_lens {}", sizes.n_heads,
                           sizes.n_kv_heads, sizes.head_dim, fmt::join(sizes.context_lens, " ")));
  EXPECT_TRUE(attends(random_int8_decode(sizes, stream), kTolerance));
}

KIT_CUDA_TEST(DecodeAttentionInt8Cuda, MatchesTheReference) {
  expect_attends({.context_lens = {40, 7}}, 14410);
  expect_attends({.context_lens = {9, 37}, .n_heads = 2, .n_kv_heads = 2, .head_dim = 128}, 14411);
  expect_attends({.context_lens = {33}, .n_heads = 8, .n_kv_heads = 2, .head_dim = 32}, 14412);
  expect_attends({.context_lens = {34}, .n_heads = 9, .n_kv_heads = 3, .head_dim = 96}, 14413);
  expect_attends({.context_lens = {20}, .n_heads = 16, .n_kv_heads = 2, .head_dim = 128}, 14414);
}

KIT_CUDA_TEST(DecodeAttentionInt8Cuda, SequencesOfDifferentLengths) {
  expect_attends({.context_lens = {100, 1, 2, 31, 32, 33, 64, 65}, .n_heads = 2, .n_kv_heads = 2}, 14415);
}

KIT_CUDA_TEST(DecodeAttentionInt8Cuda, IgnoresWhatLiesBehindTheEnd) {
  Int8Decode batch = random_int8_decode({.context_lens = {1, 33, 50}}, 14416);
  const Tensor<float> expected = reference(batch);
  for (std::int64_t s = 0; s < batch.k.dim(0); ++s) {
    for (std::int64_t t = batch.context_lens[s]; t < batch.k.dim(1); ++t) {
      for (std::int64_t h = 0; h < batch.k.dim(2); ++h) {
        batch.k_scales(s, t, h) = batch.v_scales(s, t, h) = std::numeric_limits<float>::quiet_NaN();
        for (std::int64_t d = 0; d < batch.k.dim(3); ++d) batch.k(s, t, h, d) = batch.v(s, t, h, d) = 127;
      }
    }
  }
  EXPECT_TRUE(matches(run(batch), expected, kTolerance))
      << "Likely cause: positions behind context_len are read. A weight of 0 does not help: 0 * NaN is NaN.";
}

KIT_CUDA_TEST(DecodeAttentionInt8Cuda, ScoresOfAnySize) {
  for (const float sign : {1.0F, -1.0F}) {
    SCOPED_TRACE(fmt::format("scores are near {}", sign * 300.0F));
    Int8Decode batch = random_int8_decode({.context_lens = {2, 45}}, 14417);
    // Element 0 of every key stands for 300, and of every query for sqrt(head_dim); the others are small.
    for (std::int64_t at = 0; at < batch.q.size(); at += 64) batch.q.data()[at] = sign * 8.0F;
    for (std::int64_t at = 0; at < batch.k.size(); at += 64) batch.k.data()[at] = 127;
    std::ranges::fill(batch.k_scales.span(), 300.0F / 127.0F);
    for (float& x : batch.q.span()) x = std::abs(x) == 8.0F ? x : x / 127.0F;
    // Products sum up to 300 sqrt(64) = 2400, where a float is exact to 1.2e-4, and a few such roundings over
    // sqrt(64) shift a score by less than 2e-4.
    EXPECT_TRUE(matches(run(batch), reference(batch), {1e-3, 1e-3}))
        << (sign > 0 ? "Likely cause of a NaN: e^300 is infinite. Subtract the maximum first."
                     : "Likely cause of a NaN or 0: a maximum that starts at 0 instead of -infinity, so that "
                       "all weights are e^-300 = 0.");
  }
}

KIT_CUDA_TEST(DecodeAttentionInt8Cuda, StoresNothingButTheResult) {
  KIT_SKIP_WITHOUT_COUNTS();
  const Int8Decode batch = random_int8_decode({.context_lens = {40, 7, 3}}, 14418);
  const LaunchCounts counts = counts_of(batch);
  ASSERT_EQ(counts.launches().size(), 1U) << "one launch for all sequences and heads";
  EXPECT_EQ(counts.bytes(Space::kGlobal, Access::kStore), 4 * batch.q.size())
      << "bytes stored in device memory: out, each element once. Keys and values become numbers in "
         "registers\n"
      << counts.to_string();
}

/// All arguments of both functions in device memory, with shapes that a test can bend.
struct Arguments {
  DeviceBuffer<float> memory{std::span<const float>(std::vector<float>(8192, 1.0F))};
  DeviceBuffer<std::int32_t> ints_memory{std::span<const std::int32_t>(std::vector<std::int32_t>(8, 1))};
  DeviceBuffer<std::int8_t> codes_memory{std::span<const std::int8_t>(std::vector<std::int8_t>(16384, 1))};
  DeviceBuffer<float> out_memory = nan_device_buffer(4096);
  Shape k{2, 2, 64}, v{2, 2, 64}, ints{2}, q{2, 4, 64}, out{2, 4, 64};
  Shape k_cache{2, 8, 2, 64}, v_cache{2, 8, 2, 64}, k_scales{2, 8, 2}, v_scales{2, 8, 2};

  void append() {
    lab04::append_kv_int8_cuda({memory.data(), k}, {memory.data(), v}, {ints_memory.data(), ints},
                               {codes_memory.data(), k_cache}, {out_memory.data(), k_scales},
                               {codes_memory.data(), v_cache}, {out_memory.data(), v_scales});
  }
  void decode() {
    lab04::decode_attention_int8_cuda({memory.data(), q}, {codes_memory.data(), k_cache},
                                      {memory.data(), k_scales}, {codes_memory.data(), v_cache},
                                      {memory.data(), v_scales}, {ints_memory.data(), ints},
                                      {out_memory.data(), out});
  }
};

void expect_refuses(void (Arguments::*call)(), const char* what,
                    const std::function<void(Arguments&)>& bend) {
  Arguments arguments;
  bend(arguments);
  EXPECT_TRUE(refuses([&] { (arguments.*call)(); }, arguments.out_memory)) << what;
}

/// What both functions refuse.
void expect_refuses_bad_caches(void (Arguments::*call)()) {
  expect_refuses(call, "caches of different lengths", [](Arguments& a) { a.v_cache = {2, 7, 2, 64}; });
  expect_refuses(call, "caches of 3 sequences", [](Arguments& a) {
    a.k_cache = a.v_cache = {3, 8, 2, 64};
    a.k_scales = a.v_scales = {3, 8, 2};
  });
  expect_refuses(call, "one scale for each token, not for each head", [](Arguments& a) {
    a.k_scales = a.v_scales = {2, 8, 1};
  });
  expect_refuses(call, "scales of values without heads", [](Arguments& a) { a.v_scales = {2, 16}; });
  expect_refuses(call, "another head_dim in the caches", [](Arguments& a) {
    a.k_cache = a.v_cache = {2, 8, 2, 32};
  });
  expect_refuses(call, "head_dim 48 is no multiple of 32", [](Arguments& a) {
    a.k = a.v = {2, 2, 48};
    a.q = a.out = {2, 4, 48};
    a.k_cache = a.v_cache = {2, 8, 2, 48};
  });
  expect_refuses(call, "head_dim 160 is above 128", [](Arguments& a) {
    a.k = a.v = {2, 2, 160};
    a.q = a.out = {2, 4, 160};
    a.k_cache = a.v_cache = {2, 8, 2, 160};
  });
  expect_refuses(call, "one position or length for two sequences", [](Arguments& a) { a.ints = {1}; });
}

KIT_CUDA_TEST(AppendKvInt8Cuda, RejectsShapesThatDisagree) {
  expect_refuses_bad_caches(&Arguments::append);
  expect_refuses(&Arguments::append, "k and v have different shapes", [](Arguments& a) { a.v = {2, 1, 64}; });
  expect_refuses(&Arguments::append, "k is [n_seqs, n_kv_heads * head_dim]", [](Arguments& a) {
    a.k = a.v = {2, 128};
  });
  expect_refuses(&Arguments::append, "tokens have one head more than caches", [](Arguments& a) {
    a.k = a.v = {2, 3, 64};
  });
}

KIT_CUDA_TEST(DecodeAttentionInt8Cuda, RejectsShapesThatDisagree) {
  expect_refuses_bad_caches(&Arguments::decode);
  const auto decode = &Arguments::decode;
  expect_refuses(decode, "q is [n_seqs, n_heads * head_dim]", [](Arguments& a) { a.q = a.out = {2, 256}; });
  expect_refuses(decode, "out has one head less than q", [](Arguments& a) { a.out = {2, 3, 64}; });
  expect_refuses(decode, "2 kv heads do not divide 5 heads", [](Arguments& a) { a.q = a.out = {2, 5, 64}; });
  expect_refuses(decode, "more kv heads than heads", [](Arguments& a) { a.q = a.out = {2, 1, 64}; });
  expect_refuses(decode, "a group of 9 query heads, 8 are allowed", [](Arguments& a) {
    a.q = a.out = {2, 18, 64};
  });
}

KIT_CUDA_TEST(AppendKvInt8Cuda, NoSequencesNoLaunch) {
  KIT_SKIP_WITHOUT_COUNTS();
  Arguments a;
  a.k = a.v = {0, 2, 64};
  a.k_cache = a.v_cache = {0, 8, 2, 64};
  a.k_scales = a.v_scales = {0, 8, 2};
  a.ints = {0};
  EXPECT_TRUE(kit::simt::profile([&] { a.append(); }).empty()) << "a launch although there is nothing to do";
}

KIT_CUDA_TEST(DecodeAttentionInt8Cuda, NoSequencesNoLaunch) {
  KIT_SKIP_WITHOUT_COUNTS();
  Arguments a;
  a.q = a.out = {0, 4, 64};
  a.k_cache = a.v_cache = {0, 8, 2, 64};
  a.k_scales = a.v_scales = {0, 8, 2};
  a.ints = {0};
  EXPECT_TRUE(kit::simt::profile([&] { a.decode(); }).empty()) << "a launch although there is nothing to do";
}

}  // namespace
