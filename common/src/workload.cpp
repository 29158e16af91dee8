#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "kit/check.h"
#include "kit/simulated_server.h"

namespace kit {
namespace {

constexpr int kMaxMean = 10'000'000;  // 50 times that still fits an int
constexpr int kBurst = 16;

void check_mean(std::string_view what, int mean) {
  KIT_CHECK(mean >= 1 && mean <= kMaxMean, "{} is {}, must be in [1, {}]", what, mean, kMaxMean);
}

double exponential(Rng& rng) {
  return -std::log1p(-rng.uniform());
}  // natural log; mean 1

int draw_uniform(int mean, Rng& rng) {
  return 1 + static_cast<int>(rng.below(2 * static_cast<std::uint32_t>(mean) - 1));
}

// Inverse transform: the smallest n with 1 - (1 - 1/mean)^n > u.
int draw_geometric(int mean, Rng& rng) {
  if (mean == 1) return 1;
  return 1 + static_cast<int>(exponential(rng) / -std::log1p(-1.0 / mean));
}

// floor(x + u) is x on average, so that the mean survives the rounding.
int draw_long_tailed(int mean, Rng& rng) {
  if (mean == 1) return 1;
  const double mu = std::log(mean - 1.0) - 0.5;  // natural logs; E[exp(N(mu, 1))] = exp(mu + 1/2)
  const double length = 1.0 + std::floor(std::exp(mu + rng.normal()) + rng.uniform());
  return static_cast<int>(std::min(length, 50.0 * mean));
}

int draw_length(Lengths lengths, int mean, Rng& rng) {
  switch (lengths) {
    case Lengths::kEqual:
      return mean;
    case Lengths::kUniform:
      return draw_uniform(mean, rng);
    case Lengths::kExponential:
      return draw_geometric(mean, rng);
    case Lengths::kLongTailed:
      return draw_long_tailed(mean, rng);
  }
  KIT_CHECK(false, "no such distribution of lengths: {}", static_cast<int>(lengths));
}

/// Generates one request after the other.
class Workload {
 public:
  Workload(const WorkloadConfig& config, Rng rng)
      : config_(config), gaps_(split(rng)), prompts_(split(rng)), outputs_(split(rng)) {}

  std::optional<SimulatedRequest> next() {
    if (id_ == config_.n_requests) return std::nullopt;
    advance_clock();
    SimulatedRequest request;
    request.id = id_++;
    request.arrival_ms = now_ms_;
    request.prompt_len = draw_uniform(config_.mean_prompt_len, prompts_);
    request.output_len = draw_length(config_.output, config_.mean_output_len, outputs_);
    return request;
  }

 private:
  static Rng split(Rng& rng) {
    const std::uint64_t high = rng.next_u32();
    const std::uint64_t low = rng.next_u32();
    return Rng(high << 32U | low, rng.next_u32());
  }

  void advance_clock() {
    if (config_.arrivals == Arrivals::kAtOnce) return;
    const int group = config_.arrivals == Arrivals::kBursty ? kBurst : 1;
    if (id_ % group == 0) now_ms_ += exponential(gaps_) * group * 1000.0 / config_.requests_per_s;
  }

  WorkloadConfig config_;
  Rng gaps_;
  Rng prompts_;
  Rng outputs_;
  int id_ = 0;
  double now_ms_ = 0.0;
};

}  // namespace

RequestSource make_workload(const WorkloadConfig& config, const Rng& rng) {
  KIT_CHECK(config.n_requests >= 0, "n_requests is {}, must not be negative", config.n_requests);
  check_mean("mean_output_len", config.mean_output_len);
  check_mean("mean_prompt_len", config.mean_prompt_len);
  const double rate = config.requests_per_s;
  KIT_CHECK(config.arrivals == Arrivals::kAtOnce || (std::isfinite(rate) && rate > 0.0),
            "requests_per_s is {}, must be positive", rate);
  const auto workload = std::make_shared<Workload>(config, rng);
  return [workload] { return workload->next(); };
}

}  // namespace kit
