// Lab 03's contract, callable from another process: one line a function (kit/remote/contract.h).
#include "kit/remote/contract.h"

#include "kit/remote/serving.h"
#include "lab03/continuous_batching.h"
#include "lab03/engine.h"
#include "lab03/metrics.h"
#include "lab03/operating_point.h"
#include "lab03/ragged_attention.h"
#include "lab03/scheduler.h"
#include "lab03/static_batching.h"
#include "lab03/step_cost.h"
#include "messages.h"

// clang-tidy does not see the uses in a macro's arguments.
// NOLINTBEGIN(misc-unused-using-decls)
using Floats = kit::TensorView<const float>;
using Output = kit::TensorView<float>;
using Ints = kit::TensorView<const std::int32_t>;
using kit::Device;
using kit::ModelConfig;
using lab03::OperatingPoint;
using lab03::StepFormats;
using Points = std::span<const OperatingPoint>;
using std::int64_t;
// NOLINTEND(misc-unused-using-decls)

// clang-format off
KIT_REMOTE(lab03, request_metrics, lab03::RequestMetrics, (const kit::RequestTimes& times), times)
KIT_REMOTE(lab03, percentile, double, (std::span<const double> values, double p), values, p)
KIT_REMOTE(lab03, summarize, lab03::ServingSummary, (std::span<const kit::RequestTimes> requests), requests)
KIT_REMOTE(lab03, utilisation, double, (int64_t busy_slot_steps, int n_slots, int64_t n_steps), busy_slot_steps, n_slots, n_steps)
KIT_REMOTE(lab03, run_static_batching, void, (kit::BatchServer& server), server)
KIT_REMOTE(lab03, expected_gain_uniform, double, (int batch_size), batch_size)
KIT_REMOTE(lab03, expected_gain_exponential, double, (int batch_size), batch_size)
KIT_REMOTE(lab03, run_continuous_batching, void, (kit::BatchServer& server, const lab03::ContinuousConfig& config), server, config)
KIT_REMOTE(lab03, step_cost, lab03::StepCost, (const ModelConfig& model, const Device& device, const StepFormats& formats, std::span<const kit::SequenceStep> batch), model, device, formats, batch)
KIT_REMOTE(lab03, best_batch, lab03::BestBatch, (const ModelConfig& model, const Device& device, const StepFormats& formats, int kv_len, double max_step_ms, int64_t kv_budget_bytes), model, device, formats, kv_len, max_step_ms, kv_budget_bytes)
KIT_REMOTE(lab03, make_scheduler, std::unique_ptr<kit::Scheduler>, (const lab03::SchedulerConfig& config, std::shared_ptr<kit::BlockAllocator> allocator), config, allocator)
KIT_REMOTE(lab03, make_engine, std::unique_ptr<kit::Engine>, (std::shared_ptr<kit::StepExecutor> executor, std::shared_ptr<kit::Scheduler> scheduler), executor, scheduler)
KIT_REMOTE(lab03, sweep, std::vector<OperatingPoint>, (std::span<const int> max_num_seqs, const lab03::Serve& serve), max_num_seqs, serve)
KIT_REMOTE(lab03, choose_interactive, OperatingPoint, (Points points, double max_time_to_first_token_ms, double max_time_per_output_token_ms), points, max_time_to_first_token_ms, max_time_per_output_token_ms)
KIT_REMOTE(lab03, choose_offline, OperatingPoint, (Points points, double share), points, share)
KIT_REMOTE(lab03, ragged_decode_attention, void, (Floats q, Floats k, Floats v, Ints cu_kv_lens, Output out), q, k, v, cu_kv_lens, out)
KIT_REMOTE(lab03, ragged_decode_attention_cuda, void, (Floats q, Floats k, Floats v, Ints cu_kv_lens, Output out), q, k, v, cu_kv_lens, out)
