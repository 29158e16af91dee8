#pragma once

namespace grader {

/// Becomes readable, for good, when a signal arrived under an InterruptGuard; -1 when there is no guard.
int interrupt_descriptor();

/// Throws Interrupted when a signal arrived.
void throw_if_interrupted();

}  // namespace grader
