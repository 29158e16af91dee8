#pragma once

#include <chrono>
#include <cstddef>
#include <cstdlib>

namespace grader_tests {

/// Long lists of submissions take turns in the short run of ./kit test: each day (UTC) of four weeks has
/// its share of them. Shorter lists name a shorter round. KIT_ALL_SUBMISSIONS in the environment takes all.
inline bool has_its_turn(std::size_t place, std::size_t n_turns = 28) {
  if (std::getenv("KIT_ALL_SUBMISSIONS") != nullptr) return true;  // NOLINT(concurrency-mt-unsafe)
  const auto today = std::chrono::floor<std::chrono::days>(std::chrono::system_clock::now());
  return place % n_turns == static_cast<std::size_t>(today.time_since_epoch().count()) % n_turns;
}

}  // namespace grader_tests
