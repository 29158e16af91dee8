#pragma once

#include <memory>

#include "kit/engine.h"
#include "kit/scheduler.h"
#include "kit/step_executor.h"

/// Lab 03, task 6: a real continuous-batching engine.
namespace lab03 {

/// An engine without requests. What each member must do, and when it throws, is written at kit::Engine in
/// common/include/kit/engine.h.
///
/// step() asks the scheduler for a step, runs its chunks with ONE call of the executor, and for every chunk
/// that samples chooses the next token with kit::sample(the chunk's row of the logits, request.temperature,
/// the request's own kit::Rng), then tells the scheduler: append_token, or finish when it was the last. Each
/// request's tokens are those that it would get alone, whatever runs beside it, however its prompt is cut,
/// and however often it is preempted: a preempted request's tokens are run again, not chosen again. A new
/// request may join between any two steps. Throws kit::Error when one of the two is missing.
std::unique_ptr<kit::Engine> make_engine(std::shared_ptr<kit::StepExecutor> executor,
                                         std::shared_ptr<kit::Scheduler> scheduler);

}  // namespace lab03
