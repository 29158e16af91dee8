#pragma once

#include <filesystem>
#include <vector>

#include "grader/rubric.h"
#include "grader/submission.h"

namespace grader {

/// A file that a submission lacks is taken from the tree's own src/, where somebody may have worked: a
/// missing file would then earn points. Throws InfrastructureError that names the first such file that is no
/// stub: it throws no kit::NotImplemented, or Git says that it was changed.
void require_stubs(const std::filesystem::path& root, const std::vector<Rubric>& labs,
                   const std::vector<SubmittedLab>& submitted);

}  // namespace grader
