#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "grader/results.h"

/// Text from somebody who may want the report to say something else: file names, compiler output, messages.
namespace grader {

/// Some lines of text: clean_text(), and characters that hide or reorder others made visible ("[U+202E]");
/// the first 60 lines and 8 KiB.
std::string submitted_text(std::string_view text);

/// The same on one line, for file names and reasons: the first 200 bytes.
std::string submitted_line(std::string_view text);

/// A copy for a report: everything that a submission can have written has been through one of the two.
Results with_submitted_text_cleaned(const Results& results);

}  // namespace grader
