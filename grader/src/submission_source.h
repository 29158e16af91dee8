#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "grader/submission.h"

/// Reading what somebody handed in, without writing anything and without trusting a name or a size.
namespace grader {

enum class EntryKind { kFile, kFolder, kSymbolicLink, kHardLink, kOther };

struct SubmittedEntry {
  std::string path;  ///< as the submission has it, cut after kMaxPathBytes + 1 bytes
  EntryKind kind = EntryKind::kFile;
  bool encrypted = false;
};

struct Content {
  std::string bytes;
  std::string refusal;  ///< why there are no bytes; empty when there are
};

/// The submission as a whole cannot be used: damaged, or over a limit. Its message goes into the report.
class UnusableSubmission : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

inline constexpr std::size_t kMaxPathBytes = 1024;

class SubmissionSource {
 public:
  virtual ~SubmissionSource() = default;
  /// All entries, by names alone. Throws UnusableSubmission, and UsageError for what is no archive at all.
  virtual std::vector<SubmittedEntry> list() = 0;
  /// Fills in the contents of the entries of list() whose indices are the keys of `wanted`. Throws
  /// UnusableSubmission.
  virtual void fetch(std::map<std::size_t, Content>& wanted) = 0;
};

/// A folder or, by content, a zip or tar(.gz) archive. Throws UsageError when it is neither, and
/// UnusableSubmission when it is too large.
std::unique_ptr<SubmissionSource> open_submission(const std::filesystem::path& path,
                                                  const SubmissionLimits& limits);

/// The part of `path` up to a folder or file that tools leave behind and nobody means to hand in (.git,
/// __MACOSX, a build folder): empty when there is none. Such entries are never read.
std::string_view leftover(std::string_view path);

/// Counts entries and bytes of a submission; throws UnusableSubmission when they are too many.
class SubmissionMeter {
 public:
  explicit SubmissionMeter(const SubmissionLimits& limits) : limits_(limits) {}
  void add_entry(std::string_view path);
  void add_bytes(std::size_t n_bytes);
  const SubmissionLimits& limits() const { return limits_; }

 private:
  SubmissionLimits limits_;
  int n_entries_ = 0;
  int n_leftovers_ = 0;
  std::int64_t n_bytes_ = 0;
};

/// "larger than 1 MiB".
std::string too_large(const SubmissionLimits& limits);

}  // namespace grader
