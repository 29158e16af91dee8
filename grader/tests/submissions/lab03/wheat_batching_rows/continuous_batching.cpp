#include "lab03/continuous_batching.h"

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <unordered_map>
#include <vector>

#include "kit/check.h"

namespace lab03 {
namespace {

struct Row {
  kit::ArrivedRequest request;
  int done = 0;  // of its prompt
};

struct Batcher {
  std::vector<std::optional<Row>> rows;  // one a slot
  std::map<std::int64_t, int> calendar;  // slot by number of admission
  std::unordered_map<int, std::int64_t> admission_of;
  std::deque<kit::ArrivedRequest> queue;
  std::int64_t n_admitted = 0;

  void admit(int limit) {
    for (std::size_t slot = 0; slot < rows.size() && !queue.empty(); ++slot) {
      if (rows[slot] || static_cast<int>(calendar.size()) >= limit) continue;
      rows[slot] = Row{queue.front()};
      admission_of[queue.front().id] = n_admitted;
      calendar[n_admitted++] = static_cast<int>(slot);
      queue.pop_front();
    }
  }

  std::vector<kit::SlotWork> plan(std::int64_t prompt_tokens) {
    std::vector<kit::SlotWork> prompts;
    std::vector<kit::SlotWork> writers;
    for (const auto& [admission, slot] : calendar) {
      Row& row = *rows[static_cast<std::size_t>(slot)];
      const std::int64_t rest = row.request.prompt_len - row.done;
      if (rest == 0) {
        writers.push_back({slot, row.request.id, 1});
      } else if (const auto n = static_cast<int>(std::min(rest, prompt_tokens)); n > 0) {
        prompts.push_back({slot, row.request.id, n});
        prompt_tokens -= n;
        row.done += n;
      }
    }
    writers.insert(writers.end(), prompts.begin(), prompts.end());
    return writers;
  }

  void remove(int request) {
    const auto admission = admission_of.extract(request).mapped();
    const int slot = calendar.extract(admission).mapped();
    rows[static_cast<std::size_t>(slot)].reset();
  }
};

}  // namespace

void run_continuous_batching(kit::BatchServer& server, const ContinuousConfig& config) {
  const int n_slots = server.n_slots();
  KIT_CHECK(config.max_num_seqs >= 0, "max_num_seqs is negative: {}", config.max_num_seqs);
  KIT_CHECK(config.max_num_seqs <= n_slots, "max_num_seqs: {} requests in {} slots", config.max_num_seqs,
            n_slots);
  KIT_CHECK(config.max_prefill_tokens >= 0, "max_prefill_tokens is negative: {}", config.max_prefill_tokens);
  const std::int64_t prompt_tokens = config.max_prefill_tokens == 0 ? INT64_MAX : config.max_prefill_tokens;
  Batcher batcher;
  batcher.rows.resize(static_cast<std::size_t>(n_slots));
  while (true) {
    const int room = n_slots - static_cast<int>(batcher.queue.size());
    for (const kit::ArrivedRequest& request : server.take_arrivals(room)) batcher.queue.push_back(request);
    batcher.admit(config.max_num_seqs == 0 ? n_slots : config.max_num_seqs);
    if (!batcher.calendar.empty()) {
      for (const int request : server.run(batcher.plan(prompt_tokens))) batcher.remove(request);
    } else if (const auto arrival_ms = server.next_arrival_ms()) {
      server.wait_until(*arrival_ms);
    } else {
      return;
    }
  }
}

}  // namespace lab03
