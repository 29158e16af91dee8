#pragma once

/// While a launch runs: an invalid instruction of a kernel ends the launch, not the process, and so does a
/// kernel that uses up its time.
namespace kit::simt::detail {

class SignalGuard {
 public:
  /// The calling thread's processor time is limited to `max_cpu_seconds` from now on.
  explicit SignalGuard(double max_cpu_seconds);
  ~SignalGuard();
  SignalGuard(const SignalGuard&) = delete;
  SignalGuard& operator=(const SignalGuard&) = delete;
};

}  // namespace kit::simt::detail
