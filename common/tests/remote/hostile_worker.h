#pragma once

#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "kit/remote/connection.h"

/// A worker that says what it likes: raw bytes at the other end of a checker's connection, in this process.
/// It may answer before it is asked, because the socket keeps it.
namespace kit::remote {

/// Appends numbers and text as the protocol has them.
class Bytes {
 public:
  template <class T>
  requires std::is_arithmetic_v<T> Bytes& operator<<(T number) {
    text_.append(reinterpret_cast<const char*>(&number), sizeof(number));
    return *this;
  }
  Bytes& operator<<(const Bytes& raw) {
    text_ += raw.text_;
    return *this;
  }
  /// With its length.
  Bytes& operator<<(std::string_view text) {
    *this << static_cast<std::uint64_t>(text.size());
    text_ += text;
    return *this;
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

// As in connection.cpp. They are repeated here on purpose: this is the other side.
enum : std::uint8_t { kCall, kMethod, kReturn, kThrow, kRelease };
enum : std::uint8_t { kChecker, kWorker };

inline Bytes frame(std::uint8_t kind, std::uint8_t owner, std::uint64_t id, std::int32_t method,
                   const Bytes& body, std::string_view name = "x") {
  Bytes content;
  content << kind << name << owner << id << method << std::string_view(body.text());
  return Bytes() << static_cast<std::uint32_t>(content.text().size()) << content;
}
inline Bytes returns(const Bytes& body) {
  return frame(kReturn, kChecker, 0, 0, body);
}
inline Bytes throws(std::int32_t kind, std::string_view what) {
  return frame(kThrow, kChecker, 0, 0, Bytes() << kind << what);
}
/// A call of one of the checker's objects, which count from 1.
inline Bytes calls(std::uint64_t id, std::int32_t method, const Bytes& arguments) {
  return frame(kMethod, kChecker, id, method, arguments);
}

class HostileWorker {
 public:
  HostileWorker() {
    std::array<int, 2> ends = {-1, -1};
    KIT_CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0, "no socket pair");
    socket_ = ends[1];
    checker_ = Connection::open_checker(ends[0]);
    take_files();
  }
  ~HostileWorker() {
    for (const int file : files_) ::close(file);
    if (arena_ != nullptr) ::munmap(arena_, kMapped);
    ::close(socket_);
  }
  HostileWorker(const HostileWorker&) = delete;
  HostileWorker& operator=(const HostileWorker&) = delete;

  Connection& checker() { return *checker_; }
  int socket() const { return socket_; }

  HostileWorker& say(std::string_view bytes) {
    const ssize_t n = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    KIT_CHECK(n == static_cast<ssize_t>(bytes.size()), "{} of {} bytes", n, bytes.size());
    return *this;
  }
  HostileWorker& say(const Bytes& bytes) { return say(bytes.text()); }
  /// Nothing more comes; whoever reads on sees the end. What the checker says is still taken.
  void hang_up() { ::shutdown(socket_, SHUT_WR); }

  /// The start of the worker's own shared memory.
  std::byte* arena() {
    if (arena_ == nullptr) {
      void* pages = ::mmap(nullptr, kMapped, PROT_READ | PROT_WRITE, MAP_SHARED, files_[1], 0);
      KIT_CHECK(pages != MAP_FAILED, "no arena");
      arena_ = static_cast<std::byte*>(pages);
    }
    return arena_;
  }
  int arena_file() const { return files_[1]; }

 private:
  static constexpr std::size_t kMapped = 1 << 20;

  void take_files() {
    char byte = 0;
    iovec data = {&byte, 1};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(2 * sizeof(int))> control{};
    msghdr message = {};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    KIT_CHECK(::recvmsg(socket_, &message, MSG_CMSG_CLOEXEC) == 1 && CMSG_FIRSTHDR(&message) != nullptr,
              "no shared memory");
    std::memcpy(files_.data(), CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(files_));
  }

  int socket_ = -1;
  std::array<int, 2> files_ = {-1, -1};
  std::byte* arena_ = nullptr;
  std::unique_ptr<Connection> checker_;
};

}  // namespace kit::remote
