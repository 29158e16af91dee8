#include <benchmark/benchmark.h>

#include <chrono>
#include <exception>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "kit/block_allocator.h"
#include "lab03/scheduler.h"

// What a step costs the scheduler: schedule() and the answers to it, while requests end and others take their
// place. It must not grow with the number of waiting requests. The ceiling is a copy of the schedule, tables
// included: what has to be handed over in any case.

namespace {

constexpr int kBlockSize = 16;
constexpr int kPromptLen = 400;
constexpr int kAnswerLen = 200;
constexpr int kBlocksOfRequest = (kPromptLen + kAnswerLen) / kBlockSize + 1;

/// Constant time, so that the scheduler's is measured.
class FreeList final : public kit::BlockAllocator {
 public:
  explicit FreeList(int n_blocks) : in_use_(static_cast<std::size_t>(n_blocks), false) {
    for (int block = n_blocks - 1; block >= 0; --block) free_.push_back(block);
  }
  int n_blocks() const override { return static_cast<int>(in_use_.size()); }
  int n_free() const override { return static_cast<int>(free_.size()); }
  std::vector<int> allocate(int n) override {
    std::vector<int> blocks(free_.end() - n, free_.end());
    free_.resize(free_.size() - static_cast<std::size_t>(n));
    for (const int block : blocks) in_use_[static_cast<std::size_t>(block)] = true;
    return blocks;
  }
  void share(int /*block*/) override {}
  void release(int block) override {
    in_use_[static_cast<std::size_t>(block)] = false;
    free_.push_back(block);
  }
  int ref_count(int block) const override { return in_use_[static_cast<std::size_t>(block)] ? 1 : 0; }

 private:
  std::vector<bool> in_use_;
  std::vector<int> free_;
};

/// So many requests run and so many wait, always.
class Load {
 public:
  Load(int n_running, int n_waiting)
      : scheduler_(lab03::make_scheduler({.block_size = kBlockSize,
                                          .max_num_seqs = n_running,
                                          .max_num_batched_tokens = 8 * n_running,
                                          .watermark_blocks = 0},
                                         std::make_shared<FreeList>(n_running * kBlocksOfRequest))) {
    for (int i = 0; i < n_running + n_waiting; ++i) add();
    // Until all run and the first have ended, so that the others are at all lengths.
    for (int i = 0; i < 2 * kAnswerLen || std::ssize(step_.chunks) < n_running; ++i) step();
  }

  const kit::Schedule& step() {
    for (const auto& chunk : step_.chunks) {
      if (!chunk.samples) continue;
      if (++n_written_[chunk.request] < kAnswerLen) {
        scheduler_->append_token(chunk.request);
        continue;
      }
      scheduler_->finish(chunk.request);
      n_written_.erase(chunk.request);
      add();
    }
    step_ = scheduler_->schedule();
    return step_;
  }

 private:
  void add() { scheduler_->add(next_id_++, kPromptLen, kAnswerLen); }

  std::unique_ptr<kit::Scheduler> scheduler_;
  std::unordered_map<int, int> n_written_;
  kit::Schedule step_;
  int next_id_ = 0;
};

void schedule_step(benchmark::State& state) try {
  using Clock = std::chrono::steady_clock;
  const auto n_running = static_cast<int>(state.range(0));
  Load load(n_running, static_cast<int>(state.range(1)));
  Clock::duration step_time{};
  Clock::duration copy_time{};
  for (auto _ : state) {
    const auto begin = Clock::now();
    const kit::Schedule& step = load.step();
    const auto end = Clock::now();
    const kit::Schedule copy = step;
    benchmark::DoNotOptimize(copy.chunks.data());
    copy_time += Clock::now() - end;
    step_time += end - begin;
    state.SetIterationTime(std::chrono::duration<double>(end - begin).count());
  }
  const double step_s = std::chrono::duration<double>(step_time).count();
  const double copy_s = std::chrono::duration<double>(copy_time).count();
  state.counters["ns_per_running"] = step_s * 1e9 / static_cast<double>(state.iterations()) / n_running;
  state.counters["share_of_ceiling"] = copy_s / step_s;
} catch (const std::exception& error) {
  state.SkipWithError(error.what());  // a task that is not written yet
}
BENCHMARK(schedule_step)
    ->ArgNames({"running", "waiting"})
    ->ArgsProduct({{64, 256, 1024}, {0, 10'000, 100'000}})
    ->UseManualTime()
    ->Unit(benchmark::kMicrosecond);

}  // namespace
