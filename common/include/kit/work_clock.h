#pragma once

/// The clock of performance points.
namespace kit {

/// Seconds since some fixed moment (std::chrono::steady_clock), less all that add_carrying_seconds() was
/// told. A test that times the student's code with it times the same thing whether that code runs in this
/// process or in another one.
double work_seconds();

/// Time that the kit itself spent on carrying arguments to another process and results back.
void add_carrying_seconds(double seconds);

}  // namespace kit
