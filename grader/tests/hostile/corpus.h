#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

/// Submissions that try to cheat, to break the grader or to see what they must not: one folder each, with an
/// expect.toml.
namespace hostile {

/// Something that expect.toml adds to the folder's files, because no repository can hold it.
struct Entry {
  enum class Kind { kFile, kSymbolicLink, kHardLink, kFifo, kDevice };
  Kind kind = Kind::kFile;
  std::string path;
  std::string text;          ///< of a file
  std::string target;        ///< of a link
  std::int64_t n_zeros = 0;  ///< of a file: that many zero bytes in place of a text
  int n_copies = 1;          ///< more than one: numbers are added to the path
};

/// A submission and what must come of it.
struct Case {
  std::string name;
  std::string description;
  std::string lab = "lab02";
  bool on_solution = false;  ///< what it does not bring is the solution's, not the stub's
  bool is_patient = false;   ///< graded with the usual limits
  std::set<std::string>
      earns;            ///< tasks and milestones that are right all the same; nothing else earns points
  std::string verdict;  ///< of some test, when given
  std::vector<std::string> says;     ///< each stands in the message of some test
  std::vector<std::string> never;    ///< stands in no output
  std::vector<std::string> refuses;  ///< each stands in path or reason of a file that was not taken
  std::string archive;               ///< "zip", "tar.gz" or, for a folder, empty
  bool cut = false;                  ///< the archive ends in its middle
  std::vector<Entry> entries;
};

/// Every folder with an expect.toml in `folder`, by name.
std::vector<std::string> case_names(const std::filesystem::path& folder);
/// Throws std::runtime_error on a key that no case has.
Case read_case(const std::filesystem::path& folder);

/// Text in place of @NAME@ in the files and entries of a submission: where things are on this machine.
using Places = std::map<std::string, std::string>;

/// The lab that is graded: its folder, "lab02_kv_cache", and where the solutions are.
struct LabPlace {
  std::string folder;
  std::filesystem::path solution;
};

/// Makes what the student hands in below `target` and returns it: a folder or an archive.
std::filesystem::path hand_in(const Case& submission, const std::filesystem::path& source,
                              const LabPlace& lab, const Places& places, const std::filesystem::path& target);

}  // namespace hostile
