#pragma once

#include <string>

#include "grader/results.h"

namespace grader {

/// The report as one self-contained HTML file: no script, nothing loaded from elsewhere, figures inline, also
/// well-formed XML.
std::string to_html(const Results& results);

}  // namespace grader
