#include "kit/remote/connection.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>

#include "exceptions.h"

// Longer than other files: everything that reads what a hostile worker sent is here, to be read in one piece.

namespace kit::remote {

namespace {

// Sparse: only what is written takes memory.
constexpr std::size_t kCheckerArenaBytes = std::size_t{2} << 30;
constexpr std::size_t kWorkerArenaBytes = std::size_t{1} << 30;
// Of one message without its arrays.
constexpr std::uint32_t kMaxMessageBytes = 16 << 20;
// Names of services and methods.
constexpr std::size_t kMaxNameBytes = 256;
// Calls within calls: a worker that calls back from within a callback for ever must not overflow the
// checker's stack.
constexpr std::size_t kMaxNesting = 64;

std::map<std::string, Service, std::less<>>& services() {
  static std::map<std::string, Service, std::less<>> map;
  return map;
}

/// The files behind the two arenas.
class SharedFiles {
 public:
  explicit SharedFiles(std::array<int, 2> descriptors) : descriptors_(descriptors) {}
  SharedFiles(std::size_t first_bytes, std::size_t second_bytes) {
    make(0, first_bytes);
    make(1, second_bytes);
  }
  ~SharedFiles() {
    for (const int descriptor : descriptors_) {
      if (descriptor >= 0) ::close(descriptor);
    }
  }
  SharedFiles(const SharedFiles&) = delete;
  SharedFiles& operator=(const SharedFiles&) = delete;

  const std::array<int, 2>& descriptors() const { return descriptors_; }

 private:
  void make(std::size_t i, std::size_t n_bytes) {
    descriptors_[i] = ::memfd_create("kit-arena", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    KIT_CHECK(descriptors_[i] >= 0 && ::ftruncate(descriptors_[i], static_cast<off_t>(n_bytes)) == 0,
              "shared memory of {} bytes: {}", n_bytes, std::strerror(errno));
    // Unsealed, the worker could cut the file off under the checker's pages.
    KIT_CHECK(::fcntl(descriptors_[i], F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0,
              "sealing shared memory: {}", std::strerror(errno));
  }

  std::array<int, 2> descriptors_ = {-1, -1};
};

/// Room for the two descriptors in a control message.
union Control {
  std::array<char, CMSG_SPACE(2 * sizeof(int))> bytes;
  cmsghdr alignment;
};

void send_descriptors(int socket, std::array<int, 2> descriptors) {
  char byte = 'K';
  iovec data = {&byte, 1};
  Control control = {};
  msghdr message = {};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes.data();
  message.msg_controllen = control.bytes.size();
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(descriptors));
  std::memcpy(CMSG_DATA(header), descriptors.data(), sizeof(descriptors));
  ssize_t n = 0;
  while ((n = ::sendmsg(socket, &message, MSG_NOSIGNAL)) < 0 && errno == EINTR) {
  }
  // No kit::Error: a worker that ended before it was asked must not satisfy a test that expects one.
  if (n != 1) {
    throw WorkerEnded(fmt::format("{}the program with the student's code ended before it was asked: {}",
                                  WorkerEnded::kPrefix, std::strerror(errno)));
  }
}

std::array<int, 2> receive_descriptors(int socket) {
  char byte = 0;
  iovec data = {&byte, 1};
  Control control = {};
  msghdr message = {};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes.data();
  message.msg_controllen = control.bytes.size();
  std::array<int, 2> descriptors = {-1, -1};
  ssize_t n = 0;
  while ((n = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) {
  }
  const cmsghdr* header = n == 1 ? CMSG_FIRSTHDR(&message) : nullptr;
  KIT_CHECK(header != nullptr && header->cmsg_len == CMSG_LEN(sizeof(descriptors)),
            "no shared memory came from the checker");
  std::memcpy(descriptors.data(), CMSG_DATA(header), sizeof(descriptors));
  return descriptors;
}

}  // namespace

Registration::Registration(std::string name, Service service) {
  services()[std::move(name)] = std::move(service);
}

/// One message. `body` is what Writer wrote; cereal is not asked for the frame, which is checked by hand.
struct Connection::Message {
  enum class Kind : std::uint8_t { kCall, kMethod, kReturn, kThrow, kRelease };
  Kind kind = Kind::kCall;
  std::string name;  // service, or what to call it in messages
  ObjectId object;   // kMethod, kRelease
  std::int32_t method = 0;
  std::string body;
};

std::unique_ptr<Connection> Connection::open_checker(int socket) {
  std::unique_ptr<Connection> connection(new Connection(Side::kChecker, socket));
  const SharedFiles files(kCheckerArenaBytes, kWorkerArenaBytes);
  send_descriptors(socket, files.descriptors());
  for (std::size_t i = 0; i < 2; ++i) connection->arenas_[i] = Arena(files.descriptors()[i]);
  return connection;
}

std::unique_ptr<Connection> Connection::open_worker(int socket) {
  std::unique_ptr<Connection> connection(new Connection(Side::kWorker, socket));
  const SharedFiles files(receive_descriptors(socket));
  for (std::size_t i = 0; i < 2; ++i) connection->arenas_[i] = Arena(files.descriptors()[i]);
  return connection;
}

Connection& Connection::of_checker() {
  struct Opened {
    Connection* connection = nullptr;
    std::exception_ptr error;
  };
  static const Opened opened = []() -> Opened {
    const char* text = std::getenv("KIT_WORKER_SOCKET");
    KIT_CHECK(text != nullptr,
              "KIT_WORKER_SOCKET is not set: `grader record` starts this program with a worker");
    int socket = -1;
    const std::string_view number = text;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), socket);
    KIT_CHECK(error == std::errc() && end == number.data() + number.size() && socket >= 0,
              "KIT_WORKER_SOCKET is '{}', must be a descriptor", number);
    try {
      return {open_checker(socket).release(), nullptr};
    } catch (const ConnectionError&) {
      // Kept: the socket is closed, and its number may soon be another file's.
      return {nullptr, std::current_exception()};
    }
  }();
  if (opened.error) std::rethrow_exception(opened.error);
  return *opened.connection;
}

Connection::~Connection() {
  ::close(socket_);
}

void Connection::lost(const std::string& why) {
  // The checker is gone: nobody is left to answer to, and no exception may be caught by the student's code on
  // the way.
  if (side_ == Side::kWorker) ::_exit(0);
  const std::string where = open_calls_.empty() ? "" : fmt::format(" (in {})", open_calls_.back());
  throw WorkerEnded(why + where);
}

void Connection::write_all(const void* data, std::size_t n_bytes) {
  const auto* bytes = static_cast<const char*>(data);
  while (n_bytes > 0) {
    const ssize_t n = ::send(socket_, bytes, n_bytes, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) lost(fmt::format("{}the program with the student's code is gone", WorkerEnded::kPrefix));
    bytes += n;
    n_bytes -= static_cast<std::size_t>(n);
  }
}

void Connection::read_all(void* data, std::size_t n_bytes) {
  auto* bytes = static_cast<char*>(data);
  while (n_bytes > 0) {
    const ssize_t n = ::recv(socket_, bytes, n_bytes, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0)
      lost(fmt::format("{}the program with the student's code ended before it answered",
                       WorkerEnded::kPrefix));
    bytes += n;
    n_bytes -= static_cast<std::size_t>(n);
  }
}

std::string Connection::frame_of(const Message& message) {
  std::string frame;
  OutputArchive archive(frame);
  archive(static_cast<std::uint8_t>(message.kind), message.name,
          static_cast<std::uint8_t>(message.object.owner), message.object.id, message.method, message.body);
  KIT_CHECK(frame.size() <= kMaxMessageBytes, "a message of {} bytes, at most {} can be sent", frame.size(),
            kMaxMessageBytes);
  const auto size = static_cast<std::uint32_t>(frame.size());
  frame.insert(0, reinterpret_cast<const char*>(&size), sizeof(size));
  return frame;
}

void Connection::send(const Message& message) {
  const std::string frame = frame_of(message);
  write_all(frame.data(), frame.size());
}

Connection::Message Connection::receive() {
  std::uint32_t size = 0;
  read_all(&size, sizeof(size));
  if (size > kMaxMessageBytes)
    throw ProtocolError(fmt::format("{}a message of {} bytes", ProtocolError::kPrefix, size));
  std::string frame(size, '\0');
  read_all(frame.data(), size);
  Message message;
  std::uint8_t kind = 0;
  std::uint8_t owner = 0;
  InputArchive archive(frame);
  archive(kind, message.name, owner, message.object.id, message.method, message.body);
  if (kind > static_cast<std::uint8_t>(Message::Kind::kRelease) || owner > 1 ||
      message.name.size() > kMaxNameBytes || !archive.at_end())
    throw ProtocolError(fmt::format("{}a message of kind {}", ProtocolError::kPrefix, kind));
  message.kind = static_cast<Message::Kind>(kind);
  message.object.owner = static_cast<Side>(owner);
  return message;
}

void Connection::call(const Target& target, const std::function<void(Writer&)>& put,
                      const std::function<void(Reader&)>& take) {
  const std::scoped_lock lock(mutex_);
  if (broken_) std::rethrow_exception(broken_);
  if (open_calls_.size() >= kMaxNesting) throw Error(fmt::format("{} calls within calls", kMaxNesting));
  const std::size_t top = own_arena().top();
  open_calls_.emplace_back(target.name);
  const auto close = [&] {
    own_arena().pop_to(top);
    open_calls_.pop_back();
  };
  try {
    Message request{.kind = target.method < 0 ? Message::Kind::kCall : Message::Kind::kMethod,
                    .name = std::string(target.name),
                    .object = target.object,
                    .method = target.method,
                    .body = {}};
    Writer writer(*this, request.body);
    put(writer);
    exchange(request, take);
  } catch (const ConnectionError&) {
    close();
    if (side_ == Side::kWorker) ::_exit(0);
    if (!broken_) broken_ = std::current_exception();
    throw;
  } catch (...) {
    close();
    throw;
  }
  close();
}

void Connection::exchange(const Message& request, const std::function<void(Reader&)>& take) {
  send(request);
  for (;;) {
    const Message message = receive();
    switch (message.kind) {
      case Message::Kind::kReturn:
        return take_results(message, request.name, take);
      case Message::Kind::kThrow: {
        PackedException exception;
        InputArchive archive(message.body);
        archive(exception.kind, exception.what);
        if (!archive.at_end())
          throw ProtocolError(fmt::format("{}more than {} throws", ProtocolError::kPrefix, request.name));
        rethrow(exception);
      }
      default:
        answer(message);
    }
  }
}

void Connection::take_results(const Message& reply, const std::string& name,
                              const std::function<void(Reader&)>& take) {
  try {
    Reader reader(*this, reply.body);
    take(reader);
    if (!reader.at_end())
      throw ProtocolError(fmt::format("{}more than {} returns", ProtocolError::kPrefix, name));
  } catch (const ConnectionError&) {
    throw;
  } catch (const std::exception& error) {
    // No memory, for instance. Of its own type it might be what a test expects of the function.
    throw ProtocolError(
        fmt::format("{}what {} returned cannot be taken: {}", ProtocolError::kPrefix, name, error.what()));
  }
}

void Connection::release_own(ObjectId object) {
  const auto found = objects_.find(object.id);
  // Arguments are not the other side's to release.
  if (object.owner != side_ || found == objects_.end() || found->second.owned == nullptr) {
    throw ProtocolError(
        fmt::format("{}a release of object {}, which was not given away", ProtocolError::kPrefix, object.id));
  }
  objects_.erase(found);
}

void Connection::answer(const Message& request) {
  if (request.kind == Message::Kind::kRelease) return release_own(request.object);
  // Only the checker asks by name. The worker may call what it was handed.
  if (request.kind != Message::Kind::kCall && request.kind != Message::Kind::kMethod)
    throw ProtocolError(fmt::format("{}an answer to no question", ProtocolError::kPrefix));
  if (request.kind == Message::Kind::kCall && side_ == Side::kChecker)
    throw ProtocolError(fmt::format("{}the worker asks for '{}'", ProtocolError::kPrefix, request.name));
  if (open_calls_.size() >= kMaxNesting)
    throw ProtocolError(fmt::format("{}{} calls within calls", ProtocolError::kPrefix, kMaxNesting));

  const std::size_t top = own_arena().top();
  const std::string reply = [&] {
    try {
      return frame_of(reply_to(request));
    } catch (const ConnectionError&) {
      throw;
    } catch (...) {
      const PackedException exception = pack_current_exception();
      Message thrown;
      thrown.kind = Message::Kind::kThrow;
      OutputArchive(thrown.body)(exception.kind, exception.what);
      return frame_of(thrown);
    }
  }();
  write_all(reply.data(), reply.size());
  // What the reply pointed at stays until the other side sends again, and that is after it has read.
  own_arena().pop_to(top);
}

Connection::Message Connection::reply_to(const Message& request) {
  Message reply;
  reply.kind = Message::Kind::kReturn;
  Reader arguments(*this, request.body);
  Writer results(*this, reply.body);
  if (request.kind == Message::Kind::kCall) {
    const auto service = services().find(request.name);
    KIT_CHECK(service != services().end(), "this worker has no {}: it was built for another lab",
              request.name);
    service->second(arguments, results);
  } else {
    const auto object = objects_.find(request.object.id);
    if (request.object.owner != side_ || object == objects_.end())
      throw ProtocolError(fmt::format("{}a call of object {}, which is not there", ProtocolError::kPrefix,
                                      request.object.id));
    // A copy: the call may make the object be forgotten.
    const Exported exported = object->second;
    exported.call(request.method, arguments, results);
  }
  return reply;
}

void Connection::serve() {
  for (;;) {
    // Between calls the end of the connection is the end of the work.
    char byte = 0;
    ssize_t n = 0;
    while ((n = ::recv(socket_, &byte, 1, MSG_PEEK)) < 0 && errno == EINTR) {
    }
    if (n <= 0) return;
    const std::scoped_lock lock(mutex_);
    answer(receive());
  }
}

ObjectId Connection::add_object(Exported exported) {
  const std::scoped_lock lock(mutex_);
  objects_[++n_objects_] = std::move(exported);
  return {side_, n_objects_};
}

void Connection::forget(ObjectId object) {
  const std::scoped_lock lock(mutex_);
  objects_.erase(object.id);
}

const Exported& Connection::find_object(ObjectId object, const void* type) const {
  const auto found = objects_.find(object.id);
  if (object.owner != side_ || found == objects_.end() || found->second.type != type)
    throw ProtocolError(
        fmt::format("{}object {} is not there, or of another type", ProtocolError::kPrefix, object.id));
  return found->second;
}

void Connection::release(ObjectId object) noexcept {
  try {
    const std::scoped_lock lock(mutex_);
    if (works())
      send({.kind = Message::Kind::kRelease, .name = {}, .object = object, .method = 0, .body = {}});
  } catch (const std::exception&) {
    // Whoever calls next is told.
  }
}

ArrayPlace Writer::array(const void* data, std::size_t n_bytes) {
  Arena& arena = connection_.own_arena();
  const ArrayPlace place{arena.push(n_bytes), n_bytes};
  if (n_bytes > 0) std::memcpy(arena.at(place.offset, n_bytes), data, n_bytes);
  archive_(place.offset, place.n_bytes);
  return place;
}

std::byte* Reader::array(std::size_t n_bytes) {
  ArrayPlace place;
  archive_(place.offset, place.n_bytes);
  if (place.n_bytes != n_bytes) {
    throw ProtocolError(fmt::format("{}an array of {} bytes where {} belong", ProtocolError::kPrefix,
                                    place.n_bytes, n_bytes));
  }
  return connection_.other_arena().at(place.offset, n_bytes);
}

}  // namespace kit::remote
