#pragma once

#include <span>
#include <vector>

#include "kit/testing.h"
#include "lab05/flash_forward.h"

/// What the CPU tests of lab 05 share: random problems, attention in double from its definition, and the
/// classic wrong answers.
namespace lab05_tests {

struct Sizes {
  int q_len, kv_len, n_heads, n_kv_heads, head_dim;
};

struct Inputs {
  kit::Tensor<float> q;  // [q_len, n_heads, head_dim]
  kit::Tensor<float> k;  // [kv_len, n_kv_heads, head_dim]
  kit::Tensor<float> v;  // [kv_len, n_kv_heads, head_dim]
};

struct Result {
  kit::Tensor<float> out;          // [q_len, n_heads, head_dim]
  kit::Tensor<float> log_sum_exp;  // [q_len, n_heads]
};

/// Normal numbers, queries and keys of standard deviation `stddev`: scores of about stddev^2.
Inputs random_inputs(const Sizes& sizes, std::uint64_t stream, float stddev = 1.0F);
/// Rows begin .. end - 1 of an array whose first dimension counts positions.
kit::Tensor<float> rows_of(const kit::Tensor<float>& x, std::int64_t begin, std::int64_t end);

/// Ways to get it wrong on purpose.
struct Variant {
  enum class LogSumExp { kRight, kBase2, kWithoutM, kOnlyM };

  bool scale = true;
  bool top_left = false;             ///< query i at position i instead of i + kv_len - q_len
  int mask_shift = 0;                ///< +1 sees one key of the future, -1 not its own
  int window_shift = 0;              ///< the window is that much longer
  bool window_from_start = false;    ///< the first `window` keys instead of the latest
  bool kv_head_modulo = false;       ///< kv head h % n_kv_heads
  bool masked_rows_average = false;  ///< fully masked: the mean of all values, as with a mask of -1e30
  bool o_rescaled = true;            ///< multiply o by alpha when m grows between tiles of Bc keys
  bool l_rescaled = true;            ///< the same for l
  bool ragged_tile = true;           ///< count the keys after the last whole tile of Bc
  LogSumExp log_sum_exp = LogSumExp::kRight;
};

/// Attention in double, rounded to float at the end.
Result reference(const Inputs& in, const lab05::FlashConfig& config, const Variant& variant = {});

struct NamedVariant {
  const char* cause;
  Variant variant;
};
/// The mistakes that a failure is compared with.
std::vector<NamedVariant> classic_mistakes(const lab05::FlashConfig& config);

/// lab05::flash_attention into arrays of NaN, with scratch that is counted and all given back.
Result student(const Inputs& in, const lab05::FlashConfig& config);

/// Out and log-sum-exp agree, a -infinity with a -infinity; a failure names a classic mistake it equals.
void expect_matches(const Result& got, const Inputs& in, const lab05::FlashConfig& config,
                    kit::Tolerance tolerance);
void expect_log_sum_exp(const kit::Tensor<float>& got, const kit::Tensor<float>& expected,
                        std::span<const kit::KnownMistake> mistakes, kit::Tolerance tolerance);

/// Scores of size 1 to 10 carry a few float roundings (6e-8 each, times their size) from a sum of head_dim
/// products in any order, and so do the weights and what is summed with them: an honest implementation stays
/// below 5e-6, one with a polynomial for e^x below 1e-5. The classic mistakes are off by 1e-3 and more.
inline constexpr kit::Tolerance tolerance{2e-5, 2e-5};

/// A whole case: random inputs, student, reference.
void expect_matches_reference(const Sizes& sizes, const lab05::FlashConfig& config, std::uint64_t stream);

}  // namespace lab05_tests
