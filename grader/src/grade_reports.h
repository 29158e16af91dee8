#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "grader/results.h"

/// What `grader grade` and `grader record` do with their results.
namespace grader {

/// Where the reports of a run go. Empty: that one was not asked for.
struct ReportFiles {
  std::filesystem::path html;  ///< figures are written beside it
  std::filesystem::path json;
  std::filesystem::path junit;
  std::filesystem::path gradescope;
};

/// Finds out before the work whether its results can be written: makes the folders and tries. Removes an
/// older Gradescope file, whose score would stand if this run found none. Throws UsageError when two reports
/// are to be one file, InfrastructureError naming a file that cannot be written.
void prepare_reports(const ReportFiles& files);

/// Writes every report it can. Returns what it could not write and why; empty when all is well.
std::vector<std::string> write_reports(const Results& results, const ReportFiles& files);

/// One of exit_status.h.
int exit_status(const Results& results, std::optional<double> fail_under);

/// A folder name for the reports on a submission: its own name in plain characters, and a hash of where it
/// lies, because fifty students may all hand in a "submission.zip".
std::string report_folder(const std::filesystem::path& submission);

}  // namespace grader
