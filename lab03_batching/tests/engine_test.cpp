#include "lab03/engine.h"

#include <gtest/gtest.h>

#include <limits>

#include "engine_run.h"
#include "kit/testing.h"

// The engine between the kit's executor and a scheduler of the tests, which does whatever is allowed: no test
// here depends on task 5.

namespace {

using kit::testing::throws_error;
using lab03_tests::EngineRun;
using lab03_tests::RandomScheduler;
using lab03_tests::TestModel;
using lab03_tests::tiny_model;

constexpr RandomScheduler::Options kOptions{.block_size = 4, .n_blocks = 40, .new_table_spares = 1};

int below(kit::Rng& rng, int n) {
  return static_cast<int>(rng.below(static_cast<std::uint32_t>(n)));
}

kit::GenerationRequest request(int id, int prompt_len, int max_new_tokens, kit::Rng& rng,
                               float temperature = 0.0F) {
  kit::GenerationRequest r;
  r.id = id;
  for (int i = 0; i < prompt_len; ++i) r.prompt.push_back(below(rng, 97));
  r.max_new_tokens = max_new_tokens;
  r.temperature = temperature;
  r.seed = rng.next_u32();
  return r;
}

/// Requests of every kind, all different; ids are in no order.
std::vector<kit::GenerationRequest> mixed_requests(int n, kit::Rng& rng, float temperature) {
  std::vector<kit::GenerationRequest> requests;
  for (int i = 0; i < n; ++i)
    requests.push_back(request((i * 7) % n + 100, 1 + below(rng, 20), 2 + below(rng, 14), rng, temperature));
  return requests;
}

void run_all(EngineRun& run, const std::vector<kit::GenerationRequest>& requests) {
  for (const kit::GenerationRequest& r : requests) run.submit(r);
  run.run_to_end();
}

TEST(Engine, OneRequestGetsItsTokens) {
  const TestModel model = tiny_model(700);
  kit::Rng rng = kit::testing::make_rng(701);
  for (const int prompt_len : {1, 4, 33}) {
    EngineRun run(model, kOptions, 702);
    run_all(run, {request(1, prompt_len, 9, rng)});
  }
}

TEST(Engine, GreedyTokensAreThoseOfEachRequestAlone) {
  const TestModel model = tiny_model(710);
  kit::Rng rng = kit::testing::make_rng(711);
  EngineRun run(model, kOptions, 712);
  run_all(run, mixed_requests(12, rng, 0.0F));
}

TEST(Engine, SampledTokensAreThoseOfEachRequestAlone) {
  const TestModel model = tiny_model(720);
  kit::Rng rng = kit::testing::make_rng(721);
  EngineRun run(model, kOptions, 722);
  std::vector<kit::GenerationRequest> requests = mixed_requests(12, rng, 1.0F);
  requests[3].temperature = 0.0F;  // uses no random number, not even a neighbour's
  requests[5].temperature = 0.6F;
  requests[8].prompt = requests[7].prompt;  // the same prompt, another seed: another text
  run_all(run, requests);
}

TEST(Engine, PromptsInChunksGiveNoTokenBeforeTheLast) {
  const TestModel model = tiny_model(730);
  kit::Rng rng = kit::testing::make_rng(731);
  RandomScheduler::Options options = kOptions;
  options.max_chunk = 3;
  EngineRun run(model, options, 732);
  std::vector<kit::GenerationRequest> requests;
  for (int i = 0; i < 6; ++i) requests.push_back(request(i, 17 + 3 * i, 5, rng, i % 2 == 0 ? 1.0F : 0.0F));
  run_all(run, requests);
}

TEST(Engine, PreemptedRequestsGoOnWhereTheyWere) {
  const TestModel model = tiny_model(740);
  kit::Rng rng = kit::testing::make_rng(741);
  RandomScheduler::Options options = kOptions;
  options.preempt_percent = 6;
  EngineRun run(model, options, 742);
  run_all(run, mixed_requests(12, rng, 1.0F));
  EXPECT_GT(run.scheduler().n_preempted(), 0U) << "this test preempted nobody";
}

TEST(Engine, RequestsMayArriveWhileOthersRun) {
  const TestModel model = tiny_model(750);
  kit::Rng rng = kit::testing::make_rng(751);
  RandomScheduler::Options options = kOptions;
  options.preempt_percent = 3;
  EngineRun run(model, options, 752);
  for (const kit::GenerationRequest& r : mixed_requests(10, rng, 0.8F)) {
    run.submit(r);
    EXPECT_TRUE(run.engine().has_work());
    for (int i = below(rng, 6); i > 0 && run.engine().has_work(); --i)
      if (!run.step()) return;
  }
  run.run_to_end();
}

TEST(Engine, CancelledRequestsEndAndOthersGoOn) {
  const TestModel model = tiny_model(760);
  kit::Rng rng = kit::testing::make_rng(761);
  RandomScheduler::Options options = kOptions;
  options.preempt_percent = 4;
  EngineRun run(model, options, 762);
  for (int id = 0; id < 10; ++id) run.submit(request(id, 1 + below(rng, 20), 14, rng, 1.0F));
  run.cancel(3);  // waiting, before any step
  // Requests in whatever state they are: waiting, in the middle of a prompt, writing, preempted.
  for (const int victim : {0, 7, 5, 8}) {
    for (int i = 0; i < 6; ++i)
      if (!run.step()) return;
    if (!run.ended(victim)) run.cancel(victim);
  }
  EXPECT_TRUE(throws_error([&] { run.engine().cancel(3); }, "3")) << "it was cancelled before";
  run.run_to_end();
  EXPECT_TRUE(throws_error([&] { run.engine().cancel(1); }, "1")) << "it has ended";
  EXPECT_TRUE(throws_error([&] { run.engine().cancel(77); }, "77")) << "nobody has this id";
}

TEST(Engine, CancellingTheOnlyRequestLeavesNoWork) {
  const TestModel model = tiny_model(765);
  kit::Rng rng = kit::testing::make_rng(766);
  EngineRun run(model, kOptions, 767);
  run.submit(request(4, 6, 20, rng));
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(run.step());
  run.cancel(4);
  EXPECT_FALSE(run.engine().has_work());
  run.run_to_end();
}

TEST(Engine, StopsAtEndOfText) {
  kit::Rng rng = kit::testing::make_rng(771);
  const std::vector<kit::GenerationRequest> requests = mixed_requests(8, rng, 1.0F);
  // Tokens that will come, half-way, become ends of text.
  std::vector<int> eos;
  for (const int i : {1, 4, 6}) {
    const auto tokens = lab03_tests::tokens_alone(tiny_model(770), requests[static_cast<std::size_t>(i)]);
    eos.push_back(tokens[tokens.size() / 2]);
  }
  const TestModel model = tiny_model(770, eos);
  EngineRun run(model, kOptions, 772);
  run_all(run, requests);
}

TEST(Engine, WritesASingleToken) {
  const TestModel model = tiny_model(780);
  kit::Rng rng = kit::testing::make_rng(781);
  EngineRun run(model, kOptions, 782);
  // Nothing of such a request is ever fed back.
  run_all(run, {request(1, 9, 1, rng), request(2, 1, 1, rng, 1.0F), request(3, 5, 6, rng),
                request(4, 4, 1, rng), request(5, 64, 1, rng)});
}

TEST(Engine, FillsTheModelToItsLastPosition) {
  const TestModel model = tiny_model(785);
  kit::Rng rng = kit::testing::make_rng(786);
  EngineRun run(model, kOptions, 787);
  // 50 + 15 - 1 = 64 positions: the last token is written, but not run.
  run_all(run, {request(1, 50, 15, rng), request(2, 1, 64, rng, 1.0F)});
}

TEST(Engine, IdsMayBeUsedAgain) {
  const TestModel model = tiny_model(790);
  kit::Rng rng = kit::testing::make_rng(791);
  EngineRun run(model, kOptions, 792);
  run.submit(request(5, 6, 4, rng, 1.0F));
  run.run_to_end();
  EngineRun second(model, kOptions, 793);
  second.submit(request(5, 6, 9, rng, 1.0F));
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(second.step());
  second.cancel(5);
  second.submit(request(5, 3, 8, rng, 1.0F));  // another prompt under the same id
  second.run_to_end();
}

TEST(Engine, RejectsBadRequestsAndGoesOn) {
  const TestModel model = tiny_model(800);
  kit::Rng rng = kit::testing::make_rng(801);
  RandomScheduler::Options options = kOptions;
  options.n_blocks = 12;  // 48 tokens
  EngineRun run(model, options, 802);
  run.submit(request(1, 5, 8, rng, 1.0F));
  ASSERT_TRUE(run.step());
  const auto refuses = [&](auto spoil, const std::string& needle = "") {
    kit::GenerationRequest r = request(2, 6, 8, rng);
    spoil(r);
    return throws_error([&] { run.engine().submit(r); }, needle);
  };
  EXPECT_TRUE(refuses([](auto& r) { r.id = 1; })) << "an id in use";
  EXPECT_TRUE(refuses([](auto& r) { r.prompt.clear(); })) << "no prompt";
  EXPECT_TRUE(refuses([](auto& r) { r.prompt[3] = 97; })) << "a token outside the vocabulary";
  EXPECT_TRUE(refuses([](auto& r) { r.prompt[5] = -1; })) << "a token outside the vocabulary";
  EXPECT_TRUE(refuses([](auto& r) { r.max_new_tokens = 0; })) << "no new token";
  EXPECT_TRUE(refuses([](auto& r) { r.max_new_tokens = -3; })) << "-3 new tokens";
  EXPECT_TRUE(refuses([](auto& r) { r.max_new_tokens = 60; })) << "65 positions, the model has 64";
  EXPECT_TRUE(refuses([](auto& r) { r.max_new_tokens = std::numeric_limits<int>::max(); }));
  EXPECT_TRUE(refuses([](auto& r) { r.temperature = -0.5F; })) << "temperature";
  EXPECT_TRUE(refuses([](auto& r) { r.temperature = std::numeric_limits<float>::quiet_NaN(); }))
      << "a temperature that is not a number";
  EXPECT_TRUE(refuses([](auto& r) { r.max_new_tokens = 44; }, "13 blocks"))
      << "the scheduler's refusal must come through";
  EXPECT_FALSE(run.scheduler().knows(2)) << "a refused request must not wait in the scheduler";
  // The same id may come again, and the first request does not notice.
  run.submit(request(2, 6, 8, rng));
  run.run_to_end();
}

TEST(Engine, WithoutWorkRunsNothing) {
  const TestModel model = tiny_model(810);
  EngineRun run(model, kOptions, 811);
  EXPECT_FALSE(run.engine().has_work());
  EXPECT_TRUE(run.engine().step().empty());
  EXPECT_TRUE(run.executor().steps().empty()) << "a step without work must run nothing";
}

TEST(Engine, RejectsMissingParts) {
  const TestModel model = tiny_model(820);
  const auto scheduler = std::make_shared<RandomScheduler>(kOptions, kit::testing::make_rng(821));
  const std::shared_ptr<kit::StepExecutor> executor =
      kit::make_llama_executor(model.config, model.weights, {2, 2, 8, 4, 10}, kit::gathered_paged_attention);
  EXPECT_TRUE(throws_error([&] { lab03::make_engine(nullptr, scheduler); }));
  EXPECT_TRUE(throws_error([&] { lab03::make_engine(executor, nullptr); }));
}

}  // namespace
