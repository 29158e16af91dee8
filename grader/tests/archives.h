#pragma once

#include <cstdint>
#include <string>
#include <vector>

/// Archives for tests: honest ones by libarchive's writer, dishonest ones byte by byte.
namespace grader_tests {

enum class ArchiveFormat { kZip, kTar, kTarGz };

struct ArchiveFile {
  std::string path;
  std::string text;
};

/// What a student's tool makes.
std::string make_archive(ArchiveFormat format, const std::vector<ArchiveFile>& files);

/// `bytes` as gzip -9 writes them.
std::string gzip(const std::string& bytes);

struct RawZipEntry {
  std::string path;
  std::string data;
  std::uint32_t unix_mode = 0100644;
  std::uint16_t flags = 0;
  std::uint16_t method = 0;        ///< 0 stored, 8 deflate, ...
  std::int64_t claimed_size = -1;  ///< uncompressed; -1: the true one
  bool dos = false;                ///< made by Windows: no Unix mode, backslashes are separators
};
/// A zip with these headers, true or not.
std::string raw_zip(const std::vector<RawZipEntry>& entries);

struct RawTarEntry {
  std::string path;
  std::string data;
  char type = '0';
  std::string link = {};
  std::int64_t claimed_size = -1;
};
/// A tar in ustar format with these headers, with its end mark.
std::string raw_tar(const std::vector<RawTarEntry>& entries);

}  // namespace grader_tests
