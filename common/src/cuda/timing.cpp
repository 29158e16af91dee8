#include "kit/cuda/timing.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <vector>

#include "kit/check.h"
#include "kit/cuda/cuda_error.h"
#include "kit/cuda/device.h"
#include "kit/cuda/device_buffer.h"

namespace kit::cuda {

namespace {

class Event {
 public:
  Event() { KIT_CUDA_CHECK(cudaEventCreate(&event_)); }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void record() { KIT_CUDA_CHECK(cudaEventRecord(event_)); }
  double seconds_since(const Event& start) {
    KIT_CUDA_CHECK(cudaEventSynchronize(event_));
    float ms = 0.0F;
    KIT_CUDA_CHECK(cudaEventElapsedTime(&ms, start.event_, event_));
    return 1e-3 * static_cast<double>(ms);
  }

 private:
  cudaEvent_t event_ = nullptr;
};

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

DeviceInfo require_device() {
  DeviceInfo device = query_device();
  KIT_CHECK(device.present, "timing needs a GPU: {}", device.reason);
  return device;
}

}  // namespace

double median_seconds(const std::function<void()>& launch, const TimingOptions& options) {
  KIT_CHECK(options.n_repeats >= 1, "{} repeats, must be at least 1", options.n_repeats);
  const DeviceInfo device = require_device();
  constexpr std::int64_t kMinFlushBytes = 1 << 24;
  DeviceBuffer<std::uint8_t> flush(options.flush_l2 ? std::max(2 * device.l2_bytes, kMinFlushBytes) : 0);
  Event start;
  Event stop;
  std::vector<double> seconds;
  for (int i = -options.n_warmup; i < options.n_repeats; ++i) {
    // On the stream, without waiting: the launch below is enqueued while this still runs.
    if (options.flush_l2) KIT_CUDA_CHECK(cudaMemsetAsync(flush.data(), i, flush.n_bytes()));
    start.record();
    launch();
    stop.record();
    const double elapsed = stop.seconds_since(start);
    if (i >= 0) seconds.push_back(elapsed);
  }
  synchronize();
  return median(std::move(seconds));
}

double measured_copy_gb_per_s(std::int64_t n_bytes) {
  require_device();
  DeviceBuffer<std::uint8_t> from(n_bytes);
  DeviceBuffer<std::uint8_t> to(n_bytes);
  from.fill_bytes(1);
  const double seconds = median_seconds([&] {
    KIT_CUDA_CHECK(cudaMemcpyAsync(to.data(), from.data(), from.n_bytes(), cudaMemcpyDeviceToDevice));
  });
  return 2.0 * static_cast<double>(n_bytes) / seconds / 1e9;
}

}  // namespace kit::cuda
