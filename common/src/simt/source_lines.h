#pragma once

#include <cstdint>
#include <string>
#include <vector>

/// From code addresses to source lines, by the program's DWARF debug information (elfutils' libdw).
namespace kit::simt::detail {

struct SourceFrame {
  std::string file;  // as compiled; empty when unknown
  int line = 0;
  int column = 0;
  bool operator==(const SourceFrame&) const = default;
};

/// Where an instruction comes from. `place` is the innermost line outside the kit's own executor headers, so
/// an access inside float4's copy is the kernel's line. `chain` are the calls that were inlined to get there,
/// outermost last.
struct SourcePlace {
  SourceFrame place;
  std::vector<SourceFrame> chain;
  std::string function;  // innermost at `place`

  /// "transpose.cu:23:7", or "unknown line (no debug information)".
  std::string to_string() const;
};

/// Thread-safe, slow (microseconds), and cached by address.
const SourcePlace& find_source(std::uintptr_t code_address);

/// The function that starts at `address`, demangled and without parameters, and its mangled name.
struct FunctionName {
  std::string demangled;
  std::string mangled;
};
FunctionName find_function(const void* address);

/// Variables with thread storage in the program: offset from the start of the module's block, size, mangled
/// name.
struct ThreadVariable {
  std::uint64_t offset;
  std::uint64_t size;
  std::string name;
};
/// Of the module that holds the executor itself. Empty when the program was stripped.
const std::vector<ThreadVariable>& thread_variables();

}  // namespace kit::simt::detail
