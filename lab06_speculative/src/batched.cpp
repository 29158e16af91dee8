#include "lab06/batched.h"

#include "kit/check.h"

namespace lab06 {

std::vector<BatchedResult> batched_speculation(kit::StepExecutor& /*target*/,
                                               kit::BlockAllocator& /*target_blocks*/,
                                               kit::StepExecutor& /*draft*/,
                                               kit::BlockAllocator& /*draft_blocks*/,
                                               const std::vector<BatchedRequest>& /*requests*/,
                                               const BatchedConfig& /*config*/) {
  throw kit::NotImplemented("lab06 task 8: batched_speculation");
}

}  // namespace lab06
