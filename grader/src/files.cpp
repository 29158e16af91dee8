#include "grader/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "grader/error.h"

namespace grader {

namespace {

[[noreturn]] void cannot_write(const std::filesystem::path& file, int error) {
  throw InfrastructureError(fmt::format("cannot write {}: {}", file.string(), std::strerror(error)));
}

void make_folder(const std::filesystem::path& folder) {
  if (folder.empty()) return;
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error)
    throw InfrastructureError(fmt::format("cannot make folder {}: {}", folder.string(), error.message()));
}

/// True when every byte reached the disk (a full disk may only show at fsync or close).
bool write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(descriptor, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    text.remove_prefix(static_cast<std::size_t>(n));
  }
  return ::fsync(descriptor) == 0;
}

}  // namespace

std::string read_file(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  std::ostringstream text;
  if (stream) text << stream.rdbuf();
  if (!stream)
    throw InfrastructureError(fmt::format("cannot read {}: {}", file.string(), std::strerror(errno)));
  return text.str();
}

void write_file(const std::filesystem::path& file, std::string_view text) {
  make_folder(file.parent_path());
  if (std::filesystem::is_directory(file)) cannot_write(file, EISDIR);
  std::string temporary = file.string() + ".XXXXXX";
  const int descriptor = ::mkostemp(temporary.data(), O_CLOEXEC);
  if (descriptor < 0) cannot_write(file, errno);
  const bool complete = ::fchmod(descriptor, 0644) == 0 && write_all(descriptor, text);
  const int write_error = errno;
  const bool closed = ::close(descriptor) == 0;
  if (complete && closed && ::rename(temporary.c_str(), file.c_str()) == 0) return;
  const int error = complete ? errno : write_error;
  ::unlink(temporary.c_str());
  cannot_write(file, error);
}

ScratchFolder::ScratchFolder(const std::filesystem::path& parent) {
  make_folder(parent);
  std::string name = (parent / "run-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) cannot_write(name, errno);
  path_ = name;
}

ScratchFolder::~ScratchFolder() {
  std::error_code ignored;  // nothing useful can be done about it in a destructor
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace grader
