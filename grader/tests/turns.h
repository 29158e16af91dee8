#pragma once

#include <chrono>
#include <cstddef>
#include <cstdlib>

namespace grader_tests {

/// Long lists of submissions take turns in the short run of ./kit test: each day (UTC) of two weeks has a
/// fourteenth of them. KIT_ALL_SUBMISSIONS in the environment takes all.
inline bool has_its_turn(std::size_t place) {
  if (std::getenv("KIT_ALL_SUBMISSIONS") != nullptr) return true;  // NOLINT(concurrency-mt-unsafe)
  const auto today = std::chrono::floor<std::chrono::days>(std::chrono::system_clock::now());
  constexpr std::size_t kTurns = 14;
  return place % kTurns == static_cast<std::size_t>(today.time_since_epoch().count()) % kTurns;
}

}  // namespace grader_tests
