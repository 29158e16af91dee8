#pragma once

#include <functional>
#include <string>
#include <vector>

/// Kernels with exactly one fault each, and beside each a near miss that must pass.
namespace faults {

struct Case {
  std::string name;
  std::function<void()> fault;  // must throw simt::LaunchError, at the line that ends in "// FAULT <name>"
  std::function<void()> near_miss;  // must not
  std::string says;                 // in the message
};

std::vector<Case> cases();

}  // namespace faults
