#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "record_build_plan.h"
#include "record_build_view.h"

namespace grader {

/// Names that a submission may not define, though a linker would let it: those of the kit, of GoogleTest and
/// cereal, of the executor's hooks, and of the parts of the system that programs commonly fake.
///
/// This is no wall: a worker is hostile anyway, and nothing that it says about itself is believed. It keeps
/// the executor's counters, which run in the worker, from being replaced by accident or in two lines, and
/// says why. Replacing operator new or malloc would be harmless to the score; it is refused with the others,
/// because a submission that does so measures something other than it seems to.
class ReservedNames {
 public:
  /// Reads what the kit's own parts in `plans` define. Throws InfrastructureError.
  ReservedNames(const std::string& nm, const std::vector<WorkerPlan>& plans);

  /// Whose a symbol of nm's type `type` is: "the kit's", "the system's"; empty when it may be defined.
  std::string_view owner(const std::string& symbol, char type) const;

 private:
  std::set<std::string, std::less<>> kit_;
};

/// What is wrong with the names that a lab's objects define; empty when nothing is. `cut` of nm's output
/// counts as wrong.
std::string check_symbols(const ReservedNames& names, const std::string& nm, const WorkerPlan& plan,
                          const CompileView& view);

}  // namespace grader
