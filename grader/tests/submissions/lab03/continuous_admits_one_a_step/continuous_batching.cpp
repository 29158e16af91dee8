#include "lab03/continuous_batching.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <optional>
#include <queue>
#include <vector>

#include "kit/check.h"

namespace lab03 {
namespace {

struct Running {
  int slot = 0;
  int request = 0;
  int prompt_left = 0;
};

/// The requests that run, in order of admission, and the slots that they left free.
class RunningBatch {
 public:
  explicit RunningBatch(int n_slots) {
    for (int slot = 0; slot < n_slots; ++slot) free_slots_.push(slot);
  }

  int size() const { return static_cast<int>(running_.size()); }

  void admit(const kit::ArrivedRequest& request) {
    running_.push_back({free_slots_.top(), request.id, request.prompt_len});
    free_slots_.pop();
  }

  // One step: a token from whoever can write one, and as much of the prompts as max_prefill_tokens allows.
  void step(kit::BatchServer& server, int max_prefill_tokens) {
    work_.clear();
    int prefill_left = max_prefill_tokens;
    for (Running& one : running_) {
      const bool in_prefill = one.prompt_left > 0;
      const int n_tokens = in_prefill ? std::min(one.prompt_left, prefill_left) : 1;
      if (n_tokens == 0) continue;  // its turn comes in a later step
      work_.push_back({one.slot, one.request, n_tokens});
      if (!in_prefill) continue;
      one.prompt_left -= n_tokens;
      prefill_left -= n_tokens;
    }
    release(server.run(work_));
  }

 private:
  // `ended` is in the order of running_, since work_ was: one walk along both.
  void release(const std::vector<int>& ended) {
    auto next = ended.begin();
    std::erase_if(running_, [&](const Running& one) {
      if (next == ended.end() || *next != one.request) return false;
      ++next;
      free_slots_.push(one.slot);
      return true;
    });
  }

  std::vector<Running> running_;
  std::priority_queue<int, std::vector<int>, std::greater<>> free_slots_;  // lowest first
  std::vector<kit::SlotWork> work_;  // of the current step, kept to save allocations
};

}  // namespace

void run_continuous_batching(kit::BatchServer& server, const ContinuousConfig& config) {
  KIT_CHECK(config.max_num_seqs >= 0 && config.max_num_seqs <= server.n_slots(),
            "max_num_seqs is {}, must be in [0, {}], the number of slots", config.max_num_seqs,
            server.n_slots());
  KIT_CHECK(config.max_prefill_tokens >= 0, "max_prefill_tokens is {}, must not be negative",
            config.max_prefill_tokens);
  const int max_num_seqs = config.max_num_seqs > 0 ? config.max_num_seqs : server.n_slots();
  const int max_prefill_tokens =
      config.max_prefill_tokens > 0 ? config.max_prefill_tokens : std::numeric_limits<int>::max();

  RunningBatch batch(server.n_slots());
  for (;;) {
    for (const kit::ArrivedRequest& request : server.take_arrivals(std::min(1, max_num_seqs - batch.size())))
      batch.admit(request);
    if (batch.size() == 0) {
      const std::optional<double> arrival_ms = server.next_arrival_ms();
      if (!arrival_ms) return;
      server.wait_until(*arrival_ms);
      continue;
    }
    batch.step(server, max_prefill_tokens);
  }
}

}  // namespace lab03
