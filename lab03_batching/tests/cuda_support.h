#pragma once

#include "kit/cuda/launch_counts.h"
#include "kit/cuda/testing.h"
#include "ragged_batch.h"

/// What the CUDA tests of task 8 share.
namespace lab03_tests {

/// ragged_decode_attention_cuda on copies in device memory, which must not change. In front of keys and
/// values and behind them lie NaNs.
kit::Tensor<float> run_on_device(const RaggedBatch& batch);

/// What its launches did. A wrong result fails the test: its counts would be worth nothing.
kit::testing::LaunchCounts counts_of(const RaggedBatch& batch);

}  // namespace lab03_tests
