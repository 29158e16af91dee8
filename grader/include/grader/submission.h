#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "grader/rubric.h"

/// What a student hands in: a folder, a .zip or a .tar.gz from anybody.
namespace grader {

/// Something in a submission that was not taken.
struct Refusal {
  std::string path;    ///< as the submission names it, unprintable bytes replaced
  std::string reason;  ///< "a symbolic link", "not one of the lab's src/ files", ...
};

/// Files of one lab, taken from the submission; those that it does not bring are the stubs.
struct SubmittedLab {
  std::string lab;                   ///< "lab02"
  std::vector<std::string> files;    ///< taken, relative to the lab's src/
  std::vector<std::string> missing;  ///< the stub's is used
};

struct Submission {
  std::string name;  ///< of the folder or archive, for the report
  std::vector<SubmittedLab> labs;
  std::vector<Refusal> refusals;
};

struct SubmissionLimits {
  std::int64_t archive_bytes = std::int64_t{16} << 20;
  std::int64_t file_bytes = std::int64_t{1} << 20;
  std::int64_t total_bytes = std::int64_t{8} << 20;  ///< of what is unpacked
  int entries = 2000;
};

/// Reads `submission` and writes <staging>/<lab folder>/src/<file> for every file of the labs' allow-lists
/// (the names in the src/ of the tree at `root`): the submission's file where it has an acceptable one, else
/// the stub. A path in the submission may be <lab folder>/src/<file>, with any folders before it (as archives
/// of a whole checkout have), or src/<file> or <file> when exactly one lab is graded or the name is of
/// exactly one lab. Build files, tests, links, devices, absolute paths, ".." and whatever is over a limit are
/// refused, and listed; nothing is ever written outside `staging`. Two entries for one file: both are
/// refused.
///
/// Throws UsageError when the path does not exist or is no folder, zip or tar.gz (by content); an archive
/// that is damaged, or over a limit as a whole, is a Submission whose refusals say so and whose files are all
/// stubs.
Submission stage_submission(const std::filesystem::path& submission, const std::filesystem::path& root,
                            const std::vector<Rubric>& labs, const std::filesystem::path& staging,
                            const SubmissionLimits& limits = {});

}  // namespace grader
