#include "counted_run.h"

namespace lab06_tests {

CountedRun& CountedRun::operator+=(const CountedRun& other) {
  n_rounds += other.n_rounds;
  n_drafted += other.n_drafted;
  n_tested += other.n_tested;
  n_accepted += other.n_accepted;
  n_tokens += other.n_tokens;
  plausible = plausible && other.plausible;
  return *this;
}

CountedRun counted_run(const kit::Model& target, int prompt_len, int n_new_tokens, int gamma) {
  CountedRun run;
  run.plausible = true;
  const std::vector<kit::ForwardCall>& calls = target.calls();
  int context_len = prompt_len;
  for (std::size_t i = 0; i < calls.size(); ++i) {
    const int n_drafted = calls[i].kv_len - context_len;
    const int first_new = calls[i].kv_len - calls[i].n_tokens;
    // Where the next round begins: its call's first token is the newest of its context.
    const int next_len =
        i + 1 < calls.size() ? calls[i + 1].kv_len - calls[i + 1].n_tokens + 1 : prompt_len + n_new_tokens;
    const int n_kept = next_len - context_len - 1;
    run.plausible = run.plausible && n_drafted >= 0 && n_kept >= 0 && n_kept <= n_drafted &&
                    first_new == (i == 0 ? 0 : context_len - 1);
    context_len = next_len;
    if (gamma > 0 && n_drafted != gamma) continue;
    ++run.n_rounds;
    run.n_drafted += n_drafted;
    run.n_accepted += n_kept;
    run.n_tested += n_kept + (n_kept < n_drafted ? 1 : 0);
    run.n_tokens += n_kept + 1;
  }
  return run;
}

double formula_tokens(double alpha, int gamma) {
  double power = 1.0;
  double sum = 0.0;
  for (int i = 0; i <= gamma; ++i, power *= alpha) sum += power;
  return sum;
}

}  // namespace lab06_tests
