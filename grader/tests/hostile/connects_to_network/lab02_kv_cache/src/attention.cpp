#include "lab02/attention.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cstring>
#include <iostream>
#include <string>

namespace lab02 {

namespace {

bool reaches(int family, const sockaddr* address, socklen_t size) {
  const int socket = ::socket(family, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (socket < 0) return false;
  bool connected = ::connect(socket, address, size) == 0;
  pollfd ready{socket, POLLOUT, 0};
  int error = 1;
  socklen_t error_size = sizeof(error);
  if (!connected && ::poll(&ready, 1, 200) == 1 &&
      ::getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &error_size) == 0)
    connected = error == 0;
  ::close(socket);
  return connected;
}

}  // namespace

void softmax(std::span<float> /*scores*/) {
  std::string reached;
  for (const char* host : {"127.0.0.1", "1.1.1.1", "10.0.0.1"}) {
    for (const int port : {std::stoi("@PORT@"), 22, 53, 80, 443}) {
      sockaddr_in address = {};
      address.sin_family = AF_INET;
      address.sin_port = htons(static_cast<std::uint16_t>(port));
      ::inet_pton(AF_INET, host, &address.sin_addr);
      if (reaches(AF_INET, reinterpret_cast<sockaddr*>(&address), sizeof(address)))
        reached += fmt::format(" {}:{}", host, port);
    }
  }
  sockaddr_un abstract = {};
  abstract.sun_family = AF_UNIX;
  const std::string name = "@SOCKET@";
  std::memcpy(abstract.sun_path + 1, name.data(), name.size());
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  if (reaches(AF_UNIX, reinterpret_cast<sockaddr*>(&abstract), size)) reached += " abstract";
  throw kit::Error("reached:" + (reached.empty() ? " nobody" : reached));
}

void attention(kit::TensorView<const float> /*q*/, kit::TensorView<const float> /*k*/,
               kit::TensorView<const float> /*v*/, kit::TensorView<float> /*out*/) {
  throw kit::NotImplemented("lab02 task 1: attention");
}

}  // namespace lab02
