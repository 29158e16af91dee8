#pragma once

/// Exit statuses of `grader`, as the README promises them.
namespace grader {

inline constexpr int kExitGraded = 0;          ///< it graded, whatever the score
inline constexpr int kExitUnderThreshold = 1;  ///< the score is under --fail-under
inline constexpr int kExitUsage = 2;           ///< the command line makes no sense
/// The kit or the machine is at fault: the score means nothing, or so much of it is undecided that nobody can
/// say whether it is under --fail-under.
inline constexpr int kExitInfrastructure = 3;

}  // namespace grader
