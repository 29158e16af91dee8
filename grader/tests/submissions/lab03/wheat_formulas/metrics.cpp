#include "lab03/metrics.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include "kit/check.h"

namespace lab03 {

RequestMetrics request_metrics(const kit::RequestTimes& times) {
  for (const double ms : {times.arrival_ms, times.scheduled_ms, times.first_token_ms, times.finished_ms})
    KIT_CHECK(std::isfinite(ms), "request {} has a time of {} ms", times.id, ms);
  const double queue = times.scheduled_ms - times.arrival_ms;
  const double prefill = times.first_token_ms - times.scheduled_ms;
  const double decode = times.finished_ms - times.first_token_ms;
  KIT_CHECK(queue >= 0, "scheduled at {} ms, arrived at {} ms", times.scheduled_ms, times.arrival_ms);
  KIT_CHECK(prefill >= 0, "first token at {}, scheduled at {} ms", times.first_token_ms, times.scheduled_ms);
  KIT_CHECK(decode >= 0, "ended at {} ms, first token at {} ms", times.finished_ms, times.first_token_ms);
  KIT_CHECK(times.output_len >= 1, "{} output tokens", times.output_len);
  RequestMetrics metrics;
  metrics.queue_ms = queue;
  metrics.time_to_first_token_ms = queue + prefill;
  if (times.output_len > 1) metrics.time_per_output_token_ms = decode / (times.output_len - 1);
  metrics.end_to_end_ms = queue + prefill + decode;
  return metrics;
}

double percentile(std::span<const double> values, double p) {
  KIT_CHECK(p >= 0 && p <= 100, "no percentile of {}", p);
  KIT_CHECK(!values.empty(), "no values");
  for (const double value : values) KIT_CHECK(!std::isnan(value), "a value is NaN");
  const std::multiset<double> sorted(values.begin(), values.end());
  // The first value with which p percent are reached.
  double n_seen = 0;
  for (const double value : sorted) {
    n_seen += 1;
    if (100 * n_seen >= p * static_cast<double>(values.size())) return value;
  }
  return *sorted.rbegin();
}

ServingSummary summarize(std::span<const kit::RequestTimes> requests) {
  KIT_CHECK(!requests.empty(), "no requests");
  std::vector<RequestMetrics> all;
  std::transform(requests.begin(), requests.end(), std::back_inserter(all), request_metrics);
  const auto values = [&](double RequestMetrics::*member, int least_output_len) {
    std::vector<double> result;
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (requests[i].output_len >= least_output_len) result.push_back(all[i].*member);
    }
    return result;
  };
  const auto arrivals = [](const auto& a, const auto& b) { return a.arrival_ms < b.arrival_ms; };
  const auto ends = [](const auto& a, const auto& b) { return a.finished_ms < b.finished_ms; };
  ServingSummary summary;
  summary.n_requests = static_cast<int>(requests.size());
  summary.duration_ms = std::max_element(requests.begin(), requests.end(), ends)->finished_ms -
                        std::min_element(requests.begin(), requests.end(), arrivals)->arrival_ms;
  KIT_CHECK(summary.duration_ms > 0, "all in {} ms", summary.duration_ms);
  const double seconds = summary.duration_ms / 1000;
  std::int64_t tokens = 0;
  for (const kit::RequestTimes& request : requests) tokens += request.output_len;
  summary.requests_per_s = summary.n_requests / seconds;
  summary.output_tokens_per_s = static_cast<double>(tokens) / seconds;
  for (const double ms : values(&RequestMetrics::queue_ms, 1))
    summary.mean_queue_ms += ms / summary.n_requests;

  const std::vector<double> first = values(&RequestMetrics::time_to_first_token_ms, 1);
  summary.p50_time_to_first_token_ms = percentile(first, 50);
  summary.p99_time_to_first_token_ms = percentile(first, 99);
  if (const auto pace = values(&RequestMetrics::time_per_output_token_ms, 2); !pace.empty()) {
    summary.p50_time_per_output_token_ms = percentile(pace, 50);
    summary.p99_time_per_output_token_ms = percentile(pace, 99);
  }
  summary.p99_end_to_end_ms = percentile(values(&RequestMetrics::end_to_end_ms, 1), 99);
  return summary;
}

double utilisation(std::int64_t busy_slot_steps, int n_slots, std::int64_t n_steps) {
  KIT_CHECK(n_slots >= 1, "{} slots", n_slots);
  KIT_CHECK(n_steps >= 0 && busy_slot_steps >= 0, "{} busy slots in {} steps", busy_slot_steps, n_steps);
  if (n_steps == 0) {
    KIT_CHECK(busy_slot_steps == 0, "{} busy slots in no step", busy_slot_steps);
    return 0.0;
  }
  const double share = static_cast<double>(busy_slot_steps) / static_cast<double>(n_steps) / n_slots;
  KIT_CHECK(share <= 1, "{} busy slots of {} in {} steps", busy_slot_steps, n_slots, n_steps);
  return share;
}

}  // namespace lab03
