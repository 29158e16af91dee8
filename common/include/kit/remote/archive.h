#pragma once

#include <array>
#include <cereal/cereal.hpp>
#include <cereal/types/map.hpp>
#include <cereal/types/string.hpp>
#include <cereal/types/utility.hpp>
#include <cereal/types/vector.hpp>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include "kit/remote/errors.h"

/// cereal's archives for messages between checker and worker: bytes in this machine's order, and no size is
/// believed before it was held against what is there.
namespace kit::remote {

/// Appends to a string.
class OutputArchive : public cereal::OutputArchive<OutputArchive, cereal::AllowEmptyClassElision> {
 public:
  explicit OutputArchive(std::string& buffer)
      : cereal::OutputArchive<OutputArchive, cereal::AllowEmptyClassElision>(this), buffer_(buffer) {}
  void saveBinary(const void* data, std::size_t n_bytes) {  // NOLINT(readability-identifier-naming): cereal's
    buffer_.append(static_cast<const char*>(data), n_bytes);
  }

 private:
  std::string& buffer_;
};

/// Reads from bytes that somebody else wrote. Throws ProtocolError where they end too early or cannot be
/// meant.
class InputArchive : public cereal::InputArchive<InputArchive, cereal::AllowEmptyClassElision> {
 public:
  explicit InputArchive(std::string_view bytes)
      : cereal::InputArchive<InputArchive, cereal::AllowEmptyClassElision>(this), bytes_(bytes) {}
  void loadBinary(void* data, std::size_t n_bytes) {  // NOLINT(readability-identifier-naming): cereal's
    require(n_bytes);
    if (n_bytes == 0) return;  // an empty vector has no data
    std::memcpy(data, bytes_.data(), n_bytes);
    bytes_.remove_prefix(n_bytes);
  }
  /// Every element of a container takes at least one byte.
  void require(std::size_t n_bytes) const {
    if (n_bytes > bytes_.size()) {
      throw ProtocolError(std::string(ProtocolError::kPrefix) + "a message of " +
                          std::to_string(bytes_.size()) + " bytes more claims " + std::to_string(n_bytes));
    }
  }
  bool at_end() const { return bytes_.empty(); }

 private:
  std::string_view bytes_;
};

template <class T>
concept Number = std::is_arithmetic_v<T> && !std::is_same_v<T, bool>;

template <Number T>
void CEREAL_SAVE_FUNCTION_NAME(OutputArchive& archive, const T& value) {
  archive.saveBinary(&value, sizeof(value));
}
template <Number T>
void CEREAL_LOAD_FUNCTION_NAME(InputArchive& archive, T& value) {
  archive.loadBinary(&value, sizeof(value));
}

// A byte other than 0 and 1 is no bool.
inline void CEREAL_SAVE_FUNCTION_NAME(OutputArchive& archive, const bool& value) {
  archive.saveBinary(&value, 1);
}
inline void CEREAL_LOAD_FUNCTION_NAME(InputArchive& archive, bool& value) {
  std::uint8_t byte = 0;
  archive.loadBinary(&byte, 1);
  if (byte > 1)
    throw ProtocolError(std::string(ProtocolError::kPrefix) + "a bool of " + std::to_string(byte));
  value = byte == 1;
}

template <class T>
void CEREAL_SAVE_FUNCTION_NAME(OutputArchive& archive, const cereal::NameValuePair<T>& pair) {
  archive(pair.value);
}
template <class T>
void CEREAL_LOAD_FUNCTION_NAME(InputArchive& archive, cereal::NameValuePair<T>& pair) {
  archive(pair.value);
}
template <class T>
void CEREAL_SAVE_FUNCTION_NAME(OutputArchive& archive, const cereal::SizeTag<T>& tag) {
  archive(static_cast<std::uint64_t>(tag.size));
}
template <class T>
void CEREAL_LOAD_FUNCTION_NAME(InputArchive& archive, cereal::SizeTag<T>& tag) {
  std::uint64_t size = 0;
  archive(size);
  archive.require(size);
  tag.size = static_cast<std::remove_reference_t<T>>(size);
}
template <class T>
void CEREAL_SAVE_FUNCTION_NAME(OutputArchive& archive, const cereal::BinaryData<T>& data) {
  archive.saveBinary(data.data, static_cast<std::size_t>(data.size));
}
template <class T>
void CEREAL_LOAD_FUNCTION_NAME(InputArchive& archive, cereal::BinaryData<T>& data) {
  archive.loadBinary(data.data, static_cast<std::size_t>(data.size));
}

/// The greatest of an enumeration's values 0 ... kValue. To be specialised for each enumeration that crosses:
/// without, it does not compile.
template <class E>
struct LastEnumerator;

template <class E>
requires std::is_enum_v<E>
void CEREAL_SAVE_FUNCTION_NAME(OutputArchive& archive, const E& value) {
  archive(static_cast<std::int32_t>(value));
}
template <class E>
requires std::is_enum_v<E>
void CEREAL_LOAD_FUNCTION_NAME(InputArchive& archive, E& value) {
  std::int32_t number = 0;
  archive(number);
  if (number < 0 || number > static_cast<std::int32_t>(LastEnumerator<E>::kValue))
    throw ProtocolError(std::string(ProtocolError::kPrefix) + "enumerator " + std::to_string(number));
  value = static_cast<E>(number);
}

}  // namespace kit::remote

namespace cereal {

// cereal's own takes any number for an enumerator.
template <class E>
requires std::is_enum_v<E>
struct specialize<kit::remote::OutputArchive, E, specialization::non_member_load_save> : std::true_type {
};
template <class E>
requires std::is_enum_v<E>
struct specialize<kit::remote::InputArchive, E, specialization::non_member_load_save> : std::true_type {
};

// cereal's own makes all elements before it reads the first: a claim of 16 million reports of launches takes
// 3 GB.
template <class T>
requires(!std::is_arithmetic_v<T>) void CEREAL_LOAD_FUNCTION_NAME(kit::remote::InputArchive& archive,
                                                                  std::vector<T>& vector) {
  size_type size = 0;
  archive(make_size_tag(size));
  vector.clear();
  for (size_type i = 0; i < size; ++i) archive(vector.emplace_back());
}

// cereal's own reads the flag as any byte.
template <class T>
void CEREAL_SAVE_FUNCTION_NAME(kit::remote::OutputArchive& archive, const std::optional<T>& optional) {
  archive(optional.has_value());
  if (optional) archive(*optional);
}
template <class T>
void CEREAL_LOAD_FUNCTION_NAME(kit::remote::InputArchive& archive, std::optional<T>& optional) {
  bool has_value = false;
  archive(has_value);
  optional.reset();
  if (has_value) archive(optional.emplace());
}

}  // namespace cereal

CEREAL_REGISTER_ARCHIVE(kit::remote::OutputArchive)
CEREAL_REGISTER_ARCHIVE(kit::remote::InputArchive)
CEREAL_SETUP_ARCHIVE_TRAITS(kit::remote::InputArchive, kit::remote::OutputArchive)
