#include "lab03/operating_point.h"

#include <algorithm>
#include <vector>

#include "kit/check.h"
#include "lab03/metrics.h"

namespace lab03 {

std::vector<OperatingPoint> sweep(std::span<const int> max_num_seqs, const Serve& serve) {
  KIT_CHECK(!max_num_seqs.empty(), "nothing to try");
  std::vector<OperatingPoint> points;
  for (const int limit : max_num_seqs) {
    KIT_CHECK(limit > 0, "a limit of {}", limit);
    std::vector<double> first, pace;
    const std::vector<kit::RequestTimes> requests = serve(limit);
    for (const kit::RequestTimes& request : requests) {
      const RequestMetrics metrics = request_metrics(request);
      first.push_back(metrics.time_to_first_token_ms);
      if (request.output_len > 1) pace.push_back(metrics.time_per_output_token_ms);
    }
    points.push_back({limit, percentile(first, 99), pace.empty() ? 0.0 : percentile(pace, 99),
                      summarize(requests).output_tokens_per_s});
  }
  return points;
}

OperatingPoint choose_interactive(std::span<const OperatingPoint> points, double max_time_to_first_token_ms,
                                  double max_time_per_output_token_ms) {
  std::vector<OperatingPoint> allowed(points.begin(), points.end());
  std::erase_if(allowed, [&](const OperatingPoint& point) {
    return point.p99_time_to_first_token_ms > max_time_to_first_token_ms ||
           point.p99_time_per_output_token_ms > max_time_per_output_token_ms;
  });
  if (allowed.empty()) {
    const auto least = [&](double OperatingPoint::*member) {
      KIT_CHECK(!points.empty(), "no points");
      double smallest = points.front().*member;
      for (const OperatingPoint& point : points) smallest = std::min(smallest, point.*member);
      return smallest;
    };
    throw kit::Error(fmt::format("too slow: at best {} ms to the first token and {} ms for each other",
                                 least(&OperatingPoint::p99_time_to_first_token_ms),
                                 least(&OperatingPoint::p99_time_per_output_token_ms)));
  }
  std::sort(allowed.begin(), allowed.end(), [](const OperatingPoint& a, const OperatingPoint& b) {
    if (a.output_tokens_per_s != b.output_tokens_per_s) return a.output_tokens_per_s > b.output_tokens_per_s;
    return a.max_num_seqs < b.max_num_seqs;
  });
  return allowed.front();
}

OperatingPoint choose_offline(std::span<const OperatingPoint> points, double share) {
  KIT_CHECK(share > 0 && share <= 1, "a share of {}", share);
  KIT_CHECK(!points.empty(), "no points");
  std::vector<OperatingPoint> sorted(points.begin(), points.end());
  std::sort(sorted.begin(), sorted.end(), [](const OperatingPoint& a, const OperatingPoint& b) {
    return a.output_tokens_per_s > b.output_tokens_per_s;
  });
  const double enough = share * sorted.front().output_tokens_per_s;
  OperatingPoint smallest = sorted.front();
  for (const OperatingPoint& point : sorted) {
    if (point.output_tokens_per_s >= enough && point.max_num_seqs < smallest.max_num_seqs) smallest = point;
  }
  return smallest;
}

}  // namespace lab03
