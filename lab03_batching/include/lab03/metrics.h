#pragma once

#include <cstdint>
#include <span>

#include "kit/request_times.h"

/// Lab 03, task 1: what a user feels, and what the owner pays for.
namespace lab03 {

/// Of one request.
struct RequestMetrics {
  double queue_ms = 0.0;                ///< scheduled - arrival
  double time_to_first_token_ms = 0.0;  ///< first token - arrival: queue and prefill (TTFT)
  /// (finished - first token) / (output_len - 1): the pace of reading along (TPOT). 0 for a single token.
  double time_per_output_token_ms = 0.0;
  double end_to_end_ms = 0.0;  ///< finished - arrival
};

/// Throws kit::Error naming the value when times are not in order (arrival <= scheduled <= first token <=
/// finished), one is not finite, or output_len is not positive.
RequestMetrics request_metrics(const kit::RequestTimes& times);

/// The nearest-rank percentile: the smallest of `values` such that at least p percent of them are <= it, that
/// is the ceil(p / 100 * n)-th smallest, and the smallest for p = 0. Never a number between two of them.
/// p * n / 100 is to be rounded up as an exact number: with whole p, p * n is exact in double, p / 100 is
/// not. values: in any order, not changed. Throws kit::Error on no values, a NaN among them, or p outside [0,
/// 100].
double percentile(std::span<const double> values, double p);

/// Of a whole run.
struct ServingSummary {
  int n_requests = 0;
  double duration_ms = 0.0;          ///< first arrival to last end
  double requests_per_s = 0.0;       ///< ended, over the duration
  double output_tokens_per_s = 0.0;  ///< tokens WRITTEN over the duration; prompts do not count
  double mean_queue_ms = 0.0;
  double p50_time_to_first_token_ms = 0.0;
  double p99_time_to_first_token_ms = 0.0;
  /// Of the requests with two tokens or more, which alone have a pace; 0 when there is none.
  double p50_time_per_output_token_ms = 0.0;
  double p99_time_per_output_token_ms = 0.0;
  double p99_end_to_end_ms = 0.0;
};

/// Throws kit::Error when there is no request, when the duration is 0, and as request_metrics().
ServingSummary summarize(std::span<const kit::RequestTimes> requests);

/// Share of the slots that worked: busy_slot_steps / (n_slots * n_steps); 0 when there was no step. Throws
/// kit::Error naming the value when n_slots is not positive, a count is negative, or there are more busy
/// slot-steps than slots times steps.
double utilisation(std::int64_t busy_slot_steps, int n_slots, std::int64_t n_steps);

}  // namespace lab03
