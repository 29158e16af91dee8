#include "exceptions.h"

#include <new>
#include <stdexcept>

#include "kit/check.h"
#include "kit/remote/errors.h"
#include "kit/simt/profile.h"

namespace kit::remote {

namespace {

// A what() is text for a person. Somebody may throw a gigabyte.
constexpr std::size_t kMaxWhatBytes = 64 * 1024;

/// One type that crosses: throwing it again from its text, and recognising it.
struct Kind {
  bool (*is)(const std::exception&);
  void (*raise)(const std::string&);
};

template <class E>
bool is(const std::exception& exception) {
  return dynamic_cast<const E*>(&exception) != nullptr;
}
template <class E>
void raise(const std::string& what) {
  throw E(what);
}
template <>
void raise<std::bad_alloc>(const std::string& /*what*/) {
  throw std::bad_alloc();
}
// Its constructor writes the prefix that the text already has.
template <>
void raise<NotImplemented>(const std::string& what) {
  throw NotImplemented(what.starts_with(NotImplemented::kPrefix) ? what.substr(NotImplemented::kPrefix.size())
                                                                 : what);
}

template <class E>
constexpr Kind kind() {
  return {&is<E>, &raise<E>};
}

// Derived before base: the first that fits is taken. Both processes are built from this file, so positions
// are numbers.
constexpr Kind kKinds[] = {
    kind<NotImplemented>(),        kind<simt::LaunchError>(), kind<Error>(),
    kind<std::bad_alloc>(),        kind<std::length_error>(), kind<std::out_of_range>(),
    kind<std::invalid_argument>(), kind<std::domain_error>(), kind<std::logic_error>(),
    kind<std::overflow_error>(),   kind<std::range_error>(),  kind<std::runtime_error>(),
};
constexpr auto kOther = static_cast<std::int32_t>(std::size(kKinds));  // arrives as std::runtime_error

}  // namespace

PackedException pack_current_exception() {
  try {
    throw;
  } catch (const std::exception& exception) {
    PackedException packed{.kind = 0, .what = {}};
    while (packed.kind < kOther && !kKinds[packed.kind].is(exception)) ++packed.kind;
    // Not std::string(what()): that would first copy a gigabyte.
    const char* what = exception.what();
    for (std::size_t i = 0; i < kMaxWhatBytes && what != nullptr && what[i] != '\0'; ++i)
      packed.what += what[i];
    return packed;
  } catch (...) {
    return {.kind = kOther, .what = "something was thrown that is no std::exception"};
  }
}

void rethrow(const PackedException& exception) {
  if (exception.kind < 0 || exception.kind > kOther || exception.what.size() > kMaxWhatBytes)
    throw ProtocolError(fmt::format("{}exception of kind {}", ProtocolError::kPrefix, exception.kind));
  if (exception.kind == kOther) throw std::runtime_error(exception.what);
  kKinds[exception.kind].raise(exception.what);
  throw ProtocolError("unreachable");
}

}  // namespace kit::remote
