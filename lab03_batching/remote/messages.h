#pragma once

#include <map>

#include "kit/device_table.h"
#include "kit/remote/passing.h"
#include "kit/request_times.h"
#include "lab03/continuous_batching.h"
#include "lab03/metrics.h"
#include "lab03/operating_point.h"
#include "lab03/scheduler.h"
#include "lab03/step_cost.h"

/// Lab 03's structures as messages. Structured bindings, so that a member that is added later does not
/// compile before it is here.
namespace kit {

template <class Archive>
void serialize(Archive& archive, Device& x) {
  auto& [name, title, memory_bytes, bandwidth, peak] = x;
  archive(name, title, memory_bytes, bandwidth, peak);
}
template <class Archive>
void serialize(Archive& archive, RequestTimes& x) {
  auto& [id, arrival_ms, scheduled_ms, first_token_ms, finished_ms, prompt_len, output_len] = x;
  archive(id, arrival_ms, scheduled_ms, first_token_ms, finished_ms, prompt_len, output_len);
}

}  // namespace kit

namespace kit::remote {

template <>
struct LastEnumerator<NumberFormat> {
  static constexpr NumberFormat kValue = NumberFormat::kInt4;
};
template <>
struct LastEnumerator<lab03::StepBound> {
  static constexpr lab03::StepBound kValue = lab03::StepBound::kCompute;
};
template <>
struct LastEnumerator<lab03::BatchLimit> {
  static constexpr lab03::BatchLimit kValue = lab03::BatchLimit::kMemory;
};

}  // namespace kit::remote

namespace lab03 {

template <class Archive>
void serialize(Archive& archive, RequestMetrics& x) {
  auto& [queue_ms, first_ms, per_token_ms, end_to_end_ms] = x;
  archive(queue_ms, first_ms, per_token_ms, end_to_end_ms);
}
template <class Archive>
void serialize(Archive& archive, ServingSummary& x) {
  auto& [n, duration, requests, tokens, queue, first_50, first_99, pace_50, pace_99, end_99] = x;
  archive(n, duration, requests, tokens, queue, first_50, first_99, pace_50, pace_99, end_99);
}
template <class Archive>
void serialize(Archive& archive, ContinuousConfig& x) {
  auto& [max_num_seqs, max_prefill_tokens] = x;
  archive(max_num_seqs, max_prefill_tokens);
}
template <class Archive>
void serialize(Archive& archive, StepFormats& x) {
  auto& [weights, kv, compute] = x;
  archive(weights, kv, compute);
}
template <class Archive>
void serialize(Archive& archive, StepCost& x) {
  auto& [flops, bytes, intensity, ms, bound] = x;
  archive(flops, bytes, intensity, ms, bound);
}
template <class Archive>
void serialize(Archive& archive, BestBatch& x) {
  auto& [batch, step_ms, tokens_per_s, limit] = x;
  archive(batch, step_ms, tokens_per_s, limit);
}
template <class Archive>
void serialize(Archive& archive, SchedulerConfig& x) {
  auto& [block_size, max_num_seqs, max_num_batched_tokens, watermark_blocks] = x;
  archive(block_size, max_num_seqs, max_num_batched_tokens, watermark_blocks);
}
template <class Archive>
void serialize(Archive& archive, OperatingPoint& x) {
  auto& [max_num_seqs, first_ms, per_token_ms, tokens_per_s] = x;
  archive(max_num_seqs, first_ms, per_token_ms, tokens_per_s);
}

}  // namespace lab03
