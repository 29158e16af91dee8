#pragma once

#include <functional>
#include <span>
#include <vector>

#include "kit/request_times.h"

/// Lab 03, task 7: the same server, set up for a chatbot or for an offline job.
namespace lab03 {

/// What a server does when at most max_num_seqs requests run at the same time.
struct OperatingPoint {
  int max_num_seqs = 0;
  double p99_time_to_first_token_ms = 0.0;
  double p99_time_per_output_token_ms = 0.0;
  double output_tokens_per_s = 0.0;
};

/// Serves one workload, the same at every call, and returns what happened to its requests.
using Serve = std::function<std::vector<kit::RequestTimes>(int max_num_seqs)>;

/// Serves the workload once for each limit, in order; what it sees, by summarize() of task 1. Throws
/// kit::Error when there is no limit, or one is not positive.
std::vector<OperatingPoint> sweep(std::span<const int> max_num_seqs, const Serve& serve);

/// For a chatbot: of the points that keep both limits, the one with the most tokens a second; of equals the
/// smaller max_num_seqs. Throws kit::Error, naming the smallest values seen, when no point keeps them, and
/// when there is no point.
OperatingPoint choose_interactive(std::span<const OperatingPoint> points, double max_time_to_first_token_ms,
                                  double max_time_per_output_token_ms);

/// For an offline job, where nobody waits: the smallest max_num_seqs that reaches at least `share` of the
/// largest throughput among the points: more would only cost memory. share is in (0, 1]. Throws kit::Error
/// naming the value when it is not, and when there is no point.
OperatingPoint choose_offline(std::span<const OperatingPoint> points, double share = 0.95);

}  // namespace lab03
