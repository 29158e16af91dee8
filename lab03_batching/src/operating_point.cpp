#include "lab03/operating_point.h"

#include "kit/check.h"

// Task 7. summarize() of task 1 may help.

namespace lab03 {

std::vector<OperatingPoint> sweep(std::span<const int> max_num_seqs, const Serve& serve) {
  (void)max_num_seqs, (void)serve;
  throw kit::NotImplemented("lab03 task 7: sweep");
}

OperatingPoint choose_interactive(std::span<const OperatingPoint> points, double max_time_to_first_token_ms,
                                  double max_time_per_output_token_ms) {
  (void)points, (void)max_time_to_first_token_ms, (void)max_time_per_output_token_ms;
  throw kit::NotImplemented("lab03 task 7: choose_interactive");
}

OperatingPoint choose_offline(std::span<const OperatingPoint> points, double share) {
  (void)points, (void)share;
  throw kit::NotImplemented("lab03 task 7: choose_offline");
}

}  // namespace lab03
