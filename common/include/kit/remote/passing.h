#pragma once

#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include "kit/remote/connection.h"
#include "kit/rng.h"
#include "kit/tensor.h"
#include "kit/work_clock.h"

// Longer than other headers: the two halves of each kind of parameter must agree, so all kinds stand in one
// place, and as templates they cannot move to a .cpp file.

/// How each kind of parameter crosses between processes. A Passing<P> has two halves:
///   Sent   on the side that calls: writes the argument, and afterwards takes back what the callee may have
///   changed; Held   on the side that is called: what the function is given, and afterwards what goes back.
namespace kit::remote {

/// Any type that cereal can serialise: by value.
template <class P>
struct Passing {
  using Value = std::remove_cvref_t<P>;
  static_assert(!std::is_lvalue_reference_v<P> || std::is_const_v<std::remove_reference_t<P>>,
                "a reference to something that the function may change needs a Passing of its own");

  struct Sent {
    Sent(Writer& writer, const Value& value) { writer.value(value); }
    void take_back(Reader& /*reader*/) {}
  };
  struct Held {
    Value value{};
    explicit Held(Reader& reader) { reader.value(value); }
    const Value& get() const { return value; }
    void put_back(Writer& /*writer*/) {}
  };
};

/// Device memory lives in the worker: the checker has only names for it. Set by the checker's CUDA back end;
/// says what a pointer of the checker is called in the worker, nothing when it is host memory.
using DeviceTranslator = std::optional<std::uint64_t> (*)(const void* pointer);
void set_device_translator(DeviceTranslator translator);
std::optional<std::uint64_t> device_address(const void* pointer);

namespace detail {

void put_shape(Writer& writer, const Shape& shape);
/// Throws ProtocolError on one that cannot be.
Shape take_shape(Reader& reader, std::size_t element_bytes);
std::size_t take_size(Reader& reader, std::size_t element_bytes);

/// A default view has rank 0, which is one element, and none. Of all others the shape says how many.
void put_view_shape(Writer& writer, const Shape& shape, std::int64_t size);
/// Nothing for a default view. Throws ProtocolError on a shape that cannot be.
std::optional<Shape> take_view_shape(Reader& reader, std::size_t element_bytes);

/// Elements of a view on the calling side.
class SentArray {
 public:
  SentArray(Writer& writer, const void* data, std::size_t n_bytes);
  /// Copies from shared memory what the callee left there.
  void take_back(Connection& connection, void* data) const;

 private:
  bool on_device_ = false;
  ArrayPlace place_;
};

/// Elements of a view on the called side. The worker works in the shared memory itself; the checker, whose
/// memory nobody else may change while it looks, on a copy.
class HeldArray {
 public:
  HeldArray(Reader& reader, std::size_t n_bytes);
  void* data() const { return data_; }
  /// The checker's copy back into the shared memory.
  void put_back() const;

 private:
  std::byte* shared_ = nullptr;
  std::shared_ptr<std::byte> copy_;
  void* data_ = nullptr;
  std::size_t n_bytes_ = 0;
};

}  // namespace detail

template <class T>
struct Passing<TensorView<T>> {
  static_assert(std::is_trivially_copyable_v<T>);
  struct Sent {
    TensorView<T> view;
    detail::SentArray array;
    Sent(Writer& writer, const TensorView<T>& v)
        : view(v),
          array((detail::put_view_shape(writer, v.shape(), v.size()), writer), v.data(),
                v.span().size_bytes()) {}
    void take_back(Reader& reader) {
      if constexpr (!std::is_const_v<T>) array.take_back(reader.connection(), view.data());
    }
  };
  struct Held {
    std::optional<Shape> shape;
    detail::HeldArray array;
    explicit Held(Reader& reader)
        : shape(detail::take_view_shape(reader, sizeof(T))),
          array(reader, shape ? static_cast<std::size_t>(shape->size()) * sizeof(T) : 0) {}
    TensorView<T> get() const {
      return shape ? TensorView<T>(static_cast<T*>(array.data()), *shape) : TensorView<T>();
    }
    void put_back(Writer& /*writer*/) {
      if constexpr (!std::is_const_v<T>) array.put_back();
    }
  };
};

template <class T>
struct Passing<std::span<T>> {
  static_assert(std::is_trivially_copyable_v<T>);
  struct Sent {
    std::span<T> span;
    detail::SentArray array;
    Sent(Writer& writer, const std::span<T>& s)
        : span(s),
          array((writer.value(static_cast<std::uint64_t>(s.size())), writer), s.data(), s.size_bytes()) {}
    void take_back(Reader& reader) {
      if constexpr (!std::is_const_v<T>) array.take_back(reader.connection(), span.data());
    }
  };
  struct Held {
    std::size_t size;
    detail::HeldArray array;
    explicit Held(Reader& reader)
        : size(detail::take_size(reader, sizeof(T))), array(reader, size * sizeof(T)) {}
    std::span<T> get() const { return {static_cast<T*>(array.data()), size}; }
    void put_back(Writer& /*writer*/) {
      if constexpr (!std::is_const_v<T>) array.put_back();
    }
  };
};

/// A generator is a value; the callee's draws come back.
template <>
struct Passing<Rng&> {
  static_assert(std::is_trivially_copyable_v<Rng> && sizeof(Rng) == 16);
  struct Sent {
    Rng& rng;
    Sent(Writer& writer, Rng& r);
    void take_back(Reader& reader);
  };
  struct Held {
    Rng rng{0};
    explicit Held(Reader& reader);
    Rng& get() { return rng; }
    void put_back(Writer& writer);
  };
};

// What a function returns.
// ----------------------------------------------------------------------------------------

template <class R>
struct Returning {
  static void put(Writer& writer, const R& value) { writer.value(value); }
  static R take(Reader& reader) { return reader.value<R>(); }
};

template <class T>
struct Returning<Tensor<T>> {
  static void put(Writer& writer, const TensorView<const T>& tensor) {
    detail::put_view_shape(writer, tensor.shape(), tensor.size());
    writer.array(tensor.data(), tensor.span().size_bytes());
  }
  static Tensor<T> take(Reader& reader) {
    const std::optional<Shape> shape = detail::take_view_shape(reader, sizeof(T));
    const std::size_t n_bytes = shape ? static_cast<std::size_t>(shape->size()) * sizeof(T) : 0;
    const std::byte* data = reader.array(n_bytes);
    if (!shape) return {};
    Tensor<T> tensor(*shape);
    if (n_bytes > 0) std::memcpy(tensor.data(), data, n_bytes);
    return tensor;
  }
};
/// Arrives as a copy, which the proxy keeps.
template <class T>
struct Returning<TensorView<const T>> : Returning<Tensor<T>> {};

template <>
struct Returning<void> {};

// Calls.
// ----------------------------------------------------------------------------------------------------------

/// What the caller gets: an array comes as a Tensor of its own.
template <class R>
struct ResultOfHelper {
  using Type = decltype(Returning<std::remove_cvref_t<R>>::take(std::declval<Reader&>()));
};
template <>
struct ResultOfHelper<void> {
  using Type = void;
};
template <class R>
using ResultOf = typename ResultOfHelper<R>::Type;

template <class Signature>
struct Call;

template <class R, class... P>
struct Call<R(P...)> {
  using Result = ResultOf<R>;

  /// The calling side.
  static Result ask(Connection& connection, const Target& target, P... arguments) {
    using Sent = std::tuple<typename Passing<P>::Sent...>;
    std::optional<Sent> sent;
    std::conditional_t<std::is_void_v<R>, std::monostate, std::optional<Result>> result;
    double started = 0.0;
    // What packing and unpacking takes is not the callee's time.
    const auto carried = [&started] { add_carrying_seconds(work_seconds() - started); };
    connection.call(
        target,
        [&](Writer& writer) {
          // Not earlier: another thread's call may have to end first.
          started = work_seconds();
          // In the order of the parameters, which a function call's arguments would not promise.
          sent.emplace(Sent{typename Passing<P>::Sent(writer, std::forward<P>(arguments))...});
          carried();
        },
        [&](Reader& reader) {
          started = work_seconds();
          std::apply([&](auto&... each) { (each.take_back(reader), ...); }, *sent);
          if constexpr (!std::is_void_v<R>) result.emplace(Returning<std::remove_cvref_t<R>>::take(reader));
          carried();
        });
    if constexpr (!std::is_void_v<R>) return std::move(*result);
  }

  /// The called side.
  template <class F>
  static void answer(Reader& reader, Writer& writer, F&& function) {
    using Held = std::tuple<typename Passing<P>::Held...>;
    Held held{typename Passing<P>::Held(reader)...};
    if (!reader.at_end()) throw ProtocolError(std::string(ProtocolError::kPrefix) + "too many arguments");
    const auto put_back = [&] { std::apply([&](auto&... each) { (each.put_back(writer), ...); }, held); };
    const auto run = [&]() -> decltype(auto) {
      return std::apply([&](auto&... each) -> decltype(auto) { return function(each.get()...); }, held);
    };
    if constexpr (std::is_void_v<R>) {
      run();
      put_back();
    } else {
      auto&& result = run();
      put_back();
      Returning<std::remove_cvref_t<R>>::put(writer, std::forward<decltype(result)>(result));
    }
  }
};

/// The parameters of a function or method, as a function type.
template <class F>
struct SignatureOf;
template <class R, class... P>
struct SignatureOf<R (*)(P...)> {
  using Type = R(P...);
};
template <class C, class R, class... P>
struct SignatureOf<R (C::*)(P...)> {
  using Type = R(P...);
};
template <class C, class R, class... P>
struct SignatureOf<R (C::*)(P...) const> {
  using Type = R(P...);
};

/// std::function as an argument: the callee calls back, as long as the call is open.
template <class R, class... P>
struct Passing<const std::function<R(P...)>&> {
  using Function = std::function<R(P...)>;
  struct Sent {
    Connection& connection;
    std::optional<ObjectId> object;
    Sent(Writer& writer, const Function& function) : connection(writer.connection()) {
      writer.value(static_cast<bool>(function));
      if (!function) return;
      object = connection.add_object(
          {.type = type_tag<Function>(),
           .object = nullptr,
           .call = [function](int /*method*/, Reader& reader,
                              Writer& results) { Call<R(P...)>::answer(reader, results, function); },
           .owned = nullptr});
      writer.value(object->id);
    }
    Sent(Sent&& other) noexcept
        : connection(other.connection), object(std::exchange(other.object, std::nullopt)) {}
    ~Sent() {
      if (object) connection.forget(*object);
    }
    void take_back(Reader& /*reader*/) {}
  };
  struct Held {
    Function function;
    explicit Held(Reader& reader) {
      if (!reader.value<bool>()) return;
      Connection& connection = reader.connection();
      const ObjectId object{connection.side() == Side::kChecker ? Side::kWorker : Side::kChecker,
                            reader.value<std::uint64_t>()};
      function = [&connection, object](P... arguments) -> R {
        return Call<R(P...)>::ask(connection, {.name = "a callback", .object = object, .method = 0},
                                  std::forward<P>(arguments)...);
      };
    }
    const Function& get() const { return function; }
    void put_back(Writer& /*writer*/) {}
  };
};
template <class R, class... P>
struct Passing<std::function<R(P...)>> : Passing<const std::function<R(P...)>&> {};

}  // namespace kit::remote
