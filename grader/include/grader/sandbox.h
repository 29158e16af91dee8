#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// Running a program that wants to do harm: what bubblewrap, the kernel's limits and, where they are
/// writable, control groups hold back.
namespace grader {

/// A file or folder of the host that the program may see; everything else of the host is not there, but for
/// the system's own programs and libraries.
struct Mount {
  std::filesystem::path host;
  std::filesystem::path inside;  ///< absolute
  bool writable = false;
};

/// What all processes inside may use.
struct SandboxLimits {
  int cpu_seconds = 10;  ///< of each process
  double wall_seconds = 60.0;
  std::int64_t memory_bytes = std::int64_t{4} << 30;         ///< of all processes together
  std::int64_t address_space_bytes = std::int64_t{4} << 30;  ///< of each process; 0: no limit
  std::int64_t file_size_bytes = std::int64_t{64} << 20;     ///< of each file
  std::int64_t tmp_bytes = std::int64_t{64} << 20;           ///< of /tmp, which is in memory
  int processes = 0;                                         ///< and threads; 0: 32 more than there are cores
  std::size_t output_bytes = std::size_t{64} << 10;          ///< kept; more is read and dropped
};

struct SandboxCommand {
  std::vector<std::string> argv = {};                                 ///< argv[0] is an absolute path, inside
  std::vector<std::pair<std::string, std::string>> environment = {};  ///< all there is, besides PATH, LC_ALL
  std::string folder = "/tmp";
  std::vector<Mount> mounts = {};
  SandboxLimits limits = {};
  int descriptor = -1;  ///< of the caller; the program finds it as descriptor 3. -1: none
};

struct SandboxResult {
  enum class End { kExited, kSignaled, kCpuLimit, kWallLimit, kMemoryLimit, kKilled };  // kKilled: by kill()
  End end = End::kExited;
  int exit_code = 0;
  int signal = 0;
  double wall_seconds = 0.0;
  double cpu_seconds = 0.0;            ///< of the program and what it waited for, measured from outside it
  std::int64_t peak_memory_bytes = 0;  ///< largest resident set of one process, or of the control group
  std::string output;                  ///< stdout and stderr, the first output_bytes of them
  bool output_cut = false;

  bool succeeded() const { return end == End::kExited && exit_code == 0; }
};

/// A program that runs in a sandbox. When it is destroyed, everything inside is killed.
class SandboxProcess {
 public:
  virtual ~SandboxProcess() = default;
  /// Waits for its end and returns how it came; the limit of wall-clock time counts from start().
  /// Throws Interrupted, and InfrastructureError when the sandbox itself broke.
  virtual SandboxResult wait() = 0;
  /// Kills everything inside; wait() then returns soon. May be called from another thread.
  virtual void kill() = 0;
};

enum class Protection { kBubblewrap, kNone };

/// How programs are locked in on this machine.
class Sandbox {
 public:
  /// kBubblewrap: tries a sandbox out first, and throws InfrastructureError, saying what is wrong and how to
  /// mend it, when none works. kNone (--unsafe-no-sandbox) only applies the limits that setrlimit() has.
  static std::shared_ptr<const Sandbox> open(Protection protection);
  virtual ~Sandbox() = default;

  virtual Protection protection() const = 0;
  /// For reports: "bubblewrap 0.8.0, uid 60001, cgroup memory and pids limits" or "none (unsafe)".
  virtual std::string describe() const = 0;
  /// Makes `path` (a folder that the caller made) readable for the programs inside, whose user is another one
  /// when the grader runs as root; `writable` folders also writable.
  virtual void grant(const std::filesystem::path& path, bool writable) const = 0;
  /// Thread-safe. Several may run at a time and do not take each other's allowances. Throws
  /// InfrastructureError when it cannot be started.
  virtual std::unique_ptr<SandboxProcess> start(const SandboxCommand& command) const = 0;
  SandboxResult run(const SandboxCommand& command) const { return start(command)->wait(); }
};

}  // namespace grader
