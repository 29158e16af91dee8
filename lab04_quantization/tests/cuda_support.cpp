#include "cuda_support.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "kit/reference_decode.h"
#include "lab04/cuda_kernels.h"
#include "reference_quantizers.h"

namespace lab04_tests {

using kit::DeviceBuffer;
using kit::Tensor;
using kit::simt::Access;
using kit::simt::Counters;
using kit::testing::same_bits;

std::optional<Counters> accesses_of(const kit::testing::LaunchCounts& counts, Access access, int width,
                                    std::int64_t n_bytes) {
  struct Place {
    std::int64_t bytes;
    Counters counters;
  };
  std::vector<Place> places;
  for (const auto& launch : counts.launches()) {
    for (const auto& line : launch.lines) {
      const std::int64_t bytes = line.counters.thread_accesses * line.width;
      if (line.space == kit::simt::Space::kGlobal && line.access == access &&
          (width == 0 || line.width == width) && bytes <= n_bytes)
        places.push_back({bytes, line.counters});
    }
  }
  constexpr std::size_t kMost = 14;  // of the largest places: 2^14 choices
  std::ranges::sort(places, std::greater{}, &Place::bytes);
  places.resize(std::min(places.size(), kMost));
  std::optional<Counters> best;
  const auto distance = [=](const Counters& c) { return std::abs(c.sectors - n_bytes / 32); };
  for (std::uint32_t choice = 1; choice < (1U << places.size()); ++choice) {
    Counters sum;
    std::int64_t bytes = 0;
    for (std::size_t i = 0; i < places.size(); ++i) {
      if ((choice >> i & 1U) == 0) continue;
      bytes += places[i].bytes;
      sum += places[i].counters;
    }
    if (bytes == n_bytes && (!best || distance(sum) < distance(*best))) best = sum;
  }
  return best;
}

Int4Matvec random_int4_matvec(std::int64_t out, std::int64_t in, std::int64_t group_size,
                              std::uint64_t stream) {
  kit::Rng rng = kit::testing::make_rng(stream);
  Int4Matvec w{.codes = Tensor<int>({out, in}),
               .scales = Tensor<float>({out, in / group_size}),
               .x = kit::testing::random_tensor({in}, rng)};
  for (int& code : w.codes.span()) code = static_cast<int>(rng.below(15)) - 7;
  // Results of about 1: a code is 4.3 on average.
  const float unit = 0.25F / std::sqrt(static_cast<float>(in));
  for (float& scale : w.scales.span()) scale = kit::to_float(kit::to_half(unit * rng.uniform(0.5F, 1.5F)));
  return w;
}

Tensor<float> reference(const Int4Matvec& w, const Int4Mistake& mistake) {
  const std::int64_t group_size = w.codes.dim(1) / w.scales.dim(1);
  Tensor<float> y({w.codes.dim(0)});
  for (std::int64_t row = 0; row < w.codes.dim(0); ++row) {
    double sum = 0.0;
    for (std::int64_t i = 0; i < w.codes.dim(1); ++i) {
      const int code = mistake.code ? mistake.code(row, i) : w.codes(row, i);
      const float scale = mistake.scale ? mistake.scale(row, i) : w.scales(row, i / group_size);
      sum += double{scale} * code * w.x(i);
    }
    y(row) = static_cast<float>(sum);
  }
  return y;
}

Tensor<float> run(const Int4Matvec& w) {
  const std::int64_t out = w.codes.dim(0);
  const std::int64_t in = w.codes.dim(1);
  std::vector<std::uint8_t> packed(static_cast<std::size_t>(out * in / 2));
  for (std::size_t i = 0; i < packed.size(); ++i) {
    const int* const pair = w.codes.data() + 2 * i;
    packed[i] = static_cast<std::uint8_t>((pair[0] & 0xF) | (pair[1] & 0xF) << 4);
  }
  std::vector<kit::Half> halves;
  for (const float scale : w.scales.span()) halves.push_back(kit::to_half(scale));
  const DeviceBuffer<std::uint8_t> codes{std::span<const std::uint8_t>(packed)};
  const DeviceBuffer<kit::Half> scales{std::span<const kit::Half>(halves)};
  const DeviceBuffer<float> x(w.x.span());
  DeviceBuffer<float> y = kit::testing::nan_device_buffer(out);
  lab04::matvec_w4a16_cuda(codes.view({out, in / 2}), scales.view(w.scales.shape()), x.view({in}),
                           y.view({out}));
  EXPECT_TRUE(codes.to_host() == packed && same_bits(x.to_host(), w.x.span())) << "an input was changed";
  return kit::testing::to_host(y, {out});
}

Int8Product random_int8_product(std::int64_t n, std::int64_t out, std::int64_t in, std::uint64_t stream) {
  kit::Rng rng = kit::testing::make_rng(stream);
  Int8Product p{.xq = Tensor<std::int8_t>({n, in}),
                .wq = Tensor<std::int8_t>({out, in}),
                .x_scales = {},
                .w_scales = {}};
  const auto random_code = [&] { return static_cast<std::int8_t>(static_cast<int>(rng.below(255)) - 127); };
  std::ranges::generate(p.xq.span(), random_code);
  std::ranges::generate(p.wq.span(), random_code);
  for (std::int64_t i = 0; i < n; ++i) p.x_scales.push_back(rng.uniform(0.01F, 0.02F));
  for (std::int64_t i = 0; i < out; ++i) p.w_scales.push_back(rng.uniform(0.001F, 0.002F));
  return p;
}

Tensor<float> reference(const Int8Product& p, const Int8Mistake& mistake) {
  const auto plain = [](std::int8_t code) { return int{code}; };
  const auto& a = mistake.a ? mistake.a : plain;
  const auto& b = mistake.b ? mistake.b : plain;
  Tensor<float> y({p.xq.dim(0), p.wq.dim(0)});
  for (std::int64_t t = 0; t < y.dim(0); ++t) {
    for (std::int64_t o = 0; o < y.dim(1); ++o) {
      std::int64_t sum = 0;
      for (std::int64_t i = 0; i < p.xq.dim(1); ++i) sum += std::int64_t{a(p.xq(t, i))} * b(p.wq(o, i));
      if (mistake.sum) sum = mistake.sum(sum);
      y(t, o) = static_cast<float>(double{p.x_scales[t]} * double{p.w_scales[o]} * static_cast<double>(sum));
    }
  }
  return y;
}

Tensor<float> run(const Int8Product& p) {
  const DeviceBuffer<std::int8_t> xq(p.xq.span());
  const DeviceBuffer<std::int8_t> wq(p.wq.span());
  const DeviceBuffer<float> x_scales{std::span(p.x_scales)};
  const DeviceBuffer<float> w_scales{std::span(p.w_scales)};
  const kit::Shape shape{p.xq.dim(0), p.wq.dim(0)};
  DeviceBuffer<float> y = kit::testing::nan_device_buffer(shape.size());
  lab04::linear_w8a8_cuda(xq.view(p.xq.shape()), x_scales.view({shape[0]}), wq.view(p.wq.shape()),
                          w_scales.view({shape[1]}), y.view(shape));
  EXPECT_TRUE(std::ranges::equal(xq.to_host(), p.xq.span()) && std::ranges::equal(wq.to_host(), p.wq.span()))
      << "an input was changed";
  return kit::testing::to_host(y, shape);
}

namespace {

/// [n_seqs, max_len, n_kv_heads, head_dim] by the checker's quantizer, a row a head.
void quantize(const Tensor<float>& x, Tensor<std::int8_t>& codes, Tensor<float>& scales) {
  const kit::Shape rows{x.size() / x.dim(3), x.dim(3)};
  const Int8Matrix q = reference_int8_rows({x.data(), rows});
  codes = Tensor<std::int8_t>(x.shape());
  std::ranges::copy(q.codes.span(), codes.data());
  scales = Tensor<float>({x.dim(0), x.dim(1), x.dim(2)});
  std::ranges::copy(q.scales, scales.data());
}

/// The scale of (sequence, position, head).
using ScaleOf = std::function<float(std::int64_t s, std::int64_t t, std::int64_t head)>;

Tensor<float> dequantize(const Tensor<std::int8_t>& codes, const ScaleOf& scale, bool is_unsigned = false) {
  Tensor<float> x(codes.shape());
  for (std::int64_t s = 0; s < x.dim(0); ++s) {
    for (std::int64_t t = 0; t < x.dim(1); ++t) {
      for (std::int64_t h = 0; h < x.dim(2); ++h) {
        for (std::int64_t d = 0; d < x.dim(3); ++d) {
          const int code = is_unsigned ? static_cast<std::uint8_t>(codes(s, t, h, d)) : codes(s, t, h, d);
          x(s, t, h, d) = scale(s, t, h) * static_cast<float>(code);
        }
      }
    }
  }
  return x;
}

Tensor<float> attention(const Int8Decode& batch, const Tensor<float>& k, const Tensor<float>& v,
                        int more_positions = 0, const kit::AttentionVariant& variant = {}) {
  std::vector<std::int32_t> lens;
  for (const std::int32_t length : batch.context_lens) lens.push_back(std::max(1, length + more_positions));
  const std::int64_t max_len = k.dim(1);
  return kit::reference_decode_attention(
             batch.q, k, v, lens, [=](std::int64_t s, std::int64_t t) { return s * max_len + t; }, variant)
      .value();
}

std::vector<kit::KnownMistake> mistakes_of(const Int8Decode& batch) {
  const ScaleOf k_scale = [&](auto s, auto t, auto h) { return batch.k_scales(s, t, h); };
  const ScaleOf v_scale = [&](auto s, auto t, auto h) { return batch.v_scales(s, t, h); };
  const ScaleOf k_of_head_0 = [&](auto s, auto t, auto) { return batch.k_scales(s, t, 0); };
  const ScaleOf v_of_head_0 = [&](auto s, auto t, auto) { return batch.v_scales(s, t, 0); };
  const ScaleOf one = [](auto, auto, auto) { return 1.0F; };
  const Tensor<float> k = dequantize(batch.k, k_scale);
  const Tensor<float> v = dequantize(batch.v, v_scale);
  const char* const head_0 = " with the scale of kv head 0 for every head: each head has one of its own";
  return {
      {fmt::format("keys and values{}", head_0),
       attention(batch, dequantize(batch.k, k_of_head_0), dequantize(batch.v, v_of_head_0))},
      {fmt::format("keys{}", head_0), attention(batch, dequantize(batch.k, k_of_head_0), v)},
      {fmt::format("values{}", head_0), attention(batch, k, dequantize(batch.v, v_of_head_0))},
      {"keys with the scales of values, and values with those of keys",
       attention(batch, dequantize(batch.k, v_scale), dequantize(batch.v, k_scale))},
      {"values with the scales of keys", attention(batch, k, dequantize(batch.v, k_scale))},
      {"keys without their scales", attention(batch, dequantize(batch.k, one), v)},
      {"values without their scales", attention(batch, k, dequantize(batch.v, one))},
      {"codes taken for unsigned bytes",
       attention(batch, dequantize(batch.k, k_scale, true), dequantize(batch.v, v_scale, true))},
      {"attention without the 1/sqrt(head_dim) scale", attention(batch, k, v, 0, {.scale = false})},
      {"query head h reading kv head h % n_kv_heads instead of h / (n_heads / n_kv_heads)",
       attention(batch, k, v, 0, {.kv_head_modulo = true})},
      {"one position too many: context_len itself is not visible", attention(batch, k, v, 1)},
      {"one position too few: the last visible one is context_len - 1", attention(batch, k, v, -1)},
  };
}

}  // namespace

Int8Decode random_int8_decode(const Int8DecodeSizes& sizes, std::uint64_t stream) {
  kit::Rng rng = kit::testing::make_rng(stream);
  const auto n_seqs = static_cast<std::int64_t>(sizes.context_lens.size());
  const kit::Shape cache{n_seqs, *std::ranges::max_element(sizes.context_lens) + 2, sizes.n_kv_heads,
                         sizes.head_dim};
  Int8Decode batch{.q = kit::testing::random_tensor({n_seqs, sizes.n_heads, sizes.head_dim}, rng),
                   .k = {},
                   .v = {},
                   .k_scales = {},
                   .v_scales = {},
                   .context_lens = sizes.context_lens};
  const auto random_heads = [&] {
    Tensor<float> x(cache);
    for (std::int64_t at = 0; at < x.size(); at += sizes.head_dim)
      rng.fill_normal(
          x.span().subspan(static_cast<std::size_t>(at), static_cast<std::size_t>(sizes.head_dim)),
          rng.uniform(0.3F, 1.5F));
    return x;
  };
  quantize(random_heads(), batch.k, batch.k_scales);
  quantize(random_heads(), batch.v, batch.v_scales);
  return batch;
}

Tensor<float> reference(const Int8Decode& batch) {
  return attention(batch,
                   dequantize(batch.k, [&](auto s, auto t, auto h) { return batch.k_scales(s, t, h); }),
                   dequantize(batch.v, [&](auto s, auto t, auto h) { return batch.v_scales(s, t, h); }));
}

Tensor<float> run(const Int8Decode& batch) {
  const DeviceBuffer<float> q(batch.q.span());
  const DeviceBuffer<std::int8_t> k(batch.k.span());
  const DeviceBuffer<std::int8_t> v(batch.v.span());
  const DeviceBuffer<float> k_scales(batch.k_scales.span());
  const DeviceBuffer<float> v_scales(batch.v_scales.span());
  const DeviceBuffer<std::int32_t> lens{std::span(batch.context_lens)};
  DeviceBuffer<float> out = kit::testing::nan_device_buffer(batch.q.size());
  lab04::decode_attention_int8_cuda(q.view(batch.q.shape()), k.view(batch.k.shape()),
                                    k_scales.view(batch.k_scales.shape()), v.view(batch.v.shape()),
                                    v_scales.view(batch.v_scales.shape()), lens.view({batch.q.dim(0)}),
                                    out.view(batch.q.shape()));
  EXPECT_TRUE(std::ranges::equal(k.to_host(), batch.k.span()) &&
              std::ranges::equal(v.to_host(), batch.v.span()) && same_bits(q.to_host(), batch.q.span()))
      << "an input was changed";
  return kit::testing::to_host(out, batch.q.shape());
}

::testing::AssertionResult attends(const Int8Decode& batch, kit::Tolerance tolerance) {
  const Tensor<float> got = run(batch);
  const Tensor<float> expected = reference(batch);
  // Wrong answers are computed only when there is one to explain.
  if (kit::compare(got, expected, tolerance).ok) return ::testing::AssertionSuccess();
  return kit::testing::matches(got, expected, tolerance, mistakes_of(batch));
}

}  // namespace lab04_tests
