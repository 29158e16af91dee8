#include "lab03/metrics.h"

#include "kit/check.h"

// Task 1.

namespace lab03 {

RequestMetrics request_metrics(const kit::RequestTimes& times) {
  (void)times;
  throw kit::NotImplemented("lab03 task 1: request_metrics");
}

double percentile(std::span<const double> values, double p) {
  (void)values, (void)p;
  throw kit::NotImplemented("lab03 task 1: percentile");
}

ServingSummary summarize(std::span<const kit::RequestTimes> requests) {
  (void)requests;
  throw kit::NotImplemented("lab03 task 1: summarize");
}

double utilisation(std::int64_t busy_slot_steps, int n_slots, std::int64_t n_steps) {
  (void)busy_slot_steps, (void)n_slots, (void)n_steps;
  throw kit::NotImplemented("lab03 task 1: utilisation");
}

}  // namespace lab03
