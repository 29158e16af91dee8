// Objects that the other process keeps, and the interfaces of labs 02 and 03.
#include "kit/remote/serving.h"

#include <gtest/gtest.h>

#include <optional>

#include "kit/reference.h"
#include "worker_process.h"

namespace kit::remote {
namespace {

/// What a student's class does with an allocator: it keeps it, and calls it later.
class Hoarder final : public PagedKvCache {
 public:
  explicit Hoarder(std::shared_ptr<BlockAllocator> allocator) : allocator_(std::move(allocator)) {}
  int block_size() const override { return 4; }
  int add_sequence(std::span<const int> blocks) override {
    blocks_.assign(blocks.begin(), blocks.end());
    return static_cast<int>(blocks.size());
  }
  AppendedSlots append(int sequence, int n) override {
    for (const int block : allocator_->allocate(n)) blocks_.push_back(block);
    return {{sequence, n, std::int64_t{1} << 40}, {{7, 8}}};
  }
  int fork(int sequence) override {
    for (const int block : blocks_) allocator_->share(block);
    return sequence + 1;
  }
  void free(int /*sequence*/) override {
    for (const int block : blocks_) allocator_->release(block);
  }
  int context_len(int sequence) const override { return sequence * 10; }
  std::vector<int> block_table(int /*sequence*/) const override { return blocks_; }
  KvUsage usage() const override { return {1, 2, 3, 4, 5}; }

 private:
  std::shared_ptr<BlockAllocator> allocator_;
  std::vector<int> blocks_;
};

std::unique_ptr<PagedKvCache> make_hoarder(std::shared_ptr<BlockAllocator> allocator) {
  if (allocator == nullptr) return nullptr;
  return std::make_unique<Hoarder>(std::move(allocator));
}
std::unique_ptr<BlockAllocator> make_allocator(int n_blocks) {
  return make_reference_block_allocator(n_blocks);
}
std::shared_ptr<BlockAllocator>& kept() {
  static std::shared_ptr<BlockAllocator> allocator;
  return allocator;
}
void keep(std::shared_ptr<BlockAllocator> allocator) {
  kept() = std::move(allocator);
}
int free_of_kept() {
  return kept() == nullptr ? -1 : kept()->n_free();
}

TEST(RemoteServing, TheWorkerKeepsAnObjectOfTheChecker) {
  WorkerProcess worker;
  const std::shared_ptr<BlockAllocator> allocator = make_reference_block_allocator(8);
  {
    const auto cache = ask<&make_hoarder>(worker, allocator);
    EXPECT_EQ(allocator.use_count(), 2) << "the call is over, and the worker has it still";
    cache->append(3, 5);
    EXPECT_EQ(allocator->n_free(), 3);
    cache->fork(0);
    EXPECT_EQ(allocator->ref_count(4), 2);
    EXPECT_THROW(cache->append(3, 4), Error) << "the checker's allocator refuses, through the worker";
    EXPECT_EQ(allocator->n_free(), 3);
    cache->free(0);
    cache->free(0);
    EXPECT_THROW(cache->free(0), Error);
    EXPECT_EQ(allocator->n_free(), 8);
  }
  EXPECT_EQ(ask<&free_of_kept>(worker), -1);  // after a call, what was released before has arrived
  EXPECT_EQ(worker->n_objects(), 0);
  EXPECT_EQ(allocator.use_count(), 1);
}

TEST(RemoteServing, ValuesArriveAsTheyWere) {
  WorkerProcess worker;
  const auto cache = ask<&make_hoarder>(worker, std::shared_ptr(make_reference_block_allocator(8)));
  EXPECT_EQ(cache->block_size(), 4);
  EXPECT_EQ(cache->add_sequence(std::vector<int>{4, 5, 6}), 3);
  EXPECT_EQ(cache->block_table(0), (std::vector<int>{4, 5, 6}));
  const AppendedSlots slots = cache->append(3, 2);
  EXPECT_EQ(slots.slot_mapping, (std::vector<std::int64_t>{3, 2, std::int64_t{1} << 40}));
  EXPECT_EQ(slots.copies, (std::vector<BlockCopy>{{7, 8}}));
  EXPECT_EQ(cache->context_len(4), 40);
  EXPECT_EQ(cache->usage(), (KvUsage{1, 2, 3, 4, 5}));
}

TEST(RemoteServing, NothingIsSomethingToo) {
  WorkerProcess worker;
  EXPECT_EQ(ask<&make_hoarder>(worker, std::shared_ptr<BlockAllocator>()), nullptr);
}

TEST(RemoteServing, AnObjectOfTheWorkerComesHome) {
  WorkerProcess worker;
  std::shared_ptr<BlockAllocator> allocator = ask<&make_allocator>(worker, 5);
  const auto cache = ask<&make_hoarder>(worker, allocator);
  cache->append(0, 2);
  EXPECT_EQ(allocator->n_free(), 3);
  // The worker's cache shares it: it lives on when the checker has no more use for it.
  allocator.reset();
  cache->append(0, 3);
  EXPECT_THROW(cache->append(0, 1), Error);
}

TEST(RemoteServing, AnObjectLivesAsLongAsEitherSideHasIt) {
  WorkerProcess worker;
  ask<&keep>(worker, std::shared_ptr(make_reference_block_allocator(6)));
  EXPECT_EQ(worker->n_objects(), 1);
  EXPECT_EQ(ask<&free_of_kept>(worker), 6) << "nobody here has it any more";
  ask<&keep>(worker, std::shared_ptr<BlockAllocator>());
  EXPECT_EQ(ask<&free_of_kept>(worker), -1);
  EXPECT_EQ(worker->n_objects(), 0);
}

/// Answers with what it was given.
class Echo final : public Scheduler, public Engine, public PrefixCache {
 public:
  void add(int request, int prompt_len, int max_new_tokens) override {
    KIT_CHECK(prompt_len > 0, "prompt_len is {}", prompt_len);
    numbers_ = {request, prompt_len, max_new_tokens};
  }
  Schedule schedule() override { return {{{1, 2, 3, true, {4, 5}}, {6, 7, 8, false, {}}}, {9, 10}}; }
  void append_token(int request) override { numbers_ = {request, -1}; }
  void finish(int request) override { numbers_ = {request, -2}; }
  std::vector<int> waiting() const override { return numbers_; }
  std::vector<int> running() const override { return {}; }

  void submit(const GenerationRequest& request) override {
    numbers_ = request.prompt;
    numbers_.push_back(request.id);
    numbers_.push_back(request.max_new_tokens);
    numbers_.push_back(static_cast<int>(request.temperature * 4));
    numbers_.push_back(static_cast<int>(request.seed >> 40));
  }
  void cancel(int request) override { numbers_ = {request}; }
  std::vector<TokenEvent> step() override {
    std::vector<TokenEvent> events;
    for (const int number : numbers_) events.push_back({number, 2 * number, FinishReason::kEndOfText});
    return events;
  }
  bool has_work() const override { return !numbers_.empty(); }

  PrefixMatch match(std::span<const int> tokens) override { return {{tokens.begin(), tokens.end()}, 12}; }
  void insert(std::span<const int> tokens, std::span<const int> block_table) override {
    numbers_ = {static_cast<int>(tokens.size()), block_table[0]};
  }
  int evict(int n) override { return n + numbers_[1]; }
  int n_blocks() const override { return numbers_[0]; }

 private:
  std::vector<int> numbers_;
};

std::unique_ptr<Scheduler> make_scheduler() {
  return std::make_unique<Echo>();
}
std::unique_ptr<Engine> make_engine() {
  return std::make_unique<Echo>();
}
std::unique_ptr<PrefixCache> make_prefix_cache() {
  return std::make_unique<Echo>();
}

TEST(RemoteServing, Schedulers) {
  WorkerProcess worker;
  const auto scheduler = ask<&make_scheduler>(worker);
  EXPECT_EQ(scheduler->schedule().chunks,
            (std::vector<ScheduledChunk>{{1, 2, 3, true, {4, 5}}, {6, 7, 8, false, {}}}));
  EXPECT_EQ(scheduler->schedule().preempted, (std::vector<int>{9, 10}));
  scheduler->add(1, 2, 3);
  EXPECT_EQ(scheduler->waiting(), (std::vector<int>{1, 2, 3}));
  EXPECT_THROW(scheduler->add(1, 0, 3), Error);
  scheduler->append_token(5);
  EXPECT_EQ(scheduler->waiting(), (std::vector<int>{5, -1}));
  scheduler->finish(6);
  EXPECT_EQ(scheduler->waiting(), (std::vector<int>{6, -2}));
  EXPECT_TRUE(scheduler->running().empty());
}

TEST(RemoteServing, Engines) {
  WorkerProcess worker;
  const auto engine = ask<&make_engine>(worker);
  EXPECT_FALSE(engine->has_work());
  engine->submit({.id = 3, .prompt = {1, 2}, .max_new_tokens = 4, .temperature = 1.25F, .seed = 9ULL << 40});
  const auto events = engine->step();
  ASSERT_EQ(events.size(), 6);
  const std::vector<int> expected = {1, 2, 3, 4, 5, 9};
  for (std::size_t i = 0; i < expected.size(); ++i)
    EXPECT_EQ(events[i], (TokenEvent{expected[i], 2 * expected[i], FinishReason::kEndOfText}));
  engine->cancel(8);
  EXPECT_EQ(engine->step().size(), 1);
  EXPECT_TRUE(engine->has_work());
}

TEST(RemoteServing, PrefixCaches) {
  WorkerProcess worker;
  const auto cache = ask<&make_prefix_cache>(worker);
  const std::vector<int> tokens = {3, 1, 4};
  EXPECT_EQ(cache->match(tokens), (PrefixMatch{{3, 1, 4}, 12}));
  cache->insert(tokens, std::vector<int>{21});
  EXPECT_EQ(cache->n_blocks(), 3);
  EXPECT_EQ(cache->evict(2), 23);
}

/// A model of one layer that says how much it was asked.
class CountingExecutor final : public StepExecutor {
 public:
  CountingExecutor() {
    config_.vocab_size = 10;
    config_.max_seq_len = 32;
  }
  const ModelConfig& config() const override { return config_; }
  const PagedKvConfig& kv_config() const override { return kv_; }

 protected:
  Tensor<float> run_checked(const std::vector<StepSequence>& batch, Logits which) override {
    std::vector<float> values;
    for (const StepSequence& s : batch) {
      const std::size_t first = which == Logits::kAll ? 0 : s.tokens.size() - 1;
      for (std::size_t t = first; t < s.tokens.size(); ++t)
        values.push_back(static_cast<float>(s.tokens[t] + 100 * s.block_table.back()));
    }
    Tensor<float> logits({static_cast<std::int64_t>(values.size()), 10});
    for (std::size_t i = 0; i < values.size(); ++i) logits(i, 0) = values[i];
    return logits;
  }

 private:
  ModelConfig config_;
  PagedKvConfig kv_{1, 1, 2, 4, 6};
};

float drive(std::shared_ptr<StepExecutor> executor) {
  const std::vector<StepSequence> batch = {{{1, 2}, 0, {5}},
                                           {{3}, 7, {0, executor->kv_config().n_blocks - 2}}};
  const Tensor<float> logits = executor->run(batch);
  return logits(0, 0) + 10000 * logits(1, 0) + static_cast<float>(executor->config().vocab_size);
}
std::vector<float> drive_all(std::shared_ptr<StepExecutor> executor) {
  const Tensor<float> logits = executor->run({{{1, 2}, 0, {5}}, {{3}, 7, {0, 4}}}, Logits::kAll);
  std::vector<float> values;
  for (std::int64_t i = 0; i < logits.dim(0); ++i) values.push_back(logits(i, 0));
  return values;
}
bool drive_wrong(std::shared_ptr<StepExecutor> executor) {
  try {
    executor->run({{{1}, 0, {6}}});
  } catch (const Error&) {
    return true;
  }
  return false;
}

TEST(RemoteServing, TheExecutorCountsWhereItIs) {
  WorkerProcess worker;
  const auto executor = std::make_shared<CountingExecutor>();
  const std::shared_ptr<StepExecutor> shared = executor;
  EXPECT_EQ(ask<&drive>(worker, shared), 502.0F + 10000 * 403.0F + 10.0F);
  EXPECT_EQ(executor->tokens_processed(), 3);
  ASSERT_EQ(executor->steps().size(), 1);
  EXPECT_EQ(executor->steps()[0].longest_context, 8);
  EXPECT_EQ(ask<&drive_all>(worker, shared), (std::vector<float>{501, 502, 403}));
  EXPECT_EQ(executor->tokens_processed(), 6);
  EXPECT_TRUE(ask<&drive_wrong>(worker, shared)) << "there is no block 6";
  EXPECT_EQ(executor->steps().size(), 2) << "what was refused is not counted";
}

/// A server with one request.
class OneRequest final : public BatchServer {
 public:
  int n_slots() const override { return 2; }
  double now_ms() const override { return now_; }
  std::vector<ArrivedRequest> take_arrivals(int max) override {
    if (max == 0 || now_ < 5) return {};
    return {{17, 4.5, 3}};
  }
  std::optional<double> next_arrival_ms() override { return now_ < 5 ? std::optional(4.5) : std::nullopt; }
  void wait_until(double ms) override { now_ = ms; }
  std::vector<int> run(std::span<const SlotWork> work) override {
    now_ += 1;
    return {work[0].request, work[0].slot, work[0].n_tokens};
  }

 private:
  double now_ = 0.0;
};

std::vector<int> serve(BatchServer& server) {
  if (!server.take_arrivals(1).empty() || server.next_arrival_ms() != 4.5) return {};
  server.wait_until(5.5);
  if (server.next_arrival_ms()) return {};
  const ArrivedRequest request = server.take_arrivals(server.n_slots()).at(0);
  const SlotWork work = {1, request.id, request.prompt_len};
  return server.run({&work, 1});
}

TEST(RemoteServing, Servers) {
  WorkerProcess worker;
  OneRequest server;
  EXPECT_EQ(ask<&serve>(worker, server), (std::vector<int>{17, 1, 3}));
  EXPECT_EQ(server.now_ms(), 6.5);
  EXPECT_EQ(worker->n_objects(), 0);
}

}  // namespace
}  // namespace kit::remote
