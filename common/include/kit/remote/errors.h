#pragma once

#include <stdexcept>
#include <string_view>

/// How a call to another process fails (docs/grading.md). None of these is a kit::Error: a test that expects
/// one must not be satisfied by a worker that died.
namespace kit::remote {

/// The other process is gone, or does not speak the protocol any more. No further call on this connection
/// succeeds.
class ConnectionError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The worker closed its end: it crashed, was stopped, or ended itself. What became of it, the grader knows.
class WorkerEnded : public ConnectionError {
 public:
  /// Every message starts with this.
  static constexpr std::string_view kPrefix = "WorkerEnded: ";
  using ConnectionError::ConnectionError;
};

/// The worker answered with something that is no answer: a wrong size, an unknown object, a question nobody
/// asked.
class ProtocolError : public ConnectionError {
 public:
  static constexpr std::string_view kPrefix = "MalformedAnswer: ";
  using ConnectionError::ConnectionError;
};

}  // namespace kit::remote
