#include "lab03/metrics.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kit/check.h"

namespace lab03 {

RequestMetrics request_metrics(const kit::RequestTimes& times) {
  KIT_CHECK(std::isfinite(times.arrival_ms) && std::isfinite(times.finished_ms),
            "request {}: arrival {} ms and end {} ms must be finite", times.id, times.arrival_ms,
            times.finished_ms);
  // A NaN or an infinity between two finite numbers is not in order either.
  KIT_CHECK(times.arrival_ms <= times.scheduled_ms && times.scheduled_ms <= times.first_token_ms &&
                times.first_token_ms <= times.finished_ms,
            "request {}: arrival {}, scheduled {}, first token {}, finished {} ms are not in order", times.id,
            times.arrival_ms, times.scheduled_ms, times.first_token_ms, times.finished_ms);
  KIT_CHECK(times.output_len > 0, "request {}: output_len is {}, must be positive", times.id,
            times.output_len);

  const int n_later_tokens = times.output_len - 1;  // the first one's time is the prefill's
  return {.queue_ms = times.scheduled_ms - times.arrival_ms,
          .time_to_first_token_ms = times.first_token_ms - times.scheduled_ms,
          .time_per_output_token_ms =
              n_later_tokens == 0 ? 0.0 : (times.finished_ms - times.first_token_ms) / n_later_tokens,
          .end_to_end_ms = times.finished_ms - times.arrival_ms};
}

double percentile(std::span<const double> values, double p) {
  KIT_CHECK(!values.empty(), "the percentile of no values");
  KIT_CHECK(p >= 0 && p <= 100, "p is {}, must be in [0, 100]", p);
  KIT_CHECK(std::none_of(values.begin(), values.end(), [](double x) { return std::isnan(x); }),
            "one of {} values is NaN", values.size());

  // Multiply first: 7 * 100 / 100 is 7, but 7 / 100 * 100 is 7.000000000000001 in double.
  const double rank = std::ceil(p * static_cast<double>(values.size()) / 100);
  const auto index = static_cast<std::ptrdiff_t>(std::max(rank, 1.0)) - 1;
  std::vector<double> sorted(values.begin(), values.end());
  std::nth_element(sorted.begin(), sorted.begin() + index, sorted.end());
  return sorted[static_cast<std::size_t>(index)];
}

ServingSummary summarize(std::span<const kit::RequestTimes> requests) {
  KIT_CHECK(!requests.empty(), "there is no request to summarize");
  std::vector<double> first_token, per_token, end_to_end;
  double queue_sum = 0.0;
  double first_arrival = requests.front().arrival_ms;
  double last_end = requests.front().finished_ms;
  double output_tokens = 0.0;
  for (const kit::RequestTimes& times : requests) {
    const RequestMetrics metrics = request_metrics(times);
    first_token.push_back(metrics.time_to_first_token_ms);
    if (times.output_len > 1) per_token.push_back(metrics.time_per_output_token_ms);
    end_to_end.push_back(metrics.end_to_end_ms);
    queue_sum += metrics.queue_ms;
    first_arrival = std::min(first_arrival, times.arrival_ms);
    last_end = std::max(last_end, times.finished_ms);
    output_tokens += times.output_len;
  }
  const double duration_ms = last_end - first_arrival;
  KIT_CHECK(duration_ms > 0, "{} requests took {} ms, so there is no rate", requests.size(), duration_ms);

  const auto n = static_cast<double>(requests.size());
  const auto pace = [&](double p) { return per_token.empty() ? 0.0 : percentile(per_token, p); };
  return {.n_requests = static_cast<int>(requests.size()),
          .duration_ms = duration_ms,
          .requests_per_s = 1e3 * n / duration_ms,
          .output_tokens_per_s = 1e3 * output_tokens / duration_ms,
          .mean_queue_ms = queue_sum / n,
          .p50_time_to_first_token_ms = percentile(first_token, 50),
          .p99_time_to_first_token_ms = percentile(first_token, 99),
          .p50_time_per_output_token_ms = pace(50),
          .p99_time_per_output_token_ms = pace(99),
          .p99_end_to_end_ms = percentile(end_to_end, 99)};
}

double utilisation(std::int64_t busy_slot_steps, int n_slots, std::int64_t n_steps) {
  KIT_CHECK(n_slots > 0, "n_slots is {}, must be positive", n_slots);
  KIT_CHECK(n_steps >= 0, "n_steps is {}, must not be negative", n_steps);
  KIT_CHECK(busy_slot_steps >= 0, "busy_slot_steps is {}, must not be negative", busy_slot_steps);
  const double slot_steps = static_cast<double>(n_slots) * static_cast<double>(n_steps);
  KIT_CHECK(static_cast<double>(busy_slot_steps) <= slot_steps,
            "busy_slot_steps is {}, but {} slots have {} in {} steps", busy_slot_steps, n_slots, slot_steps,
            n_steps);
  return n_steps == 0 ? 0.0 : static_cast<double>(busy_slot_steps) / slot_steps;
}

}  // namespace lab03
