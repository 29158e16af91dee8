#pragma once

#include "kit/device_table.h"
#include "kit/probe.h"
#include "kit/remote/passing.h"
#include "lab01/measure.h"
#include "lab01/memory.h"
#include "lab01/operations.h"
#include "lab01/planner.h"
#include "lab01/roofline.h"
#include "lab01/stream.h"

/// Lab 01's structures as messages. Structured bindings, so that a member that is added later does not
/// compile before it is here.
namespace kit {

template <class Archive>
void serialize(Archive& archive, Device& x) {
  auto& [name, title, memory_bytes, bandwidth, peak] = x;
  archive(name, title, memory_bytes, bandwidth, peak);
}
template <class Archive>
void serialize(Archive& archive, MachineCeilings& x) {
  auto& [read, copy, peak, n_threads, cache_bytes, buffer_bytes] = x;
  archive(read, copy, peak, n_threads, cache_bytes, buffer_bytes);
}

}  // namespace kit

namespace kit::remote {

template <>
struct LastEnumerator<NumberFormat> {
  static constexpr NumberFormat kValue = NumberFormat::kInt4;
};
template <>
struct LastEnumerator<lab01::Bound> {
  static constexpr lab01::Bound kValue = lab01::Bound::kCompute;
};
template <>
struct LastEnumerator<lab01::Change> {
  static constexpr lab01::Change kValue = lab01::Change::kMoreDevices;
};
template <>
struct LastEnumerator<lab01::StreamKernel> {
  static constexpr lab01::StreamKernel kValue = lab01::StreamKernel::kTriad;
};
template <>
struct LastEnumerator<lab01::Stores> {
  static constexpr lab01::Stores kValue = lab01::Stores::kNonTemporal;
};

}  // namespace kit::remote

namespace lab01 {

template <class Archive>
void serialize(Archive& archive, DecodeLimit& x) {
  auto& [bytes_per_step, ms_per_token, per_sequence, total] = x;
  archive(bytes_per_step, ms_per_token, per_sequence, total);
}
template <class Archive>
void serialize(Archive& archive, RooflinePoint& x) {
  auto& [batch, flops, bytes, intensity, seconds, gflop_per_s, roof] = x;
  archive(batch, flops, bytes, intensity, seconds, gflop_per_s, roof);
}
template <class Archive>
void serialize(Archive& archive, WeightFormat& x) {
  auto& [number, group_size, zero_points] = x;
  archive(number, group_size, zero_points);
}
template <class Archive>
void serialize(Archive& archive, Formats& x) {
  auto& [weights, kv, activations] = x;
  archive(weights, kv, activations);
}
template <class Archive>
void serialize(Archive& archive, Work& x) {
  auto& [flops, bytes] = x;
  archive(flops, bytes);
}
template <class Archive>
void serialize(Archive& archive, Step& x) {
  auto& [batch, q_len, kv_len] = x;
  archive(batch, q_len, kv_len);
}
template <class Archive>
void serialize(Archive& archive, Operation& x) {
  auto& [name, work, intensity, bound, floor_ms] = x;
  archive(name, work, intensity, bound, floor_ms);
}
template <class Archive>
void serialize(Archive& archive, Roof& x) {
  auto& [peak, bandwidth] = x;
  archive(peak, bandwidth);
}
template <class Archive>
void serialize(Archive& archive, Configuration& x) {
  auto& [batch, seq_len, formats, n_devices] = x;
  archive(batch, seq_len, formats, n_devices);
}
template <class Archive>
void serialize(Archive& archive, Footprint& x) {
  auto& [weights, kv, activations, total] = x;
  archive(weights, kv, activations, total);
}
template <class Archive>
void serialize(Archive& archive, Assessment& x) {
  auto& [configuration, per_device, fits, limit] = x;
  archive(configuration, per_device, fits, limit);
}
template <class Archive>
void serialize(Archive& archive, Suggestion& x) {
  auto& [change, assessment] = x;
  archive(change, assessment);
}
template <class Archive>
void serialize(Archive& archive, Plan& x) {
  auto& [asked, max_batch, max_seq_len, suggestions] = x;
  archive(asked, max_batch, max_seq_len, suggestions);
}

}  // namespace lab01
