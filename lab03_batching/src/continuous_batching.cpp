#include "lab03/continuous_batching.h"

#include "kit/check.h"

// Task 3. The server is kit::BatchServer (common/include/kit/batch_server.h).

namespace lab03 {

void run_continuous_batching(kit::BatchServer& server, const ContinuousConfig& config) {
  (void)server, (void)config;
  throw kit::NotImplemented("lab03 task 3: run_continuous_batching");
}

}  // namespace lab03
