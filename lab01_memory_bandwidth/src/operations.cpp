#include "lab01/operations.h"

#include "kit/check.h"

// Task 4. You may call the functions of tasks 1 and 3.

namespace lab01 {

Work linear_work(std::int64_t n_tokens, std::int64_t in, std::int64_t out, const Formats& formats) {
  (void)n_tokens, (void)in, (void)out, (void)formats;
  throw kit::NotImplemented("lab01 task 4: linear_work");
}

Work attention_work(const kit::ModelConfig& model, const Step& step, const Formats& formats) {
  // How many keys do all queries of a sequence see together? Try q_len = 2, kv_len = 5 on paper.
  (void)model, (void)step, (void)formats;
  throw kit::NotImplemented("lab01 task 4: attention_work");
}

Work mlp_work(const kit::ModelConfig& model, std::int64_t n_tokens, const Formats& formats) {
  (void)model, (void)n_tokens, (void)formats;
  throw kit::NotImplemented("lab01 task 4: mlp_work");
}

std::vector<Operation> analyse_step(const kit::ModelConfig& model, const kit::Device& device,
                                    const Step& step, const Formats& formats) {
  (void)model, (void)device, (void)step, (void)formats;
  throw kit::NotImplemented("lab01 task 4: analyse_step");
}

std::optional<std::int64_t> compute_bound_batch(const kit::ModelConfig& model, const kit::Device& device,
                                                std::int64_t kv_len, const Formats& formats) {
  // FLOPs and bytes of a step are both a constant plus something for each sequence.
  (void)model, (void)device, (void)kv_len, (void)formats;
  throw kit::NotImplemented("lab01 task 4: compute_bound_batch");
}

}  // namespace lab01
