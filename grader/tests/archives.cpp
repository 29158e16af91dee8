#include "archives.h"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>

#include <memory>
#include <stdexcept>

namespace grader_tests {

namespace {

struct FreeArchive {
  void operator()(archive* handle) const { archive_write_free(handle); }
};

la_ssize_t append(archive* /*handle*/, void* out, const void* data, std::size_t size) {
  static_cast<std::string*>(out)->append(static_cast<const char*>(data), size);
  return static_cast<la_ssize_t>(size);
}

void require(int status, archive* handle) {
  if (status != ARCHIVE_OK) throw std::runtime_error(archive_error_string(handle));
}

void write_entry(archive* handle, const ArchiveFile& file) {
  const std::unique_ptr<archive_entry, decltype(&archive_entry_free)> entry(archive_entry_new(),
                                                                            &archive_entry_free);
  archive_entry_copy_pathname(entry.get(), file.path.c_str());
  archive_entry_set_size(entry.get(), static_cast<la_int64_t>(file.text.size()));
  archive_entry_set_filetype(entry.get(), file.path.ends_with('/') ? AE_IFDIR : AE_IFREG);
  archive_entry_set_perm(entry.get(), 0644);
  require(archive_write_header(handle, entry.get()), handle);
  archive_write_data(handle, file.text.data(), file.text.size());
}

/// `n_bytes` bytes, lowest first, as zip has its numbers.
std::string number(std::uint64_t value, int n_bytes) {
  std::string bytes;
  for (int i = 0; i < n_bytes; ++i) bytes += static_cast<char>((value >> (8 * i)) & 0xFF);
  return bytes;
}

std::uint32_t crc32(const std::string& data) {
  std::uint32_t crc = ~0U;
  for (const char c : data) {
    crc ^= static_cast<std::uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB88320U : 0U);
  }
  return ~crc;
}

/// The fields that a local header and the central directory share.
std::string zip_fields(const RawZipEntry& entry) {
  const auto size = entry.claimed_size < 0 ? entry.data.size() : static_cast<std::size_t>(entry.claimed_size);
  return number(20, 2) + number(entry.flags, 2) + number(entry.method, 2) + number(0, 4) +
         number(crc32(entry.data), 4) + number(entry.data.size(), 4) + number(size, 4) +
         number(entry.path.size(), 2);
}

}  // namespace

std::string make_archive(ArchiveFormat format, const std::vector<ArchiveFile>& files) {
  std::string bytes;
  const std::unique_ptr<archive, FreeArchive> handle(archive_write_new());
  require(format == ArchiveFormat::kZip ? archive_write_set_format_zip(handle.get())
                                        : archive_write_set_format_pax_restricted(handle.get()),
          handle.get());
  // Names as they are, whatever the locale.
  if (format != ArchiveFormat::kZip)
    require(archive_write_set_options(handle.get(), "hdrcharset=BINARY"), handle.get());
  if (format == ArchiveFormat::kTarGz) require(archive_write_add_filter_gzip(handle.get()), handle.get());
  archive_write_set_bytes_in_last_block(handle.get(), 1);  // no padding
  require(archive_write_open(handle.get(), &bytes, nullptr, &append, nullptr), handle.get());
  for (const ArchiveFile& file : files) write_entry(handle.get(), file);
  require(archive_write_close(handle.get()), handle.get());
  return bytes;
}

std::string gzip(const std::string& bytes) {
  std::string packed;
  const std::unique_ptr<archive, FreeArchive> handle(archive_write_new());
  require(archive_write_set_format_raw(handle.get()), handle.get());
  require(archive_write_add_filter_gzip(handle.get()), handle.get());
  require(archive_write_set_options(handle.get(), "gzip:compression-level=9"), handle.get());
  require(archive_write_open(handle.get(), &packed, nullptr, &append, nullptr), handle.get());
  write_entry(handle.get(), {"data", bytes});
  require(archive_write_close(handle.get()), handle.get());
  return packed;
}

std::string raw_zip(const std::vector<RawZipEntry>& entries) {
  std::string bytes;
  std::string directory;
  for (const RawZipEntry& entry : entries) {
    const std::uint16_t made_by = entry.dos ? 20 : (3 << 8) | 20;
    const std::uint32_t attributes = entry.dos ? 0x20 : entry.unix_mode << 16;
    directory += "PK\1\2" + number(made_by, 2) + zip_fields(entry) + number(0, 8) + number(attributes, 4) +
                 number(bytes.size(), 4) + entry.path;
    bytes += "PK\3\4" + zip_fields(entry) + number(0, 2) + entry.path + entry.data;
  }
  const std::uint64_t n = entries.size();
  return bytes + directory + "PK\5\6" + number(0, 4) + number(n, 2) + number(n, 2) +
         number(directory.size(), 4) + number(bytes.size(), 4) + number(0, 2);
}

std::string raw_tar(const std::vector<RawTarEntry>& entries) {
  std::string bytes;
  for (const RawTarEntry& entry : entries) {
    const auto size =
        entry.claimed_size < 0 ? static_cast<std::int64_t>(entry.data.size()) : entry.claimed_size;
    std::string header(512, '\0');
    const auto set = [&](std::size_t at, const std::string& text) { header.replace(at, text.size(), text); };
    set(0, entry.path.substr(0, 100));
    set(100, "0000644");
    set(108, "0000000");
    set(116, "0000000");
    set(124, fmt::format("{:011o}", size));
    set(136, "00000000000");
    set(148, "        ");
    set(156, std::string(1, entry.type));
    set(157, entry.link.substr(0, 100));
    set(257, std::string("ustar\00000", 8));
    unsigned sum = 0;
    for (const char c : header) sum += static_cast<std::uint8_t>(c);
    set(148, fmt::format("{:06o}", sum) + std::string("\0 ", 2));
    bytes += header + entry.data + std::string((512 - entry.data.size() % 512) % 512, '\0');
  }
  return bytes + std::string(1024, '\0');
}

}  // namespace grader_tests
