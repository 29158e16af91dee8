#pragma once

#include "kit/batch_server.h"

/// Lab 03, task 3: continuous (iteration-level) batching.
/// Source: Yu et al. 2022, "Orca: A Distributed Serving System for Transformer-Based Generative Models", 4.1.
namespace lab03 {

struct ContinuousConfig {
  /// Requests that run at the same time, at most; 0: as many as there are slots.
  int max_num_seqs = 0;
  /// Prompt tokens of one step, at most; 0: no limit. A longer prompt runs in several pieces (chunked
  /// prefill), beside the others' decode, instead of making them wait for all of it.
  int max_prefill_tokens = 0;
};

/// Serves every request of `server` until there are no more.
///
/// Before EACH step the oldest requests that have arrived take the free slots, lowest number first, and join
/// the running ones at once; a request that has ended has left its slot. In a step every running request
/// whose prompt is done writes a token; those with prompt left share max_prefill_tokens in order of
/// admission, each as much of its prompt as there is room for; one that gets nothing keeps its slot and
/// waits. When nothing runs and nothing has arrived, wait until the next arrives.
///
/// Memory does not grow with the number of requests served. Throws kit::Error naming the value when a limit
/// is negative or max_num_seqs exceeds the slots.
void run_continuous_batching(kit::BatchServer& server, const ContinuousConfig& config = {});

}  // namespace lab03
