#include "kit/work_clock.h"

#include <atomic>
#include <chrono>

namespace kit {

namespace {
std::atomic<double> carrying_seconds = 0.0;
}  // namespace

double work_seconds() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count() - carrying_seconds.load(std::memory_order_relaxed);
}

void add_carrying_seconds(double seconds) {
  carrying_seconds.fetch_add(seconds, std::memory_order_relaxed);
}

}  // namespace kit
