#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <numeric>
#include <vector>

#include "engine_run.h"
#include "kit/reference.h"
#include "kit/testing.h"
#include "kit/tokenizer.h"
#include "lab03/engine.h"
#include "lab03/scheduler.h"

// The shipped model, the student's engine and the student's scheduler: every request gets what it would get
// alone, in few steps, counted by the kit's executor.

namespace {

constexpr int kRequests = 24;
constexpr int kBlockSize = 8;
// A request grows to 10 blocks at most, so memory for whole requests would let 4 run; pages let 6 run, at the
// price of a preemption now and then.
constexpr int kBlocks = 40;
constexpr int kMaxNumSeqs = 6;
constexpr int kTokenBudget = 48;  // less than two long prompts beside the decodes, so that some are cut
constexpr int kWatermark = 1;

/// Pieces of it are the prompts.
constexpr const char* kText =
    "The old clock in the hall had stopped at ten minutes past four, and nobody in the house could say when. "
    "Margaret noticed it first, on the morning after the storm, when she came down to look for the cat. "
    "\"It will be the damp,\" said her uncle, without looking up from his letters; \"everything stops in "
    "this "
    "house sooner or later.\" But the cat was not in the hall, nor in the kitchen, and the door to the "
    "garden, "
    "which she had locked herself, stood open. There were footprints in the wet grass, small ones, that went "
    "as "
    "far as the well and did not come back. She stood there for some time in her thin shoes. Then she heard "
    "the clock strike, slowly, once, behind her, and went in to see who had wound it up again.";

struct Arrival {
  kit::GenerationRequest request;
  int step = 0;  ///< it is submitted before this step, counted from 0
};

/// The same at every grading: prompts of 6 to 24 tokens, a third of the requests there from the start and one
/// more every three steps, the later the shorter, as the optimum wants it.
std::vector<Arrival> workload(const std::vector<int>& text) {
  kit::Rng rng(2025);
  std::vector<Arrival> arrivals;
  for (int i = 0; i < kRequests; ++i) {
    kit::GenerationRequest r;
    r.id = i;
    const int prompt_len = 6 + static_cast<int>(rng.below(19));
    const auto first =
        text.begin() + static_cast<std::ptrdiff_t>(rng.below(static_cast<std::uint32_t>(text.size() - 24)));
    r.prompt.assign(first, first + prompt_len);
    r.max_new_tokens = 52 - 3 * i / 2 - static_cast<int>(rng.below(4));
    r.temperature = i % 4 == 0 ? 0.0F : 0.8F;
    r.seed = 1000 + static_cast<std::uint64_t>(i);
    arrivals.push_back({std::move(r), i < kRequests / 3 ? 0 : 3 * (i - kRequests / 3)});
  }
  return arrivals;
}

std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

/// Steps that no scheduler can do without. A request that writes n tokens takes part in n steps at least,
/// with ceil(tokens / block_size) blocks in each, and runs prompt + n - 1 tokens; a step has kMaxNumSeqs
/// requests, kTokenBudget tokens and kBlocks blocks. That holds for all requests, and again for those that
/// arrive at step t or later, which begin at t at the earliest.
std::int64_t lower_bound(const std::vector<Arrival>& arrivals, const std::vector<std::vector<int>>& written) {
  std::int64_t bound = 0;
  for (const Arrival& from : arrivals) {
    std::int64_t slot_steps = 0;
    std::int64_t tokens = 0;
    std::int64_t block_steps = 0;
    std::int64_t longest = 0;
    for (std::size_t i = 0; i < arrivals.size(); ++i) {
      if (arrivals[i].step < from.step) continue;
      const auto n = static_cast<std::int64_t>(written[i].size());
      const auto prompt_len = static_cast<std::int64_t>(arrivals[i].request.prompt.size());
      slot_steps += n;
      tokens += prompt_len + n - 1;
      for (std::int64_t j = 0; j < n; ++j) block_steps += ceil_div(prompt_len + j, kBlockSize);
      longest = std::max(longest, arrivals[i].step - from.step + n);
    }
    const std::int64_t steps = std::max({ceil_div(slot_steps, kMaxNumSeqs), ceil_div(tokens, kTokenBudget),
                                         ceil_div(block_steps, kBlocks), longest});
    bound = std::max(bound, from.step + steps);
  }
  return bound;
}

/// What the engine did with the workload.
struct Served {
  std::map<int, std::vector<int>> tokens;  ///< by request
  std::map<int, kit::FinishReason> finish;
  std::vector<double> tokens_written;  ///< after each step, all requests together
};

Served serve(kit::Engine& engine, const std::vector<Arrival>& arrivals, std::int64_t too_many_steps) {
  Served served;
  std::size_t next = 0;
  double n_written = 0;
  for (std::int64_t step = 0; next < arrivals.size() || engine.has_work(); ++step) {
    if (step > too_many_steps) break;
    while (next < arrivals.size() && arrivals[next].step <= step) engine.submit(arrivals[next++].request);
    for (const kit::TokenEvent& event : engine.step()) {
      served.tokens[event.request].push_back(event.token);
      served.finish[event.request] = event.finish;
      n_written += 1;
    }
    served.tokens_written.push_back(n_written);
  }
  return served;
}

std::vector<double> counting_to(std::size_t n) {
  std::vector<double> values(n);
  std::iota(values.begin(), values.end(), 1.0);
  return values;
}

TEST(EngineMilestone, SameTokensInFewSteps) {
  const lab03_tests::TestModel model = lab03_tests::shipped_model();
  const auto tokenizer = kit::Tokenizer::load(kit::testing::models_dir() / "target" / "tokenizer.json");
  const std::vector<Arrival> arrivals = workload(tokenizer.encode(kText));
  const kit::ModelConfig& c = model.config;
  const std::shared_ptr<kit::StepExecutor> executor =
      kit::make_llama_executor(c, model.weights, {c.n_layers, c.n_kv_heads, c.head_dim, kBlockSize, kBlocks},
                               kit::gathered_paged_attention);
  const auto engine =
      lab03::make_engine(executor, lab03::make_scheduler({kBlockSize, kMaxNumSeqs, kTokenBudget, kWatermark},
                                                         kit::make_reference_block_allocator(kBlocks)));

  std::vector<std::vector<int>> expected;
  std::int64_t n_tokens = 0;
  for (const Arrival& arrival : arrivals) {
    expected.push_back(lab03_tests::tokens_alone(model, arrival.request));
    n_tokens += static_cast<std::int64_t>(expected.back().size());
  }
  // One after the other each token takes a step, so an engine that needs more has lost its way.
  const Served served = serve(*engine, arrivals, n_tokens);

  for (const Arrival& arrival : arrivals) {
    const int id = arrival.request.id;
    const auto got = served.tokens.find(id);
    ASSERT_NE(got, served.tokens.end()) << "request " << id << " got no token in " << n_tokens << " steps";
    // Steps that wrote something else would be worth nothing.
    ASSERT_TRUE(lab03_tests::same_tokens(got->second, expected[static_cast<std::size_t>(id)]))
        << "request " << id << "; the tests of task 6 say more";
    ASSERT_NE(served.finish.at(id), kit::FinishReason::kNone) << "request " << id << " never ended";
  }

  const std::int64_t bound = lower_bound(arrivals, expected);
  const double allowed = std::floor(1.05 * static_cast<double>(bound));
  const auto n_steps = static_cast<double>(executor->steps().size());
  kit::testing::record_value("steps", n_steps);
  kit::testing::record_value("steps_allowed", allowed);
  kit::testing::record_value("steps_lower_bound", static_cast<double>(bound));
  kit::testing::record_value("steps_alone", static_cast<double>(n_tokens));
  kit::testing::record_value("tokens_run", static_cast<double>(executor->tokens_processed()));
  kit::testing::record_series("step", counting_to(served.tokens_written.size()));
  kit::testing::record_series("tokens_written", served.tokens_written);
  const std::vector<double> alone = counting_to(static_cast<std::size_t>(n_tokens));
  kit::testing::record_series("step_alone", alone);
  kit::testing::record_series("tokens_written_alone", alone);
  EXPECT_LE(n_steps, allowed) << "no schedule needs fewer than " << bound << " steps; 5 % more are allowed";
}

}  // namespace
