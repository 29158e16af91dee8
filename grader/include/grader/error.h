#pragma once

#include <stdexcept>

/// What can stop the grader. Each maps to one exit status (see exit_status.h).
namespace grader {

/// The command line asks for something there is not: exit status 2.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The machine or the kit itself is at fault, never the student: exit status 3.
class InfrastructureError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Ctrl-C or a termination signal arrived; everything started has been stopped.
class Interrupted : public std::runtime_error {
 public:
  Interrupted() : std::runtime_error("interrupted") {}
};

}  // namespace grader
