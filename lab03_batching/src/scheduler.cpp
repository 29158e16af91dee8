#include "lab03/scheduler.h"

#include "kit/check.h"

// Task 5. Write a class that implements kit::Scheduler (common/include/kit/scheduler.h) in this file and
// return one. The policy is written in include/lab03/scheduler.h.

namespace lab03 {

std::unique_ptr<kit::Scheduler> make_scheduler(const SchedulerConfig& config,
                                               std::shared_ptr<kit::BlockAllocator> allocator) {
  (void)config, (void)allocator;
  throw kit::NotImplemented("lab03 task 5: make_scheduler");
}

}  // namespace lab03
