#include "lab03/operating_point.h"

#include <algorithm>

#include "kit/check.h"
#include "lab03/metrics.h"

namespace lab03 {

std::vector<OperatingPoint> sweep(std::span<const int> max_num_seqs, const Serve& serve) {
  KIT_CHECK(!max_num_seqs.empty(), "a sweep over no limits");
  for (const int limit : max_num_seqs) KIT_CHECK(limit > 0, "max_num_seqs is {}, must be positive", limit);

  std::vector<OperatingPoint> points;
  for (const int limit : max_num_seqs) {
    const ServingSummary summary = summarize(serve(limit));
    points.push_back({.max_num_seqs = limit,
                      .p99_time_to_first_token_ms = summary.p99_time_to_first_token_ms,
                      .p99_time_per_output_token_ms = summary.p99_time_per_output_token_ms,
                      .output_tokens_per_s = summary.output_tokens_per_s});
  }
  return points;
}

OperatingPoint choose_interactive(std::span<const OperatingPoint> points, double max_time_to_first_token_ms,
                                  double max_time_per_output_token_ms) {
  KIT_CHECK(!points.empty(), "there is no operating point to choose from");
  const OperatingPoint* best = nullptr;
  double least_first = points.front().p99_time_to_first_token_ms;
  double least_pace = points.front().p99_time_per_output_token_ms;
  for (const OperatingPoint& point : points) {
    least_first = std::min(least_first, point.p99_time_to_first_token_ms);
    least_pace = std::min(least_pace, point.p99_time_per_output_token_ms);
    if (!(point.p99_time_to_first_token_ms <= max_time_to_first_token_ms &&
          point.p99_time_per_output_token_ms <= max_time_per_output_token_ms)) {
      continue;
    }
    if (best == nullptr || point.p99_time_per_output_token_ms < best->p99_time_per_output_token_ms) {
      best = &point;
    }
  }
  KIT_CHECK(best != nullptr,
            "no point has its first token within {} ms and the others within {} ms each; the smallest seen "
            "are {} and {} ms",
            max_time_to_first_token_ms, max_time_per_output_token_ms, least_first, least_pace);
  return *best;
}

OperatingPoint choose_offline(std::span<const OperatingPoint> points, double share) {
  KIT_CHECK(share > 0 && share <= 1, "share is {}, must be in (0, 1]", share);
  KIT_CHECK(!points.empty(), "there is no operating point to choose from");
  double most = points.front().output_tokens_per_s;
  for (const OperatingPoint& point : points) most = std::max(most, point.output_tokens_per_s);
  const OperatingPoint* best = nullptr;
  for (const OperatingPoint& point : points) {
    if (point.output_tokens_per_s < share * most) continue;
    if (best == nullptr || point.max_num_seqs < best->max_num_seqs) best = &point;
  }
  return *best;  // there is one: the point with the most tokens
}

}  // namespace lab03
