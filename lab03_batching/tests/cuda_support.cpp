#include "cuda_support.h"

#include <limits>

#include "lab03/ragged_attention.h"

namespace lab03_tests {

using kit::DeviceBuffer;
using kit::Tensor;

namespace {

constexpr std::int64_t kMargin = 4096;  // elements; keeps the view's alignment

/// `array` in device memory between NaNs.
DeviceBuffer<float> with_margins(const Tensor<float>& array) {
  std::vector<float> memory(static_cast<std::size_t>(array.size() + 2 * kMargin),
                            std::numeric_limits<float>::quiet_NaN());
  std::ranges::copy(array.span(), memory.begin() + kMargin);
  return DeviceBuffer<float>(std::span<const float>(memory));
}

bool unchanged(const DeviceBuffer<float>& buffer, const Tensor<float>& array) {
  const std::vector<float> memory = buffer.to_host();
  return kit::testing::same_bits(std::span(memory).subspan(kMargin, static_cast<std::size_t>(array.size())),
                                 array.span());
}

}  // namespace

Tensor<float> run_on_device(const RaggedBatch& batch) {
  const DeviceBuffer<float> q(batch.q.span());
  const DeviceBuffer<float> k = with_margins(batch.k);
  const DeviceBuffer<float> v = with_margins(batch.v);
  const DeviceBuffer<std::int32_t> cu{std::span(batch.cu_kv_lens)};
  DeviceBuffer<float> out = kit::testing::nan_device_buffer(batch.q.size());
  lab03::ragged_decode_attention_cuda(q.view(batch.q.shape()), {k.data() + kMargin, batch.k.shape()},
                                      {v.data() + kMargin, batch.v.shape()}, cu.view({batch.n_seqs() + 1}),
                                      out.view(batch.q.shape()));
  Tensor<float> result = kit::testing::to_host(out, batch.q.shape());
  EXPECT_TRUE(kit::testing::same_bits(q.to_host(), batch.q.span()) && unchanged(k, batch.k) &&
              unchanged(v, batch.v))
      << "an input was changed";
  return result;
}

kit::testing::LaunchCounts counts_of(const RaggedBatch& batch) {
  return kit::testing::LaunchCounts([&] {
    EXPECT_TRUE(kit::testing::matches(run_on_device(batch), reference(batch), {1e-4, 1e-4}))
        << "the result is wrong, so counts say little";
  });
}

}  // namespace lab03_tests
