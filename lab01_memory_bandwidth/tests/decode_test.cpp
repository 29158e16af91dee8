#include "lab01/decode.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "reference.h"

namespace {

using kit::testing::matches_value;
using kit::testing::throws_error;
using namespace lab01_tests;  // NOLINT(google-build-using-namespace): the lab's own test helpers

constexpr double kExact = 1e-12;  // a handful of double operations, 1e-16 each

struct Inputs {
  double bandwidth;
  std::int64_t weights;
  std::int64_t kv;
  std::int64_t batch;
};

Inputs random_inputs(kit::Rng& rng) {
  return {(0.1 + 5 * rng.uniform()) * 1e12, 1'000'000'000 + std::int64_t{rng.next_u32()} * 7,
          100'000'000 + std::int64_t{rng.next_u32()}, between(rng, 2, 200)};
}

void expect_limit(const Inputs& in) {
  SCOPED_TRACE(fmt::format("decode_limit: {} bytes/s, weights {} bytes, cache {} bytes a sequence, batch {}",
                           in.bandwidth, in.weights, in.kv, in.batch));
  const auto w = static_cast<double>(in.weights);
  const auto kv = static_cast<double>(in.kv);
  const auto batch = static_cast<double>(in.batch);
  const double bytes = w + batch * kv;
  const double per_s = in.bandwidth / bytes;
  const lab01::DecodeLimit limit = lab01::decode_limit(in.bandwidth, in.weights, in.kv, in.batch);
  const std::vector<KnownValue> byte_mistakes = {
      {"the weights alone: every sequence also reads its cache, so the traffic of the KV cache is missing",
       w},
      {"the cache of one sequence; every sequence of the batch reads its own", w + kv},
      {"weights read once for every sequence; a batch shares one pass over them", batch * (w + kv)}};
  EXPECT_TRUE(matches_value(limit.bytes_per_step, bytes, kExact, byte_mistakes)) << "bytes_per_step";
  const auto with = [&](const auto& of_bytes, std::vector<KnownValue> more) {
    for (const KnownValue& m : byte_mistakes) more.push_back({m.cause, of_bytes(m.value)});
    return more;
  };
  EXPECT_TRUE(
      matches_value(limit.ms_per_token, 1e3 / per_s, kExact,
                    with([&](double b) { return 1e3 * b / in.bandwidth; },
                         {{"seconds where milliseconds are asked for", 1 / per_s},
                          {"the time of a step divided by the batch; each sequence waits for the whole step",
                           1e3 / per_s / batch},
                          {"GiB where GB is asked for", 1e3 / per_s * kGigabyte / kGibibyte}})))
      << "ms_per_token";
  EXPECT_TRUE(matches_value(limit.tokens_per_s_per_sequence, per_s, kExact,
                            with([&](double b) { return in.bandwidth / b; },
                                 {{"the tokens of all sequences together", batch * per_s},
                                  {"the value divided by the batch once too often", per_s / batch}})))
      << "tokens_per_s_per_sequence";
  EXPECT_TRUE(matches_value(limit.tokens_per_s_total, batch * per_s, kExact,
                            with([&](double b) { return batch * in.bandwidth / b; },
                                 {{"one sequence; a step makes a token for each", per_s}})))
      << "tokens_per_s_total";
}

TEST(DecodeLimit, WeightsOnceAndACacheForEverySequence) {
  kit::Rng rng = kit::testing::make_rng(10);
  for (int i = 0; i < 20; ++i) expect_limit(random_inputs(rng));
}

TEST(DecodeLimit, SevenBillionFp16On2TerabytesPerSecond) {
  const lab01::DecodeLimit limit = lab01::decode_limit(2e12, 14'000'000'000, 0, 1);
  EXPECT_TRUE(
      matches_value(limit.ms_per_token, 7.0, kExact,
                    std::vector<KnownValue>{{"the time with GiB for GB", 7.0 * kGigabyte / kGibibyte},
                                            {"the time with GiB for GB", 7.0 * kGibibyte / kGigabyte}}));
  EXPECT_TRUE(matches_value(limit.tokens_per_s_per_sequence, 1000.0 / 7.0, kExact));  // 142.86
  EXPECT_TRUE(matches_value(limit.tokens_per_s_total, 1000.0 / 7.0, kExact));
}

TEST(DecodeLimit, BatchSharesTheWeights) {
  const lab01::DecodeLimit one = lab01::decode_limit(2e12, 14'000'000'000, 0, 1);
  const lab01::DecodeLimit eight = lab01::decode_limit(2e12, 14'000'000'000, 0, 8);
  EXPECT_TRUE(matches_value(eight.ms_per_token, one.ms_per_token, kExact))
      << "without caches a batch costs nothing";
  EXPECT_TRUE(matches_value(eight.tokens_per_s_total, 8000.0 / 7.0, kExact));  // 1142.86
}

TEST(DecodeLimit, ProductsMayExceed64Bits) {
  expect_limit({3e12, 140'000'000'000, std::int64_t{1} << 45, std::int64_t{1} << 40});
}

TEST(DecodeLimit, RejectsWhatCannotBe) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_TRUE(throws_error([] { (void)lab01::decode_limit(0.0, 1, 1, 1); }, "bandwidth")) << "bandwidth 0";
  EXPECT_TRUE(throws_error([] { (void)lab01::decode_limit(-1.0, 1, 1, 1); }, "-1")) << "bandwidth -1";
  EXPECT_TRUE(throws_error([&] { (void)lab01::decode_limit(nan, 1, 1, 1); }, "nan")) << "bandwidth NaN";
  EXPECT_TRUE(throws_error([&] { (void)lab01::decode_limit(infinity, 1, 1, 1); }, "inf"))
      << "bandwidth infinite";
  EXPECT_TRUE(throws_error([] { (void)lab01::decode_limit(1e12, 0, 1, 1); }, "weight_bytes")) << "no weights";
  EXPECT_TRUE(throws_error([] { (void)lab01::decode_limit(1e12, -4, 1, 1); }, "-4")) << "weights of -4 bytes";
  EXPECT_TRUE(throws_error([] { (void)lab01::decode_limit(1e12, 1, -1, 1); }, "-1")) << "a cache of -1 bytes";
  EXPECT_TRUE(throws_error([] { (void)lab01::decode_limit(1e12, 1, 1, 0); }, "batch")) << "batch 0";
}

}  // namespace
