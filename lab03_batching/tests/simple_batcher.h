#pragma once

#include <algorithm>
#include <optional>
#include <vector>

#include "kit/batch_server.h"

// Continuous batching as plainly as possible, first come, first served: the tests' own, so that task 7 does
// not need task 3.

namespace lab03_tests {

/// At most max_num_seqs requests run at the same time; prompts run whole.
inline void serve_simply(kit::BatchServer& server, int max_num_seqs) {
  struct Running {
    int slot = 0;
    int request = 0;
    int prompt_left = 0;
  };
  std::vector<Running> running;
  std::vector<int> free_slots;
  for (int slot = max_num_seqs - 1; slot >= 0; --slot) free_slots.push_back(slot);
  while (true) {
    for (const kit::ArrivedRequest& arrived : server.take_arrivals(static_cast<int>(free_slots.size()))) {
      running.push_back({free_slots.back(), arrived.id, arrived.prompt_len});
      free_slots.pop_back();
    }
    if (running.empty()) {
      const std::optional<double> next = server.next_arrival_ms();
      if (!next) return;
      server.wait_until(*next);
      continue;
    }
    std::vector<kit::SlotWork> work;
    for (Running& r : running) {
      work.push_back({r.slot, r.request, std::max(r.prompt_left, 1)});
      r.prompt_left = 0;
    }
    const std::vector<int> ended = server.run(work);
    std::erase_if(running, [&](const Running& r) {
      if (std::find(ended.begin(), ended.end(), r.request) == ended.end()) return false;
      free_slots.push_back(r.slot);
      return true;
    });
  }
}

}  // namespace lab03_tests
