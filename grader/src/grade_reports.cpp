#include "grade_reports.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>
#include <utility>

#include "grader/error.h"
#include "grader/exit_status.h"
#include "grader/figure.h"
#include "grader/files.h"
#include "grader/gradescope.h"
#include "grader/html_report.h"
#include "grader/junit.h"

namespace grader {

namespace {

constexpr std::size_t kMaxNameBytes = 60;

std::filesystem::path full_path(const std::filesystem::path& file) {
  return std::filesystem::absolute(file).lexically_normal();
}

[[noreturn]] void cannot_write(const std::filesystem::path& file, const std::string& why) {
  throw InfrastructureError(fmt::format("cannot write {}: {}", file.string(), why));
}

/// Reports are written as a neighbour that is then renamed, so the folder decides.
void try_to_write(const std::filesystem::path& file) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(file, error);
  // A device would be replaced by a file of its name.
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    cannot_write(file, "it is there and no regular file");
  }
  std::filesystem::create_directories(file.parent_path(), error);
  if (error) cannot_write(file, error.message());
  std::string probe = file.string() + ".XXXXXX";
  const int descriptor = ::mkostemp(probe.data(), O_CLOEXEC);
  if (descriptor < 0) cannot_write(file, std::strerror(errno));
  ::close(descriptor);
  ::unlink(probe.c_str());
}

std::string dump(const nlohmann::ordered_json& json) {
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace

void prepare_reports(const ReportFiles& files) {
  std::vector<std::filesystem::path> seen;
  for (const auto& file : {files.html, files.json, files.junit, files.gradescope}) {
    if (file.empty()) continue;
    const std::filesystem::path full = full_path(file);
    for (const std::filesystem::path& other : seen) {
      if (other == full) throw UsageError(fmt::format("two reports are to be written to {}", full.string()));
    }
    seen.push_back(full);
    try_to_write(full);
  }
  if (!files.gradescope.empty()) std::filesystem::remove(full_path(files.gradescope));
}

std::vector<std::string> write_reports(const Results& results, const ReportFiles& files) {
  std::vector<std::string> failures;
  const auto write = [&](const std::filesystem::path& file, const std::function<std::string()>& text) {
    if (file.empty()) return;
    try {
      write_file(full_path(file), text());
    } catch (const std::exception& error) {
      failures.emplace_back(error.what());
    }
  };
  // What other programs read comes first: should the disk be almost full, they are the smallest.
  write(files.json, [&] { return dump(to_json(results)); });
  write(files.gradescope, [&] { return dump(to_gradescope(results)); });
  write(files.junit, [&] { return to_junit(results); });
  write(files.html, [&] { return to_html(results); });
  const auto write_figure = [&](const std::string& id, const std::optional<Figure>& figure) {
    if (figure && !files.html.empty()) {
      write(files.html.parent_path() / (id + ".svg"), [&] { return figure_svg(*figure); });
    }
  };
  for (const TaskResult& task : results.tasks) write_figure(task.task, task.figure);
  for (const MilestoneResult& milestone : results.milestones) write_figure(milestone.id, milestone.figure);
  return failures;
}

int exit_status(const Results& results, std::optional<double> fail_under) {
  if (results.has_infrastructure_error()) return kExitInfrastructure;
  if (!fail_under || results.score() >= *fail_under) return kExitGraded;
  // Noise must not fail anybody: with the undecided points the score might be enough.
  if (results.score() + results.undecided_points() >= *fail_under) return kExitInfrastructure;
  return kExitUnderThreshold;
}

std::string report_folder(const std::filesystem::path& submission) {
  std::error_code ignored;  // what cannot be resolved still has a name
  std::filesystem::path full = std::filesystem::weakly_canonical(submission, ignored);
  if (full.empty()) full = full_path(submission);
  if (!full.has_filename()) full = full.parent_path();  // "alice/"
  std::string name = full.filename().string().substr(0, kMaxNameBytes);
  for (char& c : name) {
    const bool is_plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                          c == '-' || c == '_' || c == '.';
    if (!is_plain) c = '_';
  }
  if (name.empty() || name.front() == '.') name.insert(0, 1, '_');
  std::uint32_t hash = 0x811C9DC5U;  // FNV-1a
  for (const char c : full.string()) hash = (hash ^ static_cast<std::uint8_t>(c)) * 0x01000193U;
  return fmt::format("{}-{:08x}", name, hash);
}

}  // namespace grader
