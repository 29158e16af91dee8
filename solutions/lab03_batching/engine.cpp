#include "lab03/engine.h"

#include "kit/check.h"

// Task 6. Write a class that implements kit::Engine (common/include/kit/engine.h) in this file and return
// one.

namespace lab03 {

std::unique_ptr<kit::Engine> make_engine(std::shared_ptr<kit::StepExecutor> executor,
                                         std::shared_ptr<kit::Scheduler> scheduler) {
  (void)executor, (void)scheduler;
  throw kit::NotImplemented("lab03 task 6: make_engine");
}

}  // namespace lab03
