#include "pristine.h"

#include <fmt/format.h>

#include <algorithm>

#include "grader/error.h"
#include "grader/files.h"
#include "grader/process.h"

namespace grader {

namespace {

[[noreturn]] void not_a_stub(const std::string& file, const char* why) {
  throw InfrastructureError(fmt::format(
      "the submission lacks {0}, and {0} of this tree {1}: it would earn points that the submission did "
      "not. Record from a copy of the kit in which nobody works",
      file, why));
}

/// False as well where there is no Git, or this is no checkout.
bool was_changed(const std::filesystem::path& root, const std::string& file) {
  Command status;
  status.argv = {"git", "-C", root.string(), "status", "--porcelain", "--", file};
  try {
    const ProcessResult result = run_process(status);
    return result.succeeded() && !result.output.empty();
  } catch (const InfrastructureError&) {
    return false;
  }
}

}  // namespace

void require_stubs(const std::filesystem::path& root, const std::vector<Rubric>& labs,
                   const std::vector<SubmittedLab>& submitted) {
  for (const SubmittedLab& lab : submitted) {
    const auto rubric =
        std::find_if(labs.begin(), labs.end(), [&](const Rubric& r) { return r.id == lab.lab; });
    if (rubric == labs.end()) continue;
    for (const std::string& name : lab.missing) {
      const std::string file = rubric->folder + "/src/" + name;
      if (read_file(root / file).find("NotImplemented") == std::string::npos) not_a_stub(file, "is no stub");
      if (was_changed(root, file)) not_a_stub(file, "was changed");
    }
  }
}

}  // namespace grader
