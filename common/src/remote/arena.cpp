#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "kit/remote/connection.h"

namespace kit::remote {

namespace {
constexpr std::size_t kAlignment = 64;
// Between arrays, so that an index that is off by a little does not change a neighbour.
constexpr std::size_t kGapBytes = 4096;
}  // namespace

Arena::Arena(int descriptor) {
  struct stat file = {};
  KIT_CHECK(::fstat(descriptor, &file) == 0, "shared memory: {}", std::strerror(errno));
  size_ = static_cast<std::size_t>(file.st_size);
  void* pages = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, descriptor, 0);
  KIT_CHECK(pages != MAP_FAILED, "shared memory of {} bytes: {}", size_, std::strerror(errno));
  data_ = static_cast<std::byte*>(pages);
}

Arena::Arena(Arena&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      top_(std::exchange(other.top_, 0)) {}

Arena& Arena::operator=(Arena&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(top_, other.top_);
  return *this;
}

Arena::~Arena() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

std::uint64_t Arena::push(std::size_t n_bytes) {
  const std::size_t offset = (top_ + kAlignment - 1) / kAlignment * kAlignment;
  KIT_CHECK(n_bytes <= size_ && offset + kGapBytes <= size_ - n_bytes,
            "arrays of {} bytes more do not fit the shared memory of {}, {} are in use", n_bytes, size_,
            top_);
  top_ = offset + n_bytes + kGapBytes;
  return offset;
}

std::byte* Arena::at(std::uint64_t offset, std::uint64_t n_bytes) const {
  if (offset % kAlignment != 0 || n_bytes > size_ || offset > size_ - n_bytes) {
    throw ProtocolError(
        fmt::format("{}an array of {} bytes at {} of {}", ProtocolError::kPrefix, n_bytes, offset, size_));
  }
  return data_ + offset;
}

}  // namespace kit::remote
