#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "kit/check.h"

/// JSON that somebody else wrote: every problem becomes one kit::Error that names the file and the field.
namespace kit::detail {

using Json = nlohmann::json;

/// Deeper nesting than any file of ours has; anything beyond is an attack.
inline constexpr int kMaxJsonDepth = 32;

/// The whole text as one JSON object. Throws kit::Error on anything else, on a key that appears twice in one
/// object (readers disagree about which wins), and on nesting deeper than kMaxJsonDepth.
inline Json parse_json_object(std::string_view text, const std::string& origin) {
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  const auto watch = [&](int depth, Json::parse_event_t event, Json& parsed) {
    KIT_CHECK(depth <= kMaxJsonDepth, "{}: JSON nested deeper than {} levels", origin, kMaxJsonDepth);
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      KIT_CHECK(keys.back().insert(key).second, "{}: key \"{}\" appears twice", origin, key);
    }
    return true;
  };
  Json value;
  try {
    value = Json::parse(text.begin(), text.end(), watch);
  } catch (const Json::exception& error) {
    throw Error(fmt::format("{}: not valid JSON: {}", origin, error.what()));
  }
  KIT_CHECK(value.is_object(), "{}: the JSON is not an object but {}", origin, value.type_name());
  return value;
}

/// A value as an error message shows it, cut to a line.
inline std::string shown(const Json& value) {
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

inline std::string read_text_file(const std::filesystem::path& file) {
  std::error_code error;
  KIT_CHECK(std::filesystem::is_regular_file(file, error), "{}: no such file", file.string());
  std::ifstream stream(file, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  KIT_CHECK(stream.good() || stream.eof(), "{}: cannot be read", file.string());
  return std::move(text).str();
}

/// Typed access to the fields of one object; `origin` is the file, then the path to the object.
class Fields {
 public:
  Fields(const Json& object, std::string origin) : object_(object), origin_(std::move(origin)) {}

  /// Null when the field is missing or null.
  const Json* find(const char* name) const {
    const auto found = object_.find(name);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }
  const Json& at(const char* name) const {
    const Json* value = find(name);
    KIT_CHECK(value != nullptr, "{}: \"{}\" is missing", origin_, name);
    return *value;
  }
  std::int64_t integer(const char* name, std::int64_t low, std::int64_t high) const {
    return to_integer(at(name), name, low, high);
  }
  std::int64_t integer_or(const char* name, std::int64_t otherwise, std::int64_t low,
                          std::int64_t high) const {
    const Json* value = find(name);
    return value == nullptr ? otherwise : to_integer(*value, name, low, high);
  }
  double number(const char* name) const { return to_number(at(name), name); }
  double number_or(const char* name, double otherwise) const {
    const Json* value = find(name);
    return value == nullptr ? otherwise : to_number(*value, name);
  }
  bool boolean_or(const char* name, bool otherwise) const {
    const Json* value = find(name);
    if (value == nullptr) return otherwise;
    KIT_CHECK(value->is_boolean(), "{}: \"{}\" is {}, not true or false", origin_, name, shown(*value));
    return value->get<bool>();
  }
  std::string string(const char* name) const { return to_string(at(name), name); }
  std::string string_or(const char* name, const std::string& otherwise) const {
    const Json* value = find(name);
    return value == nullptr ? otherwise : to_string(*value, name);
  }
  const Json& array(const char* name) const {
    const Json& value = at(name);
    KIT_CHECK(value.is_array(), "{}: \"{}\" is {}, not an array", origin_, name, shown(value));
    return value;
  }
  /// The object in field `name`.
  Fields object(const char* name) const {
    const Json& value = at(name);
    KIT_CHECK(value.is_object(), "{}: \"{}\" is {}, not an object", origin_, name, shown(value));
    return {value, fmt::format("{}: {}", origin_, name)};
  }

  std::int64_t to_integer(const Json& value, const char* name, std::int64_t low, std::int64_t high) const {
    // An unsigned value beyond int64 must not wrap, so the range is checked in the type that was read.
    const bool fits = value.is_number_unsigned()
                          ? high >= 0 && value.get<std::uint64_t>() <= static_cast<std::uint64_t>(high)
                          : value.is_number_integer() && value.get<std::int64_t>() <= high;
    KIT_CHECK(fits && value.get<std::int64_t>() >= low, "{}: \"{}\" is {}, not an integer from {} to {}",
              origin_, name, shown(value), low, high);
    return value.get<std::int64_t>();
  }
  double to_number(const Json& value, const char* name) const {
    KIT_CHECK(value.is_number(), "{}: \"{}\" is {}, not a number", origin_, name, shown(value));
    return value.get<double>();
  }
  std::string to_string(const Json& value, const char* name) const {
    KIT_CHECK(value.is_string(), "{}: \"{}\" is {}, not a string", origin_, name, shown(value));
    return value.get<std::string>();
  }

  const Json& json() const { return object_; }
  const std::string& origin() const { return origin_; }

 private:
  const Json& object_;
  std::string origin_;
};

}  // namespace kit::detail
