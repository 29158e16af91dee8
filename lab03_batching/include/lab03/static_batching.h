#pragma once

#include "kit/batch_server.h"

/// Lab 03, task 2: static (request-level) batching.
namespace lab03 {

/// Serves every request of `server`, batch after batch, until there are no more.
///
/// When nothing runs: if no request is there, wait until the next arrives; then take as many as there are, at
/// most n_slots, into slots 0, 1, ... in order of arrival. The first step runs every prompt of the batch
/// whole; each following step writes one token for each request of the batch that has not ended. The next
/// batch begins only when the last request of this one has ended: slots of those that end early stay empty.
void run_static_batching(kit::BatchServer& server);

/// The gain of continuous over static batching when all requests are there from the start, have equal
/// prompts, and a step takes the same time whatever is in it: a static batch takes as many steps as its
/// longest request, E[max of batch_size lengths], while continuous batching needs E[length] per batch_size
/// requests on average. Both for lengths that are continuous and uniform on (0, c]: 2 B / (B + 1). Throws
/// kit::Error naming the value when batch_size is not positive.
double expected_gain_uniform(int batch_size);
/// The same for exponential lengths: the harmonic number H_B = 1 + 1/2 + ... + 1/B, 4.06 for 32.
double expected_gain_exponential(int batch_size);

}  // namespace lab03
