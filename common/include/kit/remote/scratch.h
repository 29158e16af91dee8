#pragma once

#include <memory>
#include <memory_resource>

#include "kit/remote/passing.h"

/// A memory resource as an argument: the callee's arrays are counted, and may be refused, where the resource
/// is; their bytes are where they are used.
namespace kit::remote {

template <>
struct Passing<std::pmr::memory_resource&> {
  struct Sent {
    Connection& connection;
    std::optional<ObjectId> object;
    Sent(Writer& writer, std::pmr::memory_resource& resource);
    Sent(Sent&& other) noexcept
        : connection(other.connection), object(std::exchange(other.object, std::nullopt)) {}
    ~Sent() {
      if (object) connection.forget(*object);
    }
    void take_back(Reader& /*reader*/) {}
  };
  /// For the thread that took the call (kit::OneThreadResource), and while the call is open.
  struct Held {
    std::unique_ptr<std::pmr::memory_resource> proxy;
    std::unique_ptr<std::pmr::memory_resource> resource;
    explicit Held(Reader& reader);
    std::pmr::memory_resource& get() const { return *resource; }
    void put_back(Writer& /*writer*/) {}
  };
};

}  // namespace kit::remote
