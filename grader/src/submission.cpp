#include "grader/submission.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <optional>

#include "grader/error.h"
#include "grader/files.h"
#include "grader/text.h"
#include "submission_source.h"

namespace grader {

namespace {

constexpr std::size_t kMaxRefusals = 200;
/// A whole checkout has hundreds of files that are none of ours; a few show what happened.
constexpr std::size_t kMaxUnwanted = 20;

/// The names that a lab's src/ has in the pristine tree: all that is ever taken.
struct AllowList {
  const Rubric* lab;
  std::vector<std::string> files;  // sorted

  bool has(const std::string& file) const { return std::binary_search(files.begin(), files.end(), file); }
};

/// A file of a lab: indices into the allow-lists.
using Target = std::pair<std::size_t, std::size_t>;
using Path = std::vector<std::string>;

std::vector<AllowList> allow_lists(const std::filesystem::path& root, const std::vector<Rubric>& labs) {
  std::vector<AllowList> lists;
  for (const Rubric& lab : labs) {
    AllowList list{&lab, {}};
    std::error_code error;
    const std::filesystem::path folder = root / lab.folder / "src";
    for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
      const std::string name = entry.path().filename().string();
      const bool is_ours = entry.is_regular_file() && !name.starts_with('.') && !name.ends_with('~');
      if (is_ours) list.files.push_back(name);
    }
    if (list.files.empty()) throw InfrastructureError(fmt::format("no stubs in {}", folder.string()));
    std::sort(list.files.begin(), list.files.end());
    lists.push_back(std::move(list));
  }
  return lists;
}

/// `path` as a report may show it: one line, nothing that reorders text, not too long.
std::string printable(std::string_view path) {
  std::string clean = clean_text(path);
  std::replace(clean.begin(), clean.end(), '\n', ' ');
  std::replace(clean.begin(), clean.end(), '\t', ' ');
  constexpr std::array<std::string_view, 9> kReorder = {"\u202A", "\u202B", "\u202C", "\u202D", "\u202E",
                                                        "\u2066", "\u2067", "\u2068", "\u2069"};
  for (const std::string_view mark : kReorder) {
    for (std::size_t at = clean.find(mark); at != std::string::npos; at = clean.find(mark)) {
      clean.replace(at, mark.size(), "\uFFFD");
    }
  }
  return shorten(clean, 1, 200);
}

/// True for a backslash that separates folders. In Big5 and GBK it is also the second byte of common
/// characters, behind a byte that is no ASCII.
bool has_backslash(std::string_view path) {
  for (std::size_t i = 0; i < path.size(); ++i) {
    if (path[i] == '\\' && (i == 0 || static_cast<unsigned char>(path[i - 1]) < 0x80)) return true;
  }
  return false;
}

bool has_drive(std::string_view path) {
  const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  return path.size() >= 2 && is_letter(path[0]) && path[1] == ':';
}

/// Splits at slashes, without empty parts and ".".
Path split_path(std::string_view path) {
  Path parts;
  while (!path.empty()) {
    const std::size_t end = std::min(path.find('/'), path.size());
    const std::string_view part = path.substr(0, end);
    if (!part.empty() && part != ".") parts.emplace_back(part);
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return parts;
}

/// Why no honest archive has this path; empty for a good one. We never open it, whatever it is.
std::string path_problem(std::string_view path) {
  if (path.empty()) return "no name";
  if (path.size() > kMaxPathBytes) return fmt::format("a name of more than {} bytes", kMaxPathBytes);
  if (path.front() == '/' || has_drive(path)) return "an absolute path";
  if (has_backslash(path)) return "a backslash in its path";
  const auto is_control = [](char c) { return (c >= 0 && c < ' ') || c == '\x7f'; };
  if (std::any_of(path.begin(), path.end(), is_control)) return "control characters in its name";
  const Path parts = split_path(path);
  if (std::find(parts.begin(), parts.end(), "..") != parts.end()) return "'..' in its path";
  return "";
}

std::string kind_problem(const SubmittedEntry& entry) {
  switch (entry.kind) {
    case EntryKind::kFile:
      return entry.encrypted ? "encrypted" : "";
    case EntryKind::kFolder:
      return "a folder";
    case EntryKind::kSymbolicLink:
      return "a symbolic link";
    case EntryKind::kHardLink:
      return "a hard link";
    case EntryKind::kOther:
      break;
  }
  return "no regular file";
}

/// What was not taken, the suspicious before the merely unwanted.
class Refusals {
 public:
  void refuse(std::string_view path, std::string reason) { add(refused_, path, std::move(reason)); }
  void unwanted(std::string_view path, std::string reason) { add(unwanted_, path, std::move(reason)); }
  void discard() { *this = Refusals(); }

  std::vector<Refusal> list() const {
    std::vector<Refusal> all;
    const std::size_t n_refused = std::min(refused_.size(), kMaxRefusals);
    all.assign(refused_.begin(), refused_.begin() + static_cast<std::ptrdiff_t>(n_refused));
    const std::size_t n_unwanted = std::min({unwanted_.size(), kMaxUnwanted, kMaxRefusals - n_refused});
    all.insert(all.end(), unwanted_.begin(), unwanted_.begin() + static_cast<std::ptrdiff_t>(n_unwanted));
    const std::size_t n_left = refused_.size() + unwanted_.size() - all.size();
    if (n_left > 0) all.push_back({"...", fmt::format("and {} more that were not taken", n_left)});
    return all;
  }

 private:
  static void add(std::vector<Refusal>& list, std::string_view path, std::string reason) {
    list.push_back({printable(path), std::move(reason)});
  }

  std::vector<Refusal> refused_;
  std::vector<Refusal> unwanted_;
};

/// Decides by names alone which entry is which file of which lab.
class Sorter {
 public:
  Sorter(const std::vector<AllowList>& lists, const std::vector<SubmittedEntry>& entries, Refusals& refusals)
      : lists_(lists), entries_(entries), refusals_(refusals) {
    find_candidates();
    find_wrapper();
  }

  /// Entry of each file that may be taken.
  std::map<Target, std::size_t> sort() {
    std::map<Target, std::vector<std::size_t>> claims;
    for (const auto& [index, path] : candidates_) {
      if (const auto target = match(index, path)) claims[*target].push_back(index);
    }
    std::map<Target, std::size_t> chosen;
    for (const auto& [target, indices] : claims) {
      const std::string problem = kind_problem(entries_[indices.front()]);
      if (indices.size() == 1 && problem.empty()) {
        chosen[target] = indices.front();
        continue;
      }
      for (const std::size_t index : indices) {
        std::string reason = kind_problem(entries_[index]);
        if (reason.empty()) reason = fmt::format("one of {} entries for one file", indices.size());
        refusals_.refuse(entries_[index].path, std::move(reason));
      }
    }
    return chosen;
  }

 private:
  void find_candidates() {
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      const std::string& path = entries_[i].path;
      // Tools leave those behind in honest submissions: said nothing of, but for a build folder.
      if (const std::string_view rest = leftover(path); !rest.empty()) {
        if (rest == path && rest.find("build") != std::string_view::npos) {
          refusals_.unwanted(path, "a build folder");
        }
        continue;
      }
      std::string problem = path_problem(path);
      if (problem.empty()) {
        Path parts = split_path(path);
        if (!parts.empty()) candidates_.emplace_back(i, std::move(parts));
      } else {
        refusals_.refuse(path, std::move(problem));
      }
    }
  }

  /// Folders around everything, as archives have: <name>-main/, alice/hw2/.
  void find_wrapper() {
    const Path* first = nullptr;
    for (const auto& [index, path] : candidates_) {
      if (entries_[index].kind == EntryKind::kFolder) continue;
      if (first == nullptr) {
        first = &path;
        n_wrapper_ = path.size() - 1;
      }
      const auto end = first->begin() + static_cast<std::ptrdiff_t>(std::min(n_wrapper_, path.size() - 1));
      n_wrapper_ =
          static_cast<std::size_t>(std::mismatch(first->begin(), end, path.begin()).first - first->begin());
    }
    if (n_wrapper_ > 0 && (*first)[n_wrapper_ - 1] == "src") --n_wrapper_;
  }

  std::optional<Target> match(std::size_t index, const Path& path) {
    const std::string& name = path.back();
    const std::size_t n = path.size();
    const bool in_lab = n >= 3 && path[n - 2] == "src";
    for (std::size_t lab = 0; in_lab && lab < lists_.size(); ++lab) {
      if (path[n - 3] == lists_[lab].lab->folder && lists_[lab].has(name)) return target(lab, name);
    }
    const bool is_flat = n == n_wrapper_ + 1 || (n == n_wrapper_ + 2 && path[n_wrapper_] == "src");
    std::vector<std::size_t> owners;
    for (std::size_t lab = 0; lab < lists_.size(); ++lab) {
      if (lists_[lab].has(name)) owners.push_back(lab);
    }
    const bool in_some_lab = in_lab && path[n - 3].starts_with("lab");
    if (is_flat && !in_some_lab && owners.size() == 1) return target(owners.front(), name);
    reject(index, owners, in_some_lab);
    return std::nullopt;
  }

  Target target(std::size_t lab, const std::string& name) const {
    const auto& files = lists_[lab].files;
    return {lab, std::lower_bound(files.begin(), files.end(), name) - files.begin()};
  }

  void reject(std::size_t index, const std::vector<std::size_t>& owners, bool in_some_lab) {
    const SubmittedEntry& entry = entries_[index];
    if (entry.kind == EntryKind::kFolder) return;
    if (entry.kind != EntryKind::kFile) {
      refusals_.refuse(entry.path, kind_problem(entry));
    } else if (owners.empty() || in_some_lab) {
      refusals_.unwanted(entry.path, "not one of the src/ files of a lab that is graded");
    } else {
      refusals_.unwanted(entry.path,
                         fmt::format("taken only from {}/src/", lists_[owners.front()].lab->folder));
    }
  }

  const std::vector<AllowList>& lists_;
  const std::vector<SubmittedEntry>& entries_;
  Refusals& refusals_;
  std::vector<std::pair<std::size_t, Path>> candidates_;
  std::size_t n_wrapper_ = 0;  // leading parts that all files share
};

/// Unlike write_file() this does not wait for the disk: a staging folder never outlives the run.
void write_staged(const std::filesystem::path& file, const std::string& bytes) {
  std::error_code error;
  std::filesystem::create_directories(file.parent_path(), error);
  std::ofstream stream(file, std::ios::binary | std::ios::trunc);
  stream.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  stream.close();
  if (error || !stream) throw InfrastructureError(fmt::format("cannot write {}", file.string()));
}

/// The acceptable files of a submission. Throws what open_submission() throws.
std::map<Target, std::string> take(const std::filesystem::path& path, const std::vector<AllowList>& lists,
                                   const SubmissionLimits& limits, Refusals& refusals) {
  const auto source = open_submission(path, limits);
  const std::vector<SubmittedEntry> entries = source->list();
  const std::map<Target, std::size_t> chosen = Sorter(lists, entries, refusals).sort();
  std::map<std::size_t, Content> contents;
  // A content that never comes is damage too.
  for (const auto& [target, index] : chosen) contents[index].refusal = "damaged";
  if (!contents.empty()) source->fetch(contents);
  std::map<Target, std::string> files;
  for (const auto& [target, index] : chosen) {
    Content& content = contents[index];
    if (content.refusal.empty() && content.bytes.find('\0') != std::string::npos) {
      content.refusal = "no text: it holds NUL bytes";
    }
    if (content.refusal.empty()) {
      files[target] = std::move(content.bytes);
    } else {
      refusals.refuse(entries[index].path, content.refusal);
    }
  }
  if (files.empty()) refusals.refuse(path.filename().string(), "has no file of a lab that is graded");
  return files;
}

}  // namespace

Submission stage_submission(const std::filesystem::path& submission, const std::filesystem::path& root,
                            const std::vector<Rubric>& labs, const std::filesystem::path& staging,
                            const SubmissionLimits& limits) {
  // "." and "alice/" have names too.
  std::filesystem::path path = std::filesystem::absolute(submission).lexically_normal();
  if (path.filename().empty()) path = path.parent_path();
  const std::vector<AllowList> lists = allow_lists(root, labs);
  Submission result;
  result.name = printable(path.filename().string());
  Refusals refusals;
  std::map<Target, std::string> files;
  try {
    files = take(path, lists, limits, refusals);
  } catch (const UnusableSubmission& error) {
    refusals.discard();
    refusals.refuse(path.filename().string(), error.what());
  }
  for (std::size_t lab = 0; lab < lists.size(); ++lab) {
    const std::string& folder = lists[lab].lab->folder;
    SubmittedLab taken{lists[lab].lab->id, {}, {}};
    for (std::size_t i = 0; i < lists[lab].files.size(); ++i) {
      const std::string& name = lists[lab].files[i];
      const auto found = files.find({lab, i});
      (found == files.end() ? taken.missing : taken.files).push_back(name);
      write_staged(staging / folder / "src" / name,
                   found == files.end() ? read_file(root / folder / "src" / name) : found->second);
    }
    result.labs.push_back(std::move(taken));
  }
  result.refusals = refusals.list();
  return result;
}

}  // namespace grader
