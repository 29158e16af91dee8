#include "submission_source.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "archive.h"
#include "grader/error.h"
#include "grader/text.h"

namespace grader {

namespace {

constexpr int kMaxDepth = 32;
/// Leftovers are passed over, but not for ever.
constexpr int kLeftoversPerEntry = 50;

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  int number() const { return number_; }
  bool is_open() const { return number_ >= 0; }

 private:
  int number_;
};

/// O_NOFOLLOW for links, O_NONBLOCK for pipes and devices that were put there a moment ago.
Descriptor open_in(const Descriptor& folder, const std::string& name, int flags) {
  return Descriptor(
      ::openat(folder.number(), name.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | flags));
}

/// At most `max_bytes` + 1 bytes. False when it cannot be read.
bool read_some(const Descriptor& file, std::int64_t max_bytes, std::string& bytes) {
  std::array<char, 65536> buffer;
  while (static_cast<std::int64_t>(bytes.size()) <= max_bytes) {
    const std::size_t room = static_cast<std::size_t>(max_bytes + 1) - bytes.size();
    const ssize_t n = ::read(file.number(), buffer.data(), std::min(buffer.size(), room));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    if (n == 0) break;
    bytes.append(buffer.data(), static_cast<std::size_t>(n));
  }
  return true;
}

EntryKind kind_of(const struct stat& status) {
  if (S_ISLNK(status.st_mode)) return EntryKind::kSymbolicLink;
  if (S_ISDIR(status.st_mode)) return EntryKind::kFolder;
  if (!S_ISREG(status.st_mode)) return EntryKind::kOther;
  // A hard link can bring a file in that the submitter may name but not read.
  return status.st_nlink > 1 ? EntryKind::kHardLink : EntryKind::kFile;
}

class Folder : public SubmissionSource {
 public:
  Folder(Descriptor top, const SubmissionLimits& limits) : top_(std::move(top)), limits_(limits) {}

  std::vector<SubmittedEntry> list() override {
    entries_.clear();
    SubmissionMeter meter(limits_);
    walk(top_, "", 0, meter);
    return entries_;
  }

  void fetch(std::map<std::size_t, Content>& wanted) override {
    SubmissionMeter meter(limits_);
    for (auto& [index, content] : wanted) {
      content = read(entries_.at(index).path);
      meter.add_bytes(content.bytes.size());
    }
  }

 private:
  void walk(const Descriptor& folder, const std::string& prefix, int depth, SubmissionMeter& meter) {
    for (const std::string& name : names_in(folder)) {
      const std::string path = prefix + name;
      meter.add_entry(path);
      struct stat status;
      if (::fstatat(folder.number(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
      entries_.push_back({path, kind_of(status), false});
      if (!S_ISDIR(status.st_mode) || !leftover(path).empty()) continue;
      if (depth == kMaxDepth) throw UnusableSubmission("folders nested too deeply");
      const Descriptor inner = open_in(folder, name, O_DIRECTORY);
      if (inner.is_open()) walk(inner, path + "/", depth + 1, meter);
    }
  }

  /// Sorted, so that a report is the same on every machine.
  std::vector<std::string> names_in(const Descriptor& folder) const {
    DIR* stream = ::fdopendir(::openat(folder.number(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (stream == nullptr) return {};
    std::vector<std::string> names;
    const auto max_names = static_cast<std::size_t>(limits_.entries) * kLeftoversPerEntry;
    while (const dirent* entry = ::readdir(stream)) {
      const std::string name = entry->d_name;
      if (name != "." && name != "..") names.push_back(name);
      if (names.size() > max_names) break;
    }
    ::closedir(stream);
    std::sort(names.begin(), names.end());
    return names;
  }

  Content read(const std::string& path) const {
    Descriptor at(::openat(top_.number(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    std::size_t begin = 0;
    for (std::size_t slash = path.find('/'); slash != std::string::npos; slash = path.find('/', begin)) {
      at = open_in(at, path.substr(begin, slash - begin), O_DIRECTORY);
      begin = slash + 1;
    }
    const Descriptor file = open_in(at, path.substr(begin), 0);
    struct stat status;
    Content content;
    if (!file.is_open() || ::fstat(file.number(), &status) != 0) return {"", "cannot be read"};
    if (kind_of(status) != EntryKind::kFile) return {"", "changed while it was read"};
    if (!read_some(file, limits_.file_bytes, content.bytes)) return {"", "cannot be read"};
    if (static_cast<std::int64_t>(content.bytes.size()) > limits_.file_bytes) return {"", too_large(limits_)};
    return content;
  }

  Descriptor top_;
  SubmissionLimits limits_;
  std::vector<SubmittedEntry> entries_;
};

bool is_leftover(std::string_view name) {
  constexpr std::array<std::string_view, 9> kNames = {".git", "__MACOSX",  ".DS_Store",   ".vscode", ".idea",
                                                      ".vs",  "Thumbs.db", "desktop.ini", "build"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end() || name.starts_with("._") ||
         name.starts_with("build-") || name.starts_with("cmake-build-");
}

}  // namespace

std::string_view leftover(std::string_view path) {
  std::size_t begin = 0;
  while (begin < path.size()) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    if (is_leftover(path.substr(begin, end - begin))) return path.substr(0, end);
    begin = end + 1;
  }
  return {};
}

std::string too_large(const SubmissionLimits& limits) {
  return fmt::format("larger than {}", format_bytes(static_cast<double>(limits.file_bytes)));
}

void SubmissionMeter::add_entry(std::string_view path) {
  int& count = leftover(path).empty() ? n_entries_ : n_leftovers_;
  ++count;
  if (n_entries_ > limits_.entries || n_leftovers_ > limits_.entries * kLeftoversPerEntry) {
    throw UnusableSubmission(
        fmt::format("more than {} entries; hand in the src/ folders alone", limits_.entries));
  }
}

void SubmissionMeter::add_bytes(std::size_t n_bytes) {
  n_bytes_ += static_cast<std::int64_t>(n_bytes);
  if (n_bytes_ > limits_.total_bytes) {
    throw UnusableSubmission(
        fmt::format("more than {} of source", format_bytes(static_cast<double>(limits_.total_bytes))));
  }
}

std::unique_ptr<SubmissionSource> open_submission(const std::filesystem::path& path,
                                                  const SubmissionLimits& limits) {
  // The path itself is the instructor's word: a link is followed. O_NONBLOCK: it may be a pipe.
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status;
  if (!file.is_open() || ::fstat(file.number(), &status) != 0) {
    throw UsageError(fmt::format("cannot read {}: {}", path.string(), std::strerror(errno)));
  }
  if (S_ISDIR(status.st_mode)) return std::make_unique<Folder>(std::move(file), limits);
  if (!S_ISREG(status.st_mode)) {
    throw UsageError(fmt::format("{} is no folder, zip or tar.gz", path.string()));
  }
  std::string bytes;
  if (!read_some(file, limits.archive_bytes, bytes)) {
    throw UsageError(fmt::format("cannot read {}: {}", path.string(), std::strerror(errno)));
  }
  if (static_cast<std::int64_t>(bytes.size()) > limits.archive_bytes) {
    throw UnusableSubmission(
        fmt::format("larger than {}", format_bytes(static_cast<double>(limits.archive_bytes))));
  }
  return open_archive(path.string(), std::move(bytes), limits);
}

}  // namespace grader
