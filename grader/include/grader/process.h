#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// Running a program that nobody trusts.
namespace grader {

/// What a child may use; 0 means no limit.
struct Limits {
  int cpu_seconds = 0;  ///< summed over its threads (RLIMIT_CPU)
  double wall_seconds = 0.0;
  std::int64_t address_space_bytes = 0;
  std::int64_t file_size_bytes = 0;
  std::size_t output_bytes = std::size_t{1} << 20;  ///< kept; more is read and dropped
};

struct Command {
  std::vector<std::string> argv = {};  ///< argv[0] is looked up in PATH unless it holds a slash
  std::vector<std::pair<std::string, std::string>> environment = {};  ///< added to the grader's own
  std::string folder = {};  ///< working directory; empty: the grader's
  Limits limits = {};
  int descriptor = -1;  ///< of the grader; the child has it as descriptor 3. -1: none
  std::function<void(std::string_view line)> on_line = {};  ///< told each complete line of output as it comes
};

struct ProcessResult {
  enum class End { kExited, kSignaled, kCpuLimit, kWallLimit };
  End end = End::kExited;
  int exit_code = 0;  ///< when it exited
  int signal = 0;     ///< when a signal ended it
  double wall_seconds = 0.0;
  double cpu_seconds = 0.0;
  std::string output;  ///< stdout and stderr as they came, the first output_bytes of them
  bool output_cut = false;

  bool succeeded() const { return end == End::kExited && exit_code == 0; }
};

/// Runs a command to its end. It gets a session of its own, no input, no core dump, and dies with the grader;
/// when it ends, everything it started is killed, also what it detached. (For that the grader's process
/// becomes a subreaper; processes of the grader's own session are never touched.)
///
/// Throws InfrastructureError when the program cannot be started, and Interrupted, with the child killed,
/// after a signal that an InterruptGuard caught. Thread-safe.
ProcessResult run_process(const Command& command);

/// "SIGSEGV (invalid memory access)".
std::string describe_signal(int signal);

/// While it lives, SIGINT, SIGTERM and SIGHUP make every run_process stop and throw Interrupted. One at a
/// time.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  /// The signal that came, 0 when none did.
  static int signal();
};

}  // namespace grader
