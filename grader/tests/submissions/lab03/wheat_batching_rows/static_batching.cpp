#include "lab03/static_batching.h"

#include <map>
#include <vector>

#include "kit/check.h"

namespace lab03 {

void run_static_batching(kit::BatchServer& server) {
  std::map<int, kit::SlotWork> rows;  // by request
  for (;;) {
    int slot = 0;
    for (const kit::ArrivedRequest& request : server.take_arrivals(server.n_slots())) {
      rows[request.id] = {slot, request.id, request.prompt_len};
      ++slot;
    }
    if (rows.empty()) {
      const auto arrival_ms = server.next_arrival_ms();
      if (!arrival_ms) return;
      server.wait_until(*arrival_ms);
      continue;
    }
    while (!rows.empty()) {
      std::vector<kit::SlotWork> step;
      for (auto& [request, row] : rows) {
        step.push_back(row);
        row.n_tokens = 1;
      }
      for (const int request : server.run(step)) rows.erase(request);
    }
  }
}

double expected_gain_uniform(int batch_size) {
  KIT_CHECK(batch_size >= 1, "a batch of {} has no longest request", batch_size);
  return 2.0 - 2.0 / (1.0 + batch_size);
}

double expected_gain_exponential(int batch_size) {
  KIT_CHECK(batch_size >= 1, "a batch of {} has no longest request", batch_size);
  return 1.0 / batch_size + (batch_size > 1 ? expected_gain_exponential(batch_size - 1) : 0.0);
}

}  // namespace lab03
