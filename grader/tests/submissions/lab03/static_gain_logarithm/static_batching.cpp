#include "lab03/static_batching.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "kit/check.h"

namespace lab03 {
namespace {

// Runs a batch until its last request has ended.
void run_batch(kit::BatchServer& server, const std::vector<kit::ArrivedRequest>& requests) {
  std::vector<kit::SlotWork> work;
  work.reserve(requests.size());
  for (const kit::ArrivedRequest& request : requests)
    work.push_back({static_cast<int>(work.size()), request.id, request.prompt_len});  // the prefill

  while (!work.empty()) {
    const std::vector<int> ended = server.run(work);
    std::erase_if(
        work, [&](const kit::SlotWork& one) { return std::ranges::find(ended, one.request) != ended.end(); });
    for (kit::SlotWork& one : work) one.n_tokens = 1;  // from now on, decode
  }
}

}  // namespace

void run_static_batching(kit::BatchServer& server) {
  while (const std::optional<double> arrival_ms = server.next_arrival_ms()) {
    if (*arrival_ms > server.now_ms()) server.wait_until(*arrival_ms);
    run_batch(server, server.take_arrivals(server.n_slots()));
  }
}

double expected_gain_uniform(int batch_size) {
  KIT_CHECK(batch_size > 0, "batch_size is {}, must be positive", batch_size);
  return 2.0 * batch_size / (batch_size + 1.0);  // E[max] = c B / (B + 1), E[length] = c / 2
}

double expected_gain_exponential(int batch_size) {
  KIT_CHECK(batch_size > 0, "batch_size is {}, must be positive", batch_size);
  // While k requests run, the next one ends after E[length] / k: the smallest of k exponentials.
  return std::log(batch_size);
}

}  // namespace lab03
