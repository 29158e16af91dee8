#pragma once

#include <span>
#include <string_view>

namespace grader {

/// What became of a test, a task or a milestone. The names in results.json are those of verdict_name().
enum class Verdict {
  kPassed,
  kInconclusive,         ///< too noisy to tell: never costs points silently
  kNotImplemented,       ///< the stub is still there
  kFailed,               ///< a wrong answer, or code that does not compile
  kTimedOut,             ///< stopped at its limit of CPU or wall-clock time
  kCrashed,              ///< ended by a signal, by itself, or out of its memory limit
  kInfrastructureError,  ///< the kit or the machine is at fault: the grade is void
};

/// "passed", "not_implemented", ...
std::string_view verdict_name(Verdict verdict);

/// The verdict of a whole from those of its parts: the worst, in the order of the enumeration. A task with
/// one failed test is lost for certain, so `inconclusive` shows only when nothing worse happened. An empty
/// whole is infrastructure_error.
Verdict worst(std::span<const Verdict> verdicts);

/// True for the verdicts that take the points away without the student having lost them.
constexpr bool undecided(Verdict verdict) {
  return verdict == Verdict::kInconclusive || verdict == Verdict::kInfrastructureError;
}

}  // namespace grader
