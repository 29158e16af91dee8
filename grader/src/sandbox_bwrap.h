#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "grader/sandbox.h"

/// The command line of bubblewrap.
namespace grader {

/// What the installed bubblewrap is and can do.
struct Bubblewrap {
  std::filesystem::path program;
  std::string version;  ///< "0.8.0"
  bool setuid = false;
  bool disables_userns = false;  ///< has --disable-userns
};

/// Throws InfrastructureError, saying how to mend it, when there is none or it is too old.
Bubblewrap find_bubblewrap();

/// grader_sandbox_init or grader_sandbox_probe, beside this program or where it was built. Throws
/// InfrastructureError when it is in neither place.
std::filesystem::path find_helper(const std::string& name);

/// bwrap with all its options and, behind "--", the init with the program.
std::vector<std::string> bwrap_command(const Bubblewrap& bwrap, const std::filesystem::path& init,
                                       const SandboxCommand& command);

/// Arguments of the init, from argv[1] on.
std::vector<std::string> init_arguments(const SandboxCommand& command, bool bare);

/// `command` for --unsafe-no-sandbox: paths below a mount's `inside` become the host's, in every argument and
/// variable.
SandboxCommand on_host(const SandboxCommand& command);

}  // namespace grader
