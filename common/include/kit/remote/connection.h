#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kit/remote/archive.h"
#include "kit/tensor.h"

// A little longer than other headers: Connection, Reader, Writer and Arena need each other.

/// Calls between two processes: the checker, which asks, and the worker, which holds the student's code and
/// may only answer, or call back what it was given while a call is open.
namespace kit::remote {

enum class Side : std::uint8_t { kChecker, kWorker };

template <>
struct LastEnumerator<Side> {
  static constexpr Side kValue = Side::kWorker;
};

/// Memory that both processes see, used as a stack by the one that owns it: the arguments of open calls.
/// In the checker nothing outside this library ever sees a pointer into it, because the worker may write
/// there at any time: data are copied in and out.
class Arena {
 public:
  Arena() = default;
  /// Maps the whole file behind `descriptor`, which stays the caller's. Throws kit::Error.
  explicit Arena(int descriptor);
  Arena(Arena&& other) noexcept;
  Arena& operator=(Arena&& other) noexcept;
  ~Arena();

  /// `n_bytes` on top of the stack, 64-byte aligned. Throws kit::Error when there is no room.
  std::uint64_t push(std::size_t n_bytes);
  std::size_t top() const { return top_; }
  void pop_to(std::size_t top) { top_ = top; }
  /// Throws ProtocolError when [offset, offset + n_bytes) is not in it or not aligned.
  std::byte* at(std::uint64_t offset, std::uint64_t n_bytes) const;

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t top_ = 0;
};

/// Which object a reference means: `id` counts the objects of its owner.
struct ObjectId {
  Side owner = Side::kChecker;
  std::uint64_t id = 0;
};

/// Who is asked: a service of the worker by name, or a method of one of the other side's objects.
struct Target {
  std::string_view name;
  ObjectId object = {};
  int method = -1;  // -1: a service
};

class Reader;
class Writer;

/// An object that the other side may call.
struct Exported {
  const void* type = nullptr;  // type_tag<T>()
  void* object = nullptr;
  std::function<void(int method, Reader& arguments, Writer& results)> call;
  std::shared_ptr<void> owned;  // keeps it alive, where the other side owns it
};

/// One number a type, to tell objects apart.
template <class T>
const void* type_tag() {
  static const char tag = 0;
  return &tag;
}

/// A function that the worker serves.
using Service = std::function<void(Reader& arguments, Writer& results)>;

/// Registers a service before main(): KIT_REMOTE does.
class Registration {
 public:
  Registration(std::string name, Service service);
};

/// One end. Calls nest: while one is open, the other side may call back. Several threads of one process take
/// turns.
class Connection {
 public:
  /// The checker's end on a connected stream socket: makes the shared memory and hands it over. Takes the
  /// socket. Throws WorkerEnded when nobody is at the other end, kit::Error when there is no memory.
  static std::unique_ptr<Connection> open_checker(int socket);
  /// The worker's end. Takes the socket. Throws kit::Error.
  static std::unique_ptr<Connection> open_worker(int socket);
  /// The checker's connection: the socket that KIT_WORKER_SOCKET names. Never destroyed, because objects with
  /// static storage may hold proxies: the end of the process closes it. Throws kit::Error without a socket,
  /// and as open_checker().
  static Connection& of_checker();

  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  Side side() const { return side_; }

  /// Asks the other side: `put` writes the arguments, `take` reads the results. An exception over there is
  /// thrown here with its type. Throws WorkerEnded and ProtocolError, from then on the same in every call;
  /// kit::Error when the arguments are larger than what can be sent.
  void call(const Target& target, const std::function<void(Writer&)>& put,
            const std::function<void(Reader&)>& take);

  /// Answers until the checker closes its end.
  void serve();

  /// Makes an object of this side known to the other: until `forget`.
  ObjectId add_object(Exported exported);
  void forget(ObjectId object);
  /// An object of ours that the other side named. Throws ProtocolError when there is none of that type.
  const Exported& find_object(ObjectId object, const void* type) const;
  /// Tells the other side to forget one of its own. Never throws: used by destructors.
  void release(ObjectId object) noexcept;
  /// Objects that the other side may call now.
  std::size_t n_objects() const { return objects_.size(); }
  /// False once a call threw a ConnectionError.
  bool works() const { return broken_ == nullptr; }

  Arena& own_arena() { return arenas_[static_cast<std::size_t>(side_)]; }
  Arena& other_arena() { return arenas_[1 - static_cast<std::size_t>(side_)]; }

 private:
  Connection(Side side, int socket) : side_(side), socket_(socket) {}
  struct Message;
  void exchange(const Message& request, const std::function<void(Reader&)>& take);
  void take_results(const Message& reply, const std::string& name, const std::function<void(Reader&)>& take);
  void answer(const Message& request);
  Message reply_to(const Message& request);
  void release_own(ObjectId object);
  /// Throws kit::Error when the message is too long.
  static std::string frame_of(const Message& message);
  void send(const Message& message);
  Message receive();
  void write_all(const void* data, std::size_t n_bytes);
  void read_all(void* data, std::size_t n_bytes);
  [[noreturn]] void lost(const std::string& why);

  Side side_;
  int socket_;
  Arena arenas_[2];  // the checker's, the worker's
  std::recursive_mutex mutex_;
  std::map<std::uint64_t, Exported> objects_;
  std::uint64_t n_objects_ = 0;
  std::vector<std::string> open_calls_;  // names, innermost last: for messages
  std::exception_ptr broken_;            // why nothing works any more
};

/// Where an array's elements are.
struct ArrayPlace {
  std::uint64_t offset = 0;
  std::uint64_t n_bytes = 0;
};

/// Writes the arguments or the results of one call.
class Writer {
 public:
  Writer(Connection& connection, std::string& buffer) : connection_(connection), archive_(buffer) {}
  Connection& connection() { return connection_; }
  template <class T>
  void value(const T& value) {
    archive_(value);
  }
  /// Copies an array into this side's shared memory.
  ArrayPlace array(const void* data, std::size_t n_bytes);

 private:
  Connection& connection_;
  OutputArchive archive_;
};

/// Reads them on the other side.
class Reader {
 public:
  Reader(Connection& connection, std::string_view bytes) : connection_(connection), archive_(bytes) {}
  Connection& connection() { return connection_; }
  template <class T>
  T value() {
    T value{};
    archive_(value);
    return value;
  }
  template <class T>
  void value(T& value) {
    archive_(value);
  }
  /// The other side's array: where it is in the shared memory.
  std::byte* array(std::size_t n_bytes);
  bool at_end() const { return archive_.at_end(); }

 private:
  Connection& connection_;
  InputArchive archive_;
};

}  // namespace kit::remote
