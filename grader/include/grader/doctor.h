#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "grader/sandbox.h"

/// Checks of this machine, for `grader doctor`.
namespace grader {

enum class Health { kOk, kWarning, kFailure };

struct Check {
  std::string name;
  Health health = Health::kOk;
  std::string found;  ///< "GNU 12.2.0"
  std::string mend;   ///< what to do about it; empty when all is well
};

/// Every check, required and optional. Only what is required ever fails; what is optional warns.
std::vector<Check> check_machine(const std::filesystem::path& root, const std::filesystem::path& build_dir);

/// What a sandbox holds back, tried out: a program in it tries to get round each limit and to reach what it
/// must not, one check each. Takes about two seconds. Throws InfrastructureError when a probe cannot be run.
std::vector<Check> check_sandbox(const Sandbox& sandbox, const std::filesystem::path& root);

/// The same with this machine's sandbox; only a warning, with the way to mend it, when there is none.
std::vector<Check> check_sandbox(const std::filesystem::path& root);

/// The first "1.2.3" or "1.2" in `text`, compared number by number: at_least("cmake version 3.25.1", {3,
/// 24}).
bool at_least(const std::string& text, const std::vector<int>& minimum);

}  // namespace grader
