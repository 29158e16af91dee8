#include "engine_run.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "kit/reference.h"
#include "kit/sampling.h"
#include "kit/testing.h"
#include "lab03/engine.h"

namespace lab03_tests {

namespace {

constexpr int kTooManySteps = 3000;

kit::PagedKvConfig kv_config(const TestModel& model, const RandomScheduler::Options& options) {
  const kit::ModelConfig& c = model.config;
  return {c.n_layers, c.n_kv_heads, c.head_dim, options.block_size, options.n_blocks};
}

}  // namespace

TestModel tiny_model(std::uint64_t stream, std::vector<int> eos) {
  kit::ModelConfig config;
  config.vocab_size = 97;
  config.dim = 32;
  config.hidden_dim = 64;
  config.n_layers = 2;
  config.n_heads = 4;
  config.n_kv_heads = 2;
  config.head_dim = 8;
  config.max_seq_len = 64;
  config.eos_token_ids = std::move(eos);
  kit::Rng rng = kit::testing::make_rng(stream);
  return {config, std::make_shared<const kit::LlamaWeights>(kit::random_llama_weights(config, rng))};
}

TestModel shipped_model() {
  const auto directory = kit::testing::models_dir() / "target";
  const kit::ModelConfig config = kit::load_config(directory);
  return {config, std::make_shared<const kit::LlamaWeights>(kit::load_llama_weights(directory, config))};
}

std::vector<int> tokens_alone(const TestModel& model, const kit::GenerationRequest& request) {
  const auto llama = kit::make_llama(model.config, model.weights, kit::gathered_attention_ops());
  const auto cache = kit::make_reference_kv_cache(model.config.kv_cache_config(model.config.max_seq_len));
  kit::Rng rng(request.seed);
  std::vector<int> written;
  std::vector<int> next = request.prompt;
  while (static_cast<int>(written.size()) < request.max_new_tokens) {
    const kit::Tensor<float> logits = llama->forward(next, *cache);
    written.push_back(kit::sample(logits.span(), request.temperature, rng));
    if (model.config.is_eos(written.back())) break;
    next = {written.back()};
  }
  return written;
}

::testing::AssertionResult same_tokens(const std::vector<int>& got, const std::vector<int>& expected) {
  if (got == expected) return ::testing::AssertionSuccess();
  auto failure = ::testing::AssertionFailure();
  failure << got.size() << " tokens, alone it gets " << expected.size() << "; ";
  const auto [g, e] = std::mismatch(got.begin(), got.end(), expected.begin(), expected.end());
  if (e == expected.end()) return failure << "it went on too long";
  if (g == got.end()) return failure << "it ended too early";
  return failure << "the first difference is at new token " << e - expected.begin() << ": got " << *g
                 << ", alone " << *e;
}

EngineRun::EngineRun(const TestModel& model, const RandomScheduler::Options& options, std::uint64_t stream)
    : model_(&model),
      executor_(std::make_shared<WatchedExecutor>(kit::make_llama_executor(
          model.config, model.weights, kv_config(model, options), kit::gathered_paged_attention))),
      scheduler_(std::make_shared<RandomScheduler>(options, kit::testing::make_rng(stream))),
      engine_(lab03::make_engine(executor_, scheduler_)) {}

void EngineRun::submit(const kit::GenerationRequest& request) {
  engine_->submit(request);
  if (states_.contains(request.id)) seen_.clear();  // it told of another request
  states_[request.id] = {.request = request};
  submitted_.push_back(request);
}

void EngineRun::cancel(int request) {
  engine_->cancel(request);
  states_.at(request).cancelled = true;
  EXPECT_FALSE(scheduler_->knows(request))
      << "request " << request << " was cancelled, but its blocks are not free: cancel() must tell the "
      << "scheduler with finish()";
}

bool EngineRun::call_engine(SeenStep& seen) {
  std::string error;
  try {
    seen.events = engine_->step();
  } catch (const kit::NotImplemented&) {
    throw;
  } catch (const std::exception& exception) {
    error = exception.what();
  }
  seen.schedule = scheduler_->last();
  seen.batch = executor_->batch;
  seen.logits = std::move(executor_->logits);
  if (error.empty()) return true;
  seen_.push_back(std::move(seen));
  ADD_FAILURE() << "step " << seen_.size() << " of the engine failed: " << error << likely_cause();
  return false;
}

bool EngineRun::step() {
  SeenStep seen;
  executor_->batch.clear();
  const std::size_t n_calls = executor_->steps().size();
  const std::int64_t n_tokens = executor_->tokens_processed();
  if (!call_engine(seen)) return false;
  const std::size_t n_new_calls = executor_->steps().size() - n_calls;
  if (n_new_calls > 1) seen.batch.clear();  // a part of the step only
  const bool ok = check_step(seen, n_new_calls, executor_->tokens_processed() - n_tokens);
  seen_.push_back(std::move(seen));
  if (!ok) ADD_FAILURE() << "in step " << seen_.size() << " of the engine" << likely_cause();
  return ok;
}

bool EngineRun::check_step(const SeenStep& seen, std::size_t n_calls, std::int64_t n_tokens) {
  std::vector<int> sampling;
  std::vector<int> got;
  std::int64_t n_scheduled = 0;
  for (const kit::ScheduledChunk& chunk : seen.schedule.chunks) {
    n_scheduled += chunk.n_tokens;
    if (chunk.samples) sampling.push_back(chunk.request);
  }
  for (const kit::TokenEvent& event : seen.events) got.push_back(event.request);
  const std::size_t n_wanted = seen.schedule.chunks.empty() ? 0 : 1;
  bool ok = n_calls == n_wanted;
  EXPECT_EQ(n_calls, n_wanted) << "a step calls the executor once, for all of its chunks together";
  ok = ok && n_tokens == n_scheduled;
  EXPECT_EQ(n_tokens, n_scheduled) << "tokens that were run against those of the schedule";
  ok = ok && got == sampling;
  EXPECT_EQ(fmt::format("{}", got), fmt::format("{}", sampling))
      << "requests that got a token against those whose chunk samples, in the schedule's order";
  for (const kit::TokenEvent& event : seen.events) ok = take(event) && ok;
  return ok;
}

bool EngineRun::take(const kit::TokenEvent& event) {
  State& state = states_.at(event.request);
  const bool over = state.cancelled || state.finish != kit::FinishReason::kNone;
  EXPECT_FALSE(over) << "request " << event.request << " got a token after it had ended";
  state.written.push_back(event.token);
  state.finish = event.finish;
  const bool goes_on = event.finish == kit::FinishReason::kNone;
  EXPECT_EQ(scheduler_->knows(event.request), goes_on)
      << "request " << event.request
      << (goes_on ? " goes on, but the scheduler was told that it has ended"
                  : " has ended, but the scheduler was not told: its blocks are lost");
  return !over && scheduler_->knows(event.request) == goes_on;
}

void EngineRun::run_to_end() {
  for (int i = 0; engine_->has_work(); ++i) {
    ASSERT_LT(i, kTooManySteps) << "the engine says that it has work for ever";
    if (!step()) return;
  }
  check_tokens();
  check_all_is_over();
}

void EngineRun::check_tokens() const {
  int n_wrong = 0;
  std::string first;
  for (const auto& [id, state] : states_) {
    std::vector<int> expected = tokens_alone(*model_, state.request);
    if (state.cancelled) expected.resize(std::min(expected.size(), state.written.size()));
    const auto result = same_tokens(state.written, expected);
    if (result) continue;
    if (n_wrong++ > 0) continue;
    first =
        fmt::format("request {} (prompt of {}, temperature {}, seed {}): {}", id, state.request.prompt.size(),
                    state.request.temperature, state.request.seed, result.message());
    if (state.written.size() > expected.size() && model_->config.is_eos(expected.back()))
      first +=
          fmt::format("\nLikely cause: token {} ends the text, and the request went on", expected.back());
  }
  if (n_wrong > 0)
    ADD_FAILURE() << n_wrong << " of " << states_.size()
                  << " requests got other tokens than alone. The first: " << first << likely_cause();
}

void EngineRun::check_all_is_over() {
  for (const auto& [id, state] : states_) {
    if (state.cancelled || state.written.empty()) continue;
    const bool eos = model_->config.is_eos(state.written.back());
    const bool full = static_cast<int>(state.written.size()) == state.request.max_new_tokens;
    // A last token that ends the text is both.
    if (eos && full) continue;
    EXPECT_EQ(state.finish, eos ? kit::FinishReason::kEndOfText : kit::FinishReason::kLength)
        << "how request " << id << " ended";
  }
  EXPECT_TRUE(scheduler_->all_blocks_are_free()) << "all requests have ended, but not all blocks are free";
  const std::size_t n_calls = executor_->steps().size();
  EXPECT_TRUE(engine_->step().empty()) << "a step without work has no tokens";
  EXPECT_EQ(executor_->steps().size(), n_calls) << "a step without work must run nothing";
}

std::string EngineRun::likely_cause() const {
  std::map<int, KnownTokens> known;
  for (const auto& [id, state] : states_) {
    KnownTokens& k = known[id];
    k.tokens = state.request.prompt;
    k.prompt_len = static_cast<int>(k.tokens.size());
    k.tokens.insert(k.tokens.end(), state.written.begin(), state.written.end());
  }
  std::string cause = batch_mistake(seen_, known);
  if (cause.empty()) cause = sampling_mistake(seen_, submitted_);
  return cause.empty() ? "" : "\nLikely cause: " + cause;
}

}  // namespace lab03_tests
