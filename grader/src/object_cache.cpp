#include "object_cache.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <vector>

#include "grader/error.h"
#include "grader/files.h"

namespace grader {

namespace {

namespace fs = std::filesystem;

/// FNV-1a, 64 bits.
std::uint64_t digest(std::string_view text, std::uint64_t start = 0xcbf29ce484222325U) {
  std::uint64_t value = start;
  for (const char c : text) value = (value ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  return value;
}

}  // namespace

ObjectCache::ObjectCache(fs::path folder) : folder_(std::move(folder)) {
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) {
    throw InfrastructureError(
        fmt::format("no folder for compiled objects, {}: {}", folder_.string(), error.message()));
  }
}

fs::path ObjectCache::entry_of(const std::string& inputs) const {
  return folder_ / fmt::format("{:016x}", digest(inputs));
}

bool ObjectCache::fetch(const std::string& inputs, const fs::path& to) const {
  if (!is_on()) return false;
  const fs::path entry = entry_of(inputs);
  std::error_code error;
  if (!fs::is_regular_file(entry / "inputs", error) || read_file(entry / "inputs") != inputs) return false;
  return fs::copy_file(entry / "object", to, fs::copy_options::overwrite_existing, error);
}

void ObjectCache::keep(const std::string& inputs, const fs::path& object) const {
  if (!is_on()) return;
  static std::atomic<int> n_made = 0;
  const fs::path made = folder_ / fmt::format("new-{}-{}", ::getpid(), ++n_made);
  std::error_code error;
  fs::create_directory(made, error);
  if (!error) fs::copy_file(object, made / "object", error);
  if (!error) {
    try {
      write_file(made / "inputs", inputs);
      // All of an entry or nothing of it; where one is already, it stays.
      fs::rename(made, entry_of(inputs), error);
    } catch (const std::exception&) {
      error = std::make_error_code(std::errc::io_error);
    }
  }
  if (error) fs::remove_all(made, error);
}

std::uint64_t digest_of_folder(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& file : fs::recursive_directory_iterator(folder)) {
    if (file.is_regular_file()) files.push_back(file.path());
  }
  std::ranges::sort(files);
  std::uint64_t value = digest("");
  for (const fs::path& file : files) value = digest(read_file(file), digest(file.string(), value));
  return value;
}

}  // namespace grader
