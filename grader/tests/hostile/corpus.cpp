#include "corpus.h"

#include <sys/stat.h>

#include <fmt/format.h>

#include <archive.h>
#include <archive_entry.h>
#include <toml++/toml.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <stdexcept>

#include "grader/files.h"

namespace hostile {

namespace {

namespace fs = std::filesystem;

std::vector<std::string> strings(const toml::table& table, const char* key) {
  std::vector<std::string> result;
  if (const toml::array* array = table[key].as_array()) {
    for (const auto& item : *array) result.push_back(item.value<std::string>().value());
  }
  return result;
}

/// A misspelt key would be an expectation that nobody checks.
void refuse_unknown_keys(const toml::table& table, const std::set<std::string>& known, const fs::path& file) {
  for (const auto& [key, value] : table) {
    if (!known.contains(std::string(key.str())))
      throw std::runtime_error(fmt::format("{}: unknown key '{}'", file.string(), key.str()));
  }
}

Entry read_entry(const toml::table& table, const fs::path& file) {
  refuse_unknown_keys(table, {"path", "text", "link", "hardlink", "zeros", "repeat", "fifo", "device"}, file);
  Entry entry;
  entry.path = table["path"].value<std::string>().value();
  entry.text = table["text"].value_or("");
  entry.n_zeros = table["zeros"].value_or(std::int64_t{0});
  entry.n_copies = table["repeat"].value_or(1);
  entry.target = table["link"].value_or(table["hardlink"].value_or(""));
  if (table.contains("link")) entry.kind = Entry::Kind::kSymbolicLink;
  if (table.contains("hardlink")) entry.kind = Entry::Kind::kHardLink;
  if (table["fifo"].value_or(false)) entry.kind = Entry::Kind::kFifo;
  if (table["device"].value_or(false)) entry.kind = Entry::Kind::kDevice;
  return entry;
}

std::string replaced(std::string text, const Places& places) {
  for (const auto& [name, place] : places) {
    const std::string mark = "@" + name + "@";
    for (std::size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + place.size()))
      text.replace(at, mark.size(), place);
  }
  return text;
}

std::vector<Entry> files_of(const fs::path& source, const Places& places) {
  std::vector<Entry> entries;
  for (const auto& file : fs::recursive_directory_iterator(source)) {
    const std::string path = file.path().lexically_relative(source).string();
    if (!file.is_regular_file() || path == "expect.toml") continue;
    entries.push_back({.path = path, .text = replaced(grader::read_file(file.path()), places), .target = {}});
  }
  return entries;
}

/// The solution's files that `entries` do not have, as they would be handed in.
std::vector<Entry> missing_from(const std::vector<Entry>& entries, const LabPlace& lab) {
  std::set<std::string> own;
  for (const Entry& entry : entries) own.insert(entry.path);
  std::vector<Entry> missing;
  for (const auto& file : fs::directory_iterator(lab.solution)) {
    const std::string path = lab.folder + "/src/" + file.path().filename().string();
    if (!own.contains(path))
      missing.push_back({.path = path, .text = grader::read_file(file.path()), .target = {}});
  }
  return missing;
}

/// The folder's files, what completes them, then those of expect.toml.
std::vector<Entry> all_entries(const Case& submission, const fs::path& source, const LabPlace& lab,
                               const Places& places) {
  std::vector<Entry> entries = files_of(source, places);
  if (submission.on_solution) std::ranges::move(missing_from(entries, lab), std::back_inserter(entries));
  for (Entry entry : submission.entries) {
    entry.path = replaced(entry.path, places);
    entry.text = replaced(entry.text, places);
    entry.target = replaced(entry.target, places);
    for (int i = 0; i < entry.n_copies; ++i) {
      entries.push_back(entry);
      if (entry.n_copies > 1) entries.back().path += std::to_string(i);
    }
  }
  return entries;
}

void make_in_folder(const Entry& entry, const fs::path& folder) {
  const fs::path path = folder / entry.path;
  fs::create_directories(path.parent_path());
  switch (entry.kind) {
    case Entry::Kind::kFile: {
      if (entry.path.ends_with('/')) break;
      std::ofstream file(path, std::ios::binary);
      file << entry.text;
      // Sparse: the grader's limit is of bytes that are read, not of those on the disk.
      if (entry.n_zeros > 0) file.seekp(entry.n_zeros - 1).put('\0');
      break;
    }
    case Entry::Kind::kSymbolicLink:
      fs::create_symlink(entry.target, path);
      break;
    case Entry::Kind::kHardLink:
      fs::create_hard_link(entry.target, path);
      break;
    case Entry::Kind::kFifo:
      if (::mkfifo(path.c_str(), 0600) != 0) throw std::runtime_error("mkfifo " + path.string());
      break;
    case Entry::Kind::kDevice:
      throw std::runtime_error("a device needs an archive");
  }
}

struct CloseArchive {
  void operator()(archive* file) const { ::archive_write_free(file); }
};
struct FreeEntry {
  void operator()(archive_entry* entry) const { ::archive_entry_free(entry); }
};

void check(int result, archive* file) {
  if (result != ARCHIVE_OK)
    throw std::runtime_error(fmt::format("libarchive: {}", ::archive_error_string(file)));
}

void set_kind(const Entry& entry, archive_entry* header) {
  ::archive_entry_set_filetype(header, AE_IFREG);
  if (entry.kind == Entry::Kind::kSymbolicLink) {
    ::archive_entry_set_filetype(header, AE_IFLNK);
    ::archive_entry_set_symlink(header, entry.target.c_str());
  } else if (entry.kind == Entry::Kind::kHardLink) {
    ::archive_entry_set_hardlink(header, entry.target.c_str());
  } else if (entry.kind == Entry::Kind::kFifo) {
    ::archive_entry_set_filetype(header, AE_IFIFO);
  } else if (entry.kind == Entry::Kind::kDevice) {
    ::archive_entry_set_filetype(header, AE_IFBLK);
    ::archive_entry_set_rdevmajor(header, 8);
  }
}

void add_to_archive(const Entry& entry, archive* file) {
  const std::unique_ptr<archive_entry, FreeEntry> header(::archive_entry_new());
  const std::int64_t n_bytes =
      entry.kind == Entry::Kind::kFile ? entry.n_zeros + static_cast<std::int64_t>(entry.text.size()) : 0;
  ::archive_entry_set_pathname(header.get(), entry.path.c_str());
  ::archive_entry_set_perm(header.get(), 0644);
  ::archive_entry_set_size(header.get(), n_bytes);
  set_kind(entry, header.get());
  check(::archive_write_header(file, header.get()), file);
  const std::string zeros(std::size_t{1} << 20, '\0');
  ::archive_write_data(file, entry.text.data(), entry.kind == Entry::Kind::kFile ? entry.text.size() : 0);
  for (std::int64_t left = entry.n_zeros; left > 0; left -= static_cast<std::int64_t>(zeros.size())) {
    ::archive_write_data(file, zeros.data(), std::min(zeros.size(), static_cast<std::size_t>(left)));
  }
}

void make_archive(const Case& submission, const std::vector<Entry>& entries, const fs::path& path) {
  {
    const std::unique_ptr<archive, CloseArchive> file(::archive_write_new());
    if (submission.archive == "zip") {
      check(::archive_write_set_format_zip(file.get()), file.get());
    } else {
      check(::archive_write_set_format_pax_restricted(file.get()), file.get());
      check(::archive_write_add_filter_gzip(file.get()), file.get());
    }
    check(::archive_write_open_filename(file.get(), path.c_str()), file.get());
    for (const Entry& entry : entries) add_to_archive(entry, file.get());
    check(::archive_write_close(file.get()), file.get());
  }
  if (submission.cut) fs::resize_file(path, fs::file_size(path) / 2);
}

}  // namespace

std::vector<std::string> case_names(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (fs::exists(entry.path() / "expect.toml")) names.push_back(entry.path().filename().string());
  }
  std::ranges::sort(names);
  return names;
}

Case read_case(const fs::path& folder) {
  const fs::path file = folder / "expect.toml";
  const toml::table table = toml::parse_file(file.string());
  refuse_unknown_keys(table,
                      {"description", "lab", "base", "earns", "verdict", "says", "never", "refuses",
                       "archive", "cut", "patient", "entry"},
                      file);
  const std::vector<std::string> earns = strings(table, "earns");
  Case submission{.name = folder.filename().string(),
                  .description = table["description"].value<std::string>().value(),
                  .lab = table["lab"].value_or("lab02"),
                  .on_solution = table["base"].value_or("stubs") == std::string("solution"),
                  .is_patient = table["patient"].value_or(false),
                  .earns = {earns.begin(), earns.end()},
                  .verdict = table["verdict"].value_or(""),
                  .says = strings(table, "says"),
                  .never = strings(table, "never"),
                  .refuses = strings(table, "refuses"),
                  .archive = table["archive"].value_or(""),
                  .cut = table["cut"].value_or(false),
                  .entries = {}};
  if (const toml::array* entries = table["entry"].as_array()) {
    for (const auto& entry : *entries) submission.entries.push_back(read_entry(*entry.as_table(), file));
  }
  return submission;
}

fs::path hand_in(const Case& submission, const fs::path& source, const LabPlace& lab, const Places& places,
                 const fs::path& target) {
  const std::vector<Entry> entries = all_entries(submission, source, lab, places);
  if (!submission.archive.empty()) {
    fs::path path = target / (submission.name + "." + submission.archive);
    make_archive(submission, entries, path);
    return path;
  }
  fs::path path = target / submission.name;
  fs::create_directories(path);
  for (const Entry& entry : entries) make_in_folder(entry, path);
  return path;
}

}  // namespace hostile
