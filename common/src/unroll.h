#pragma once

/// Before a loop over registers. GCC at -O2 does not unroll it otherwise, and an array that is indexed by a
/// variable lives in memory: every multiply-add would then load and store its sum.
#if defined(__clang__)
#define KIT_UNROLL _Pragma("unroll")
#else
#define KIT_UNROLL _Pragma("GCC unroll 32")
#endif
