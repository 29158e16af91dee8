#pragma once

#include <CLI/CLI.hpp>

#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "commands.h"
#include "grade_reports.h"
#include "grader/progress.h"
#include "grader/results.h"

/// What `grader grade` and `grader record` have in common.
namespace grader {

struct GradeRunOptions {
  ReportFiles files;
  std::optional<double> fail_under;
  int n_jobs = 0;
};

/// Whole numbers from 0 to 2^64 - 1: CLI11 alone takes -1 for the largest of them.
CLI::Validator seed_validator();

/// Adds --json, --junit, --html, --fail-under, --jobs and the exit statuses to `command`. The two defaults
/// are for the help text.
void add_grade_run_options(CLI::App& command, GradeRunOptions& options, const std::string& default_html,
                           const std::string& default_json);

/// Runs, writes the reports, prints a summary and where the reports are; returns the exit status. Throws what
/// prepare_reports() and `run` throw, but for Interrupted.
int run_and_report(const GradeRunOptions& options, const Context& context,
                   const std::function<Results(Progress&)>& run);

}  // namespace grader
