#pragma once

#include <memory>
#include <string>

#include "submission_source.h"

namespace grader {

/// A zip or tar archive, plain or compressed with gzip, held in memory; `name` is for messages.
std::unique_ptr<SubmissionSource> open_archive(std::string name, std::string bytes,
                                               const SubmissionLimits& limits);

}  // namespace grader
