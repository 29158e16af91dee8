#pragma once

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "kit/remote/connection.h"
#include "kit/remote/interfaces.h"
#include "kit/remote/passing.h"

/// Calls to functions of this program in a second process.
namespace kit::remote {

/// Known to every worker that is forked from this program, under its own name.
template <auto kFunction>
struct Served {
  using Signature = typename SignatureOf<decltype(kFunction)>::Type;
  static std::string_view name() { return __PRETTY_FUNCTION__; }
  static inline const Registration kRegistration{std::string(name()), [](Reader& reader, Writer& writer) {
                                                   Call<Signature>::answer(reader, writer, kFunction);
                                                 }};
};

/// ask<&f>(connection, ...): f(...), in the worker.
template <auto kFunction, class... A>
auto ask(Connection& connection, A&&... arguments) {
  static_cast<void>(&Served<kFunction>::kRegistration);
  return Call<typename Served<kFunction>::Signature>::ask(connection, {.name = Served<kFunction>::name()},
                                                          std::forward<A>(arguments)...);
}

/// A child process that answers. Fork it while there is one thread.
class WorkerProcess {
 public:
  WorkerProcess() {
    std::array<int, 2> ends = {-1, -1};
    KIT_CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0, "no socket pair");
    pid_ = ::fork();
    KIT_CHECK(pid_ >= 0, "no process");
    if (pid_ == 0) {
      ::close(ends[0]);
      serve(ends[1]);
    }
    ::close(ends[1]);
    connection_ = Connection::open_checker(ends[0]);
  }
  ~WorkerProcess() { end(); }
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  operator Connection&() { return *connection_; }  // NOLINT(google-explicit-constructor)
  Connection* operator->() { return connection_.get(); }
  int pid() const { return pid_; }

  /// Closes the checker's end; what waitpid() says of the worker.
  int end() {
    connection_.reset();
    if (pid_ > 0) {
      ::waitpid(pid_, &status_, 0);
      pid_ = -1;
    }
    return status_;
  }

 private:
  [[noreturn]] static void serve(int socket) {
    try {
      Connection::open_worker(socket)->serve();
    } catch (...) {
      ::_exit(2);
    }
    ::_exit(0);
  }

  int pid_ = -1;
  int status_ = -1;
  std::unique_ptr<Connection> connection_;
};

}  // namespace kit::remote
