#include "kit/remote/serving.h"

namespace kit::remote {

namespace {

class BlockAllocatorProxy final : public BlockAllocator, public Remote {
  using C = BlockAllocator;

 public:
  using Remote::Remote;
  int n_blocks() const override { return ask<C, &C::n_blocks>("BlockAllocator::n_blocks"); }
  int n_free() const override { return ask<C, &C::n_free>("BlockAllocator::n_free"); }
  std::vector<int> allocate(int n) override { return ask<C, &C::allocate>("BlockAllocator::allocate", n); }
  void share(int block) override { ask<C, &C::share>("BlockAllocator::share", block); }
  void release(int block) override { ask<C, &C::release>("BlockAllocator::release", block); }
  int ref_count(int block) const override {
    return ask<C, &C::ref_count>("BlockAllocator::ref_count", block);
  }
};

class PagedKvCacheProxy final : public PagedKvCache, public Remote {
  using C = PagedKvCache;

 public:
  using Remote::Remote;
  int block_size() const override { return ask<C, &C::block_size>("PagedKvCache::block_size"); }
  int add_sequence(std::span<const int> blocks) override {
    return ask<C, &C::add_sequence>("PagedKvCache::add_sequence", blocks);
  }
  AppendedSlots append(int sequence, int n) override {
    return ask<C, &C::append>("PagedKvCache::append", sequence, n);
  }
  int fork(int sequence) override { return ask<C, &C::fork>("PagedKvCache::fork", sequence); }
  void free(int sequence) override { ask<C, &C::free>("PagedKvCache::free", sequence); }
  int context_len(int sequence) const override {
    return ask<C, &C::context_len>("PagedKvCache::context_len", sequence);
  }
  std::vector<int> block_table(int sequence) const override {
    return ask<C, &C::block_table>("PagedKvCache::block_table", sequence);
  }
  KvUsage usage() const override { return ask<C, &C::usage>("PagedKvCache::usage"); }
};

class PrefixCacheProxy final : public PrefixCache, public Remote {
  using C = PrefixCache;

 public:
  using Remote::Remote;
  PrefixMatch match(std::span<const int> tokens) override {
    return ask<C, &C::match>("PrefixCache::match", tokens);
  }
  void insert(std::span<const int> tokens, std::span<const int> block_table) override {
    ask<C, &C::insert>("PrefixCache::insert", tokens, block_table);
  }
  int evict(int n) override { return ask<C, &C::evict>("PrefixCache::evict", n); }
  int n_blocks() const override { return ask<C, &C::n_blocks>("PrefixCache::n_blocks"); }
};

class SchedulerProxy final : public Scheduler, public Remote {
  using C = Scheduler;

 public:
  using Remote::Remote;
  void add(int request, int prompt_len, int max_new_tokens) override {
    ask<C, &C::add>("Scheduler::add", request, prompt_len, max_new_tokens);
  }
  Schedule schedule() override { return ask<C, &C::schedule>("Scheduler::schedule"); }
  void append_token(int request) override { ask<C, &C::append_token>("Scheduler::append_token", request); }
  void finish(int request) override { ask<C, &C::finish>("Scheduler::finish", request); }
  std::vector<int> waiting() const override { return ask<C, &C::waiting>("Scheduler::waiting"); }
  std::vector<int> running() const override { return ask<C, &C::running>("Scheduler::running"); }
};

class EngineProxy final : public Engine, public Remote {
  using C = Engine;

 public:
  using Remote::Remote;
  void submit(const GenerationRequest& request) override { ask<C, &C::submit>("Engine::submit", request); }
  void cancel(int request) override { ask<C, &C::cancel>("Engine::cancel", request); }
  std::vector<TokenEvent> step() override { return ask<C, &C::step>("Engine::step"); }
  bool has_work() const override { return ask<C, &C::has_work>("Engine::has_work"); }
};

class StepExecutorProxy final : public StepExecutor, public Remote {
  using C = StepExecutor;

 public:
  using Remote::Remote;
  // Neither changes while an executor lives.
  const ModelConfig& config() const override {
    if (!config_) config_ = ask<C, &C::config>("StepExecutor::config");
    return *config_;
  }
  const PagedKvConfig& kv_config() const override {
    if (!kv_config_) kv_config_ = ask<C, &C::kv_config>("StepExecutor::kv_config");
    return *kv_config_;
  }

 protected:
  Tensor<float> run_checked(const std::vector<StepSequence>& batch, Logits which) override {
    return ask<C, &C::run>("StepExecutor::run", batch, which);
  }

 private:
  mutable std::optional<ModelConfig> config_;
  mutable std::optional<PagedKvConfig> kv_config_;
};

class BatchServerProxy final : public BatchServer, public Remote {
  using C = BatchServer;

 public:
  using Remote::Remote;
  int n_slots() const override { return ask<C, &C::n_slots>("BatchServer::n_slots"); }
  double now_ms() const override { return ask<C, &C::now_ms>("BatchServer::now_ms"); }
  std::vector<ArrivedRequest> take_arrivals(int max) override {
    return ask<C, &C::take_arrivals>("BatchServer::take_arrivals", max);
  }
  std::optional<double> next_arrival_ms() override {
    return ask<C, &C::next_arrival_ms>("BatchServer::next_arrival_ms");
  }
  void wait_until(double ms) override { ask<C, &C::wait_until>("BatchServer::wait_until", ms); }
  std::vector<int> run(std::span<const SlotWork> work) override {
    return ask<C, &C::run>("BatchServer::run", work);
  }
};

}  // namespace

std::unique_ptr<BlockAllocator> Interface<BlockAllocator>::make_proxy(Connection& connection, ObjectId object,
                                                                      bool owns) {
  return std::make_unique<BlockAllocatorProxy>(connection, object, owns);
}
std::unique_ptr<PagedKvCache> Interface<PagedKvCache>::make_proxy(Connection& connection, ObjectId object,
                                                                  bool owns) {
  return std::make_unique<PagedKvCacheProxy>(connection, object, owns);
}
std::unique_ptr<PrefixCache> Interface<PrefixCache>::make_proxy(Connection& connection, ObjectId object,
                                                                bool owns) {
  return std::make_unique<PrefixCacheProxy>(connection, object, owns);
}
std::unique_ptr<Scheduler> Interface<Scheduler>::make_proxy(Connection& connection, ObjectId object,
                                                            bool owns) {
  return std::make_unique<SchedulerProxy>(connection, object, owns);
}
std::unique_ptr<Engine> Interface<Engine>::make_proxy(Connection& connection, ObjectId object, bool owns) {
  return std::make_unique<EngineProxy>(connection, object, owns);
}
std::unique_ptr<StepExecutor> Interface<StepExecutor>::make_proxy(Connection& connection, ObjectId object,
                                                                  bool owns) {
  return std::make_unique<StepExecutorProxy>(connection, object, owns);
}
std::unique_ptr<BatchServer> Interface<BatchServer>::make_proxy(Connection& connection, ObjectId object,
                                                                bool owns) {
  return std::make_unique<BatchServerProxy>(connection, object, owns);
}

}  // namespace kit::remote
