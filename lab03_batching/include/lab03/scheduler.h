#pragma once

#include <memory>

#include "kit/block_allocator.h"
#include "kit/scheduler.h"

/// Lab 03, task 5: who runs next.
/// Sources: Yu et al. 2022 (Orca), section 4; Kwon et al. 2023 (vLLM), section 4.5; Agrawal et al. 2024
/// (Sarathi-Serve), section 4.2.
namespace lab03 {

struct SchedulerConfig {
  int block_size = 0;              ///< tokens of a block
  int max_num_seqs = 0;            ///< running requests, at most
  int max_num_batched_tokens = 0;  ///< token budget of a step; at least max_num_seqs
  int watermark_blocks = 0;        ///< blocks that an admission must leave free
};

/// A scheduler without requests; it allocates from `allocator`, which nobody else uses meanwhile. What each
/// member must do, and when it throws, is written at kit::Scheduler in common/include/kit/scheduler.h. Throws
/// kit::Error naming the value when block_size or max_num_seqs is not positive, max_num_batched_tokens <
/// max_num_seqs, watermark_blocks is negative, or there is no allocator.
///
/// schedule() plans a step so. A request's known tokens are its prompt and what it has written; those with
/// keys and values are computed.
///
/// 1. Running requests, in the order of admission, each with n = min(known - computed, what is left of the
///    budget) tokens. It must hold blocks for computed + n tokens. While a block is missing and none is free,
///    the request that was admitted last is preempted: its blocks are released, its computed tokens are 0
///    again, its known tokens stay, and it goes to the FRONT of the waiting ones (recomputation). It may be
///    the very request that needs the block; then it gets no chunk.
/// 2. Unless somebody was preempted in this step, waiting requests from the front, first come, first served:
///    while fewer than max_num_seqs run and budget is left, admit the first if blocks for all its known
///    tokens leave at least watermark_blocks free; when nothing at all is running, the watermark does not
///    count. The blocks are allocated at once, and n = min(known, budget) of its tokens run. The first that
///    cannot be admitted ends the search: nobody overtakes.
///
/// So a long prompt runs in chunks beside the decode of others; only the request that was admitted last can
/// have more than one token to run, and n is never 0. Running and then waiting requests are always in the
/// order of arrival. The oldest request is preempted by nobody and runs in every step: no starvation, no
/// livelock. The time of schedule() does not depend on how many wait.
std::unique_ptr<kit::Scheduler> make_scheduler(const SchedulerConfig& config,
                                               std::shared_ptr<kit::BlockAllocator> allocator);

}  // namespace lab03
