#pragma once

#include <map>
#include <memory>

#include "kit/kv_cache.h"
#include "kit/model.h"
#include "kit/remote/passing.h"
#include "kit/rope.h"
#include "kit/sampling.h"

// Longer than other headers: every interface that crosses, one short block each, and the values they share.

/// The kit's abstract classes between processes. An object stays where it was made; the other side has a
/// proxy, which asks it. A proxy derives from the class and must define all of its virtual functions, so
/// forgetting one does not compile; both sides number methods by the same list, MethodsOf<Class>.
namespace kit::remote {

template <auto... kMethods>
struct MethodList {
  static constexpr int kSize = sizeof...(kMethods);

  template <auto kMethod>
  static constexpr int index() {
    int at = -1;
    int i = 0;
    ((std::is_same_v<std::integral_constant<decltype(kMethods), kMethods>,
                     std::integral_constant<decltype(kMethod), kMethod>>
          ? at = i++
          : i++),
     ...);
    return at;
  }

  template <class C>
  static void answer(C& object, int method, Reader& reader, Writer& writer) {
    int i = 0;
    const bool found = ((i++ == method && (answer_one<kMethods>(object, reader, writer), true)) || ...);
    if (!found) throw ProtocolError(std::string(ProtocolError::kPrefix) + "no such method");
  }

 private:
  template <auto kMethod, class C>
  static void answer_one(C& object, Reader& reader, Writer& writer) {
    Call<typename SignatureOf<decltype(kMethod)>::Type>::answer(
        reader, writer, [&object](auto&&... arguments) -> decltype(auto) {
          return (object.*kMethod)(std::forward<decltype(arguments)>(arguments)...);
        });
  }
};

/// Specialised for each abstract class: its methods, and its proxy.
template <class C>
struct Interface;

/// What a proxy knows about its object: base class of every proxy, beside the abstract class.
class Remote {
 public:
  Remote(Connection& connection, ObjectId object, bool owns)
      : connection_(&connection), object_(object), owns_(owns) {}
  ~Remote() {
    if (owns_) connection_->release(object_);
  }
  Remote(const Remote&) = delete;
  Remote& operator=(const Remote&) = delete;

  Connection& connection() const { return *connection_; }
  ObjectId object() const { return object_; }

 protected:
  template <class C, auto kMethod, class... A>
  auto ask(std::string_view name, A&&... arguments) const {
    constexpr int kIndex = Interface<C>::Methods::template index<kMethod>();
    static_assert(kIndex >= 0, "the method is not in the list of its interface");
    return Call<typename SignatureOf<decltype(kMethod)>::Type>::ask(
        *connection_, {.name = name, .object = object_, .method = kIndex}, std::forward<A>(arguments)...);
  }

 private:
  Connection* connection_;
  ObjectId object_;
  bool owns_;
};

template <class C>
Exported export_object(C& object, std::shared_ptr<void> owned = nullptr) {
  Exported exported;
  exported.type = type_tag<C>();
  exported.object = &object;
  exported.call = [&object](int method, Reader& reader, Writer& writer) {
    Interface<C>::Methods::answer(object, method, reader, writer);
  };
  exported.owned = std::move(owned);
  return exported;
}

/// A reference to an interface: the object itself where it comes home, a proxy elsewhere, valid while the
/// call is open.
template <class C>
struct PassingObject {
  struct Sent {
    Connection& connection;
    std::optional<ObjectId> exported;
    Sent(Writer& writer, C& object) : connection(writer.connection()) {
      const auto* remote = dynamic_cast<const Remote*>(&object);
      ObjectId id;
      if (remote != nullptr && &remote->connection() == &connection) {
        id = remote->object();
      } else {
        exported = connection.add_object(export_object<C>(object));
        id = *exported;
      }
      writer.value(id.owner);
      writer.value(id.id);
    }
    Sent(Sent&& other) noexcept
        : connection(other.connection), exported(std::exchange(other.exported, std::nullopt)) {}
    ~Sent() {
      if (exported) connection.forget(*exported);
    }
    void take_back(Reader& /*reader*/) {}
  };
  struct Held {
    C* object = nullptr;
    std::unique_ptr<C> proxy;
    explicit Held(Reader& reader) {
      Connection& connection = reader.connection();
      ObjectId id;
      reader.value(id.owner);
      reader.value(id.id);
      if (id.owner == connection.side()) {
        object = static_cast<C*>(connection.find_object(id, type_tag<C>()).object);
      } else {
        proxy = Interface<C>::make_proxy(connection, id, /*owns=*/false);
        object = proxy.get();
      }
    }
    C& get() const { return *object; }
    void put_back(Writer& /*writer*/) {}
  };
};

template <>
struct Interface<KvCache> {
  using Methods = MethodList<&KvCache::config, &KvCache::append, &KvCache::keys, &KvCache::values,
                             &KvCache::length, &KvCache::reset, &KvCache::truncate>;
  static std::unique_ptr<KvCache> make_proxy(Connection& connection, ObjectId object, bool owns);
};
template <>
struct Passing<KvCache&> : PassingObject<KvCache> {};

template <>
struct LastEnumerator<Logits> {
  static constexpr Logits kValue = Logits::kAll;
};

/// forward() is no virtual function: the proxy's counts calls on its own side, and so does the model that it
/// asks. Only the latter's counts are evidence.
template <>
struct Interface<Model> {
  using Forward = Tensor<float> (Model::*)(std::span<const int>, Logits);
  using ForwardWithCache = Tensor<float> (Model::*)(std::span<const int>, KvCache&, Logits);
  static constexpr Forward kForward = &Model::forward;
  static constexpr ForwardWithCache kForwardWithCache = &Model::forward;
  using Methods = MethodList<&Model::config, kForward, kForwardWithCache>;
  static std::unique_ptr<Model> make_proxy(Connection& connection, ObjectId object, bool owns);
};
template <>
struct Passing<Model&> : PassingObject<Model> {};

/// A factory's result: it stays in the process that made it until the proxy is destroyed.
template <class C>
requires requires {
  typename Interface<C>::Methods;
}
struct Returning<std::unique_ptr<C>> {
  static void put(Writer& writer, std::unique_ptr<C> object) {
    writer.value(object != nullptr);
    if (object == nullptr) return;
    C& reference = *object;
    const ObjectId id =
        writer.connection().add_object(export_object<C>(reference, std::shared_ptr<C>(std::move(object))));
    writer.value(id.id);
  }
  static std::unique_ptr<C> take(Reader& reader) {
    if (!reader.value<bool>()) return nullptr;
    Connection& connection = reader.connection();
    const ObjectId id{connection.side() == Side::kChecker ? Side::kWorker : Side::kChecker,
                      reader.value<std::uint64_t>()};
    return Interface<C>::make_proxy(connection, id, /*owns=*/true);
  }
};

/// Rope is immutable and known by what it was made of.
template <>
struct Passing<const Rope&> {
  struct Sent {
    Sent(Writer& writer, const Rope& rope);
    void take_back(Reader& /*reader*/) {}
  };
  struct Held {
    std::shared_ptr<const Rope> rope;
    explicit Held(Reader& reader);
    const Rope& get() const { return *rope; }
    void put_back(Writer& /*writer*/) {}
  };
};

}  // namespace kit::remote

/// Values of the kit that contracts pass. Structured bindings, so that a member that is added later does not
/// compile before it is here.
namespace kit {

template <class Archive>
void serialize(Archive& archive, KvCacheConfig& x) {
  auto& [n_layers, n_kv_heads, head_dim, max_len] = x;
  archive(n_layers, n_kv_heads, head_dim, max_len);
}
template <class Archive>
void serialize(Archive& archive, RopeScaling& x) {
  auto& [factor, low, high, original] = x;
  archive(factor, low, high, original);
}
template <class Archive>
void serialize(Archive& archive, ModelConfig& x) {
  auto& [vocab_size, dim, hidden_dim, n_layers, n_heads, n_kv_heads, head_dim, max_seq_len, rope_theta,
         rope_scaling, rms_norm_eps, tied, eos] = x;
  archive(vocab_size, dim, hidden_dim, n_layers, n_heads, n_kv_heads, head_dim, max_seq_len, rope_theta,
          rope_scaling, rms_norm_eps, tied, eos);
}
template <class Archive>
void serialize(Archive& archive, SamplingConfig& x) {
  auto& [max_new_tokens, temperature] = x;
  archive(max_new_tokens, temperature);
}

}  // namespace kit
