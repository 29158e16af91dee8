#include "grader/verdict.h"

#include <algorithm>
#include <array>

namespace grader {

namespace {
constexpr std::array<std::string_view, 7> kNames = {
    "passed", "inconclusive", "not_implemented", "failed", "timed_out", "crashed", "infrastructure_error"};
}  // namespace

std::string_view verdict_name(Verdict verdict) {
  return kNames.at(static_cast<std::size_t>(verdict));
}

Verdict worst(std::span<const Verdict> verdicts) {
  if (verdicts.empty()) return Verdict::kInfrastructureError;
  return *std::max_element(verdicts.begin(), verdicts.end());
}

}  // namespace grader
