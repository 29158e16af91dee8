#pragma once

/// What the grader and grader_sandbox_init, the first process in a sandbox, agree upon. The init writes lines
/// into kStatusDescriptor:
///   started
///   ended exited|signaled NUMBER CPU_MICROSECONDS MAX_RSS_KIB
/// or, when it does not come so far (so does the grader's side of fork(), before bwrap runs):
///   failed WHAT ERRNO
namespace grader {

inline constexpr int kGivenDescriptor = 3;   ///< SandboxCommand::descriptor
inline constexpr int kStatusDescriptor = 4;  ///< not inherited by the program
inline constexpr int kInfoDescriptor = 5;    ///< bwrap's --info-fd

/// Where the init is, inside.
inline constexpr const char* kInitInside = "/grader_sandbox_init";
/// Its argument that makes it exit at once with this status: does a sandbox work at all?
inline constexpr const char* kInitTrial = "trial";
inline constexpr int kInitTrialExit = 42;

}  // namespace grader
