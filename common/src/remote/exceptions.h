#pragma once

#include <cstdint>
#include <exception>
#include <string>

/// Exceptions between processes: they arrive with the type that a test or a student may catch.
namespace kit::remote {

struct PackedException {
  std::int32_t kind = 0;
  std::string what;
};

/// The exception being handled; of several types that fit, the most derived one that is known here.
PackedException pack_current_exception();
/// Throws it again. Throws ProtocolError on an unknown kind.
[[noreturn]] void rethrow(const PackedException& exception);

}  // namespace kit::remote
