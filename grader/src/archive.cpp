#include "archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>
#include <locale.h>

#include <cerrno>
#include <cstring>

#include "grader/error.h"
#include "grader/text.h"

namespace grader {

namespace {

/// What a compressed tar may expand to while it is searched, per byte of the largest archive: the parts that
/// nobody wants must be decompressed too.
constexpr std::int64_t kMaxExpansion = 16;

bool is_zip(std::string_view bytes) {
  return bytes.starts_with("PK\3\4") || bytes.starts_with("PK\5\6") || bytes.starts_with("PK\7\10");
}

bool is_gzip(std::string_view bytes) {
  return bytes.starts_with("\x1f\x8b");
}

/// While it lives, this thread reads text as UTF-8, as zip and pax name files. In the C locale, which the
/// grader runs in, libarchive would drop every such name that is not ASCII.
class Utf8Locale {
 public:
  Utf8Locale() : locale_(::newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr)) {
    if (locale_ != nullptr) before_ = ::uselocale(locale_);
  }
  ~Utf8Locale() {
    if (locale_ == nullptr) return;
    ::uselocale(before_);
    ::freelocale(locale_);
  }
  Utf8Locale(const Utf8Locale&) = delete;
  Utf8Locale& operator=(const Utf8Locale&) = delete;

 private:
  locale_t locale_;
  locale_t before_ = nullptr;
};

/// A libarchive reader over bytes in memory. Only formats that students use, each by its plainest reader:
/// every further one is more code that hostile bytes can reach.
class Reader {
 public:
  Reader(const std::string& name, std::string_view bytes, const SubmissionLimits& limits)
      : name_(name),
        handle_(archive_read_new()),
        is_zip_(grader::is_zip(bytes)),
        max_stream_bytes_(limits.archive_bytes * kMaxExpansion) {
    if (handle_ == nullptr) throw InfrastructureError("out of memory");
    if (is_zip_) {
      // By the central directory, which knows symbolic links and lets entries be skipped unread.
      archive_read_support_format_zip_seekable(handle_.get());
    } else {
      archive_read_support_format_tar(handle_.get());
      if (is_gzip(bytes)) archive_read_support_filter_gzip(handle_.get());
    }
    check(archive_read_open_memory(handle_.get(), bytes.data(), bytes.size()));
    // Filters are stacked when the bytes say so; a bomb in a bomb would pass the limit between them.
    if (archive_filter_count(handle_.get()) > 2) throw UnusableSubmission("compressed more than once");
  }

  /// The next entry, null at the end.
  archive_entry* next() {
    archive_entry* entry = nullptr;
    const int status = archive_read_next_header(handle_.get(), &entry);
    if (status == ARCHIVE_EOF) return nullptr;
    check(status);
    check_stream();
    return entry;
  }

  /// The contents of the entry that next() returned.
  Content read(const SubmissionLimits& limits) {
    const std::string_view format = archive_format_name(handle_.get());
    if (is_zip_ && format.find("(deflation)") == std::string_view::npos &&
        format.find("(uncompressed)") == std::string_view::npos) {
      return {"", "compressed by a method other than deflate"};
    }
    Content content;
    const void* block = nullptr;
    std::size_t size = 0;
    la_int64_t offset = 0;
    for (;;) {
      const int status = archive_read_data_block(handle_.get(), &block, &size, &offset);
      if (status == ARCHIVE_EOF) return content;
      if (status == ARCHIVE_FATAL) check(status);
      if (status != ARCHIVE_OK) return {"", "damaged"};
      check_stream();
      if (offset < 0 || offset > limits.file_bytes ||
          offset + static_cast<std::int64_t>(size) > limits.file_bytes) {
        return {"", too_large(limits)};
      }
      if (static_cast<std::size_t>(offset) < content.bytes.size()) return {"", "damaged"};
      content.bytes.resize(static_cast<std::size_t>(offset));  // a hole of a sparse file
      content.bytes.append(static_cast<const char*>(block), size);
    }
  }

  /// Passes over the rest of an entry. libarchive would do so itself, but without a limit.
  void skip() {
    if (is_zip_) return;  // costs nothing
    const void* block = nullptr;
    std::size_t size = 0;
    la_int64_t offset = 0;
    int status = ARCHIVE_OK;
    while (status == ARCHIVE_OK || status == ARCHIVE_WARN) {
      status = archive_read_data_block(handle_.get(), &block, &size, &offset);
      check_stream();
    }
    if (status != ARCHIVE_EOF) check(status);
  }

 private:
  struct Free {
    void operator()(archive* handle) const { archive_read_free(handle); }
  };

  void check(int status) const {
    if (status == ARCHIVE_OK || status == ARCHIVE_WARN) return;
    const char* text = archive_error_string(handle_.get());
    const std::string message = text == nullptr ? "" : shorten(clean_text(text), 1, 200);
    const bool is_no_tar = !is_zip_ && message.starts_with("Unrecognized archive format");
    if (is_no_tar) throw UsageError(name_ + " is no folder, zip or tar.gz");
    throw UnusableSubmission(fmt::format("a damaged archive: {}", message));
  }

  void check_stream() const {
    if (!is_zip_ && archive_filter_bytes(handle_.get(), 0) > max_stream_bytes_) {
      throw UnusableSubmission(
          fmt::format("expands to more than {}", format_bytes(static_cast<double>(max_stream_bytes_))));
    }
  }

  Utf8Locale locale_;  // outlives the handle
  const std::string& name_;
  std::unique_ptr<archive, Free> handle_;
  bool is_zip_;
  std::int64_t max_stream_bytes_;
};

SubmittedEntry describe(archive_entry* entry) {
  SubmittedEntry described;
  // Not the UTF-8 form first: a name in another encoding would be guessed at.
  const char* path = archive_entry_pathname(entry);
  if (path == nullptr) path = archive_entry_pathname_utf8(entry);
  if (path != nullptr) described.path.assign(path, ::strnlen(path, kMaxPathBytes + 1));
  described.encrypted = archive_entry_is_encrypted(entry) != 0;
  const auto type = archive_entry_filetype(entry);
  if (archive_entry_hardlink(entry) != nullptr) {
    described.kind = EntryKind::kHardLink;
  } else if (type == AE_IFLNK) {
    described.kind = EntryKind::kSymbolicLink;
  } else if (type == AE_IFDIR) {
    described.kind = EntryKind::kFolder;
  } else if (type != AE_IFREG && type != 0) {
    described.kind = EntryKind::kOther;
  }
  return described;
}

class Archive : public SubmissionSource {
 public:
  Archive(std::string name, std::string bytes, const SubmissionLimits& limits)
      : name_(std::move(name)), bytes_(std::move(bytes)), limits_(limits) {}

  std::vector<SubmittedEntry> list() override {
    if (bytes_.starts_with("PK\5\6")) return {};  // an empty zip, which libarchive does not know
    Reader reader(name_, bytes_, limits_);
    SubmissionMeter meter(limits_);
    std::vector<SubmittedEntry> entries;
    while (archive_entry* entry = reader.next()) {
      entries.push_back(describe(entry));
      meter.add_entry(entries.back().path);
      reader.skip();
    }
    return entries;
  }

  void fetch(std::map<std::size_t, Content>& wanted) override {
    Reader reader(name_, bytes_, limits_);
    SubmissionMeter meter(limits_);
    std::size_t index = 0;
    while (reader.next() != nullptr) {
      const auto found = wanted.find(index++);
      if (found != wanted.end()) {
        found->second = reader.read(limits_);
        meter.add_bytes(found->second.bytes.size());
        if (found->first == wanted.rbegin()->first) return;
      }
      reader.skip();
    }
  }

 private:
  std::string name_;
  std::string bytes_;
  SubmissionLimits limits_;
};

}  // namespace

std::unique_ptr<SubmissionSource> open_archive(std::string name, std::string bytes,
                                               const SubmissionLimits& limits) {
  return std::make_unique<Archive>(std::move(name), std::move(bytes), limits);
}

}  // namespace grader
