#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "cuda_support.h"
#include "lab01/cuda_kernels.h"

namespace {

using kit::DeviceBuffer;
using kit::Shape;
using kit::Tensor;
using kit::simt::Access;
using kit::simt::Counters;
using kit::simt::Space;
using kit::testing::nan_device_buffer;
using kit::testing::refuses;
using lab01_tests::equals;
using lab01_tests::Operation;
using lab01_tests::Profile;
using lab01_tests::run;
using lab01_tests::writes_only_its_output;

/// Every element another number, which is also what it should be after a copy.
Tensor<float> random_vector(std::int64_t n, std::uint64_t stream) {
  kit::Rng rng = kit::testing::make_rng(stream);
  return kit::testing::random_tensor({n}, rng);
}

void expect_copies(const Operation& copy, std::int64_t n, std::uint64_t stream) {
  SCOPED_TRACE(fmt::format("n = {}", n));
  const Tensor<float> in = random_vector(n, stream);
  EXPECT_TRUE(equals(run(copy, in, {n}), in));
}

Operation strided(std::int64_t stride) {
  return [stride](kit::TensorView<const float> in, kit::TensorView<float> out) {
    lab01::copy_strided_cuda(in, out, stride);
  };
}

Tensor<float> every(const Tensor<float>& in, std::int64_t stride, std::int64_t n) {
  Tensor<float> result({n});
  for (std::int64_t i = 0; i < n; ++i) result(i) = in(i * stride);
  return result;
}

KIT_CUDA_TEST(CopyCuda, CopiesAnySize) {
  std::uint64_t stream = 700;
  for (const std::int64_t n : {1000, 1024, 40001, 257, 256, 255, 33, 32, 31, 1, 0})
    expect_copies(lab01::copy_cuda, n, stream++);
}

KIT_CUDA_TEST(CopyCuda, VectorizedCopiesAnySize) {
  std::uint64_t stream = 720;
  for (const std::int64_t n : {4096, 1024, 1025, 1026, 1027, 0, 1, 2, 3, 4, 5, 31, 33, 1000, 40003})
    expect_copies(lab01::copy_vectorized_cuda, n, stream++);
}

KIT_CUDA_TEST(CopyCuda, StridedTakesOneElementOfMany) {
  std::uint64_t stream = 740;
  for (const std::int64_t stride : {1, 2, 3, 8, 31, 32, 33, 1000}) {
    for (const std::int64_t n : {0, 1, 33, 1000}) {
      SCOPED_TRACE(fmt::format("n = {}, stride = {}", n, stride));
      // The shortest input: it ends with the last element that is used.
      const Tensor<float> in = random_vector(n == 0 ? 0 : (n - 1) * stride + 1, stream++);
      EXPECT_TRUE(equals(run(strided(stride), in, {n}), every(in, stride, n)));
    }
  }
}

KIT_CUDA_TEST(CopyCuda, WriteOnlyTheirOutput) {
  const Tensor<float> in = random_vector(1003, 760);
  EXPECT_TRUE(writes_only_its_output(lab01::copy_cuda, in, {1003})) << "copy_cuda";
  EXPECT_TRUE(writes_only_its_output(lab01::copy_vectorized_cuda, in, {1003})) << "copy_vectorized_cuda";
  EXPECT_TRUE(writes_only_its_output(strided(3), in, {335})) << "copy_strided_cuda";
}

KIT_CUDA_TEST(CopyCuda, RejectShapesThatDiffer) {
  const DeviceBuffer<float> in(random_vector(600, 761).span());
  DeviceBuffer<float> out = nan_device_buffer(600);
  for (const auto& [from, to] : {std::array{512, 500}, std::array{500, 512}, std::array{1, 0}}) {
    SCOPED_TRACE(fmt::format("from [{}] to [{}]", from, to));
    const kit::TensorView<const float> source(in.data(), {from});
    const kit::TensorView<float> target(out.data(), {to});
    EXPECT_TRUE(refuses([&] { lab01::copy_cuda(source, target); }, out)) << "copy_cuda";
    EXPECT_TRUE(refuses([&] { lab01::copy_vectorized_cuda(source, target); }, out)) << "copy_vectorized_cuda";
  }
}

KIT_CUDA_TEST(CopyCuda, VectorizedRejectsMisalignedViews) {
  const DeviceBuffer<float> in(random_vector(256, 762).span());
  DeviceBuffer<float> out = nan_device_buffer(256);
  for (const std::int64_t offset : {1, 2, 3}) {
    const Shape shape{128};
    EXPECT_TRUE(refuses(
        [&] {
          lab01::copy_vectorized_cuda({in.data() + offset, shape}, {out.data(), shape});
        },
        out))
        << "in begins " << 4 * offset << " bytes behind a multiple of 16";
    EXPECT_TRUE(refuses(
        [&] {
          lab01::copy_vectorized_cuda({in.data(), shape}, {out.data() + offset, shape});
        },
        out))
        << "out begins " << 4 * offset << " bytes behind a multiple of 16";
  }
}

KIT_CUDA_TEST(CopyCuda, StridedRejectsWhatCannotBe) {
  const DeviceBuffer<float> in(random_vector(100, 763).span());
  DeviceBuffer<float> out = nan_device_buffer(100);
  const auto refuses_strided = [&](std::int64_t in_size, std::int64_t n, std::int64_t stride) {
    return refuses([&] { lab01::copy_strided_cuda({in.data(), {in_size}}, {out.data(), {n}}, stride); }, out);
  };
  EXPECT_TRUE(refuses_strided(100, 10, 0)) << "stride 0";
  EXPECT_TRUE(refuses_strided(100, 10, -1)) << "stride -1";
  EXPECT_TRUE(refuses_strided(27, 10, 3)) << "10 elements at stride 3 end with element 27, in has 0 .. 26";
  EXPECT_TRUE(refuses_strided(0, 1, 1)) << "one element of an empty array";
}

KIT_CUDA_TEST(CopyCuda, VectorizedMoves16BytesAThread) {
  KIT_SKIP_WITHOUT_COUNTS();
  // 512 warps of whole 16 bytes, and a tail of 3 elements. 32 threads * 16 bytes = 512 bytes = 16 sectors a
  // request.
  constexpr std::int64_t kWarps = 512;
  constexpr std::int64_t kTail = 3;
  const Tensor<float> in = random_vector(kWarps * 128 + kTail, 764);
  const Profile profile(lab01::copy_vectorized_cuda, in, in.shape(), &in);
  for (const Access access : {Access::kLoad, Access::kStore}) {
    SCOPED_TRACE(fmt::format("{}s\n{}", name(access), profile.to_string()));
    const Counters wide = profile.total(Space::kGlobal, access, 16);
    const Counters all = profile.total(Space::kGlobal, access);
    EXPECT_EQ(all.thread_accesses - wide.thread_accesses, kTail)
        << "elements are moved one by one, the last n mod 4 alone should be. A float4 is moved as a whole: "
           "reinterpret_cast<float4*>(out)[i] = reinterpret_cast<const float4*>(in)[i]";
    EXPECT_EQ(wide.requests, kWarps)
        << "requests of 16 bytes a thread: n / 128, a quarter of copy_cuda's n / 32";
    EXPECT_EQ(wide.sectors, kWarps * 16) << "sectors of these requests: 16 each are ideal";
  }
}

KIT_CUDA_TEST(CopyCuda, StridedTouchesMoreSectors) {
  KIT_SKIP_WITHOUT_COUNTS();
  constexpr std::int64_t kWarps = 32;
  constexpr std::int64_t kCount = 32 * kWarps;
  std::vector<double> strides;
  std::vector<double> loads;
  std::vector<double> stores;
  for (std::int64_t stride = 1; stride <= 32; ++stride) {
    SCOPED_TRACE(fmt::format("stride {}", stride));
    const Tensor<float> in =
        random_vector((kCount - 1) * stride + 1, 770 + static_cast<std::uint64_t>(stride));
    const Tensor<float> expected = every(in, stride, kCount);
    const Profile profile(strided(stride), in, {kCount}, &expected);
    const Counters load = profile.total(Space::kGlobal, Access::kLoad);
    const Counters store = profile.total(Space::kGlobal, Access::kStore);
    // A warp begins at a multiple of 128 * stride bytes, the start of a sector; its lane l is 4 * stride * l
    // bytes on. Up to stride 8 lanes are at most 32 bytes apart, so every sector from the first to the last
    // is touched: floor(4 * stride * 31 / 32) + 1 = 4 * stride. From 8 on each of the 32 lanes has a sector
    // of its own.
    const std::int64_t sectors = std::min<std::int64_t>(32, 4 * stride);
    EXPECT_EQ(load.requests, kWarps) << "loads: one of each warp\n" << profile.to_string();
    EXPECT_EQ(load.sectors, kWarps * sectors)
        << "a warp that reads 32 floats at this stride touches min(32, 4 * stride) = " << sectors
        << " sectors\n"
        << profile.to_string();
    EXPECT_EQ(store.sectors, kWarps * 4) << "what is written has no stride: 4 sectors a request\n"
                                         << profile.to_string();
    strides.push_back(static_cast<double>(stride));
    loads.push_back(load.sectors_per_request());
    stores.push_back(store.sectors_per_request());
  }
  kit::testing::record_series("stride", strides);
  kit::testing::record_series("load_sectors", loads);
  kit::testing::record_series("store_sectors", stores);
}

}  // namespace
