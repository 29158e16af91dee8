#include "grader/rubric_reader.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <toml++/toml.h>

#include "kit/check.h"

namespace grader {

std::string RubricReader::text(const std::string& key) {
  known_.insert(key);
  const toml::node* node = table_->get(key);
  if (node == nullptr) fail(key, "is missing");
  const auto* value = node->as_string();
  if (value == nullptr || value->get().empty()) fail(key, "must be a string that is not empty");
  return value->get();
}

std::string RubricReader::text_or(const std::string& key, const std::string& fallback) {
  known_.insert(key);
  return table_->contains(key) ? text(key) : fallback;
}

int RubricReader::positive(const std::string& key) {
  known_.insert(key);
  const toml::node* node = table_->get(key);
  if (node == nullptr) fail(key, "is missing");
  const auto* value = node->as_integer();
  if (value == nullptr) fail(key, "must be a whole number");
  constexpr std::int64_t kLargest = 1'000'000;
  if (value->get() <= 0 || value->get() > kLargest) {
    fail(key, fmt::format("is {}, must be between 1 and {}", value->get(), kLargest));
  }
  return static_cast<int>(value->get());
}

std::string RubricReader::one_of(const std::string& key, const std::vector<std::string>& allowed) {
  std::string value = text_or(key, allowed.front());
  for (const std::string& known : allowed) {
    if (value == known) return value;
  }
  fail(key, fmt::format("is '{}', must be one of: {}", value, fmt::join(allowed, ", ")));
}

bool RubricReader::flag(const std::string& key) {
  known_.insert(key);
  const toml::node* node = table_->get(key);
  if (node == nullptr) return false;
  const auto* value = node->as_boolean();
  if (value == nullptr) fail(key, "must be true or false");
  return value->get();
}

std::vector<std::string> RubricReader::texts(const std::string& key) {
  known_.insert(key);
  const toml::node* node = table_->get(key);
  if (node == nullptr) fail(key, "is missing");
  const toml::array* list = node->as_array();
  if (list == nullptr || list->empty()) fail(key, "must be a list of strings, at least one");
  std::vector<std::string> values;
  for (const toml::node& element : *list) {
    const auto* value = element.as_string();
    if (value == nullptr || value->get().empty()) fail(key, "must hold strings that are not empty");
    values.push_back(value->get());
  }
  return values;
}

RubricReader RubricReader::table(const std::string& key) {
  std::optional<RubricReader> reader = table_if(key);
  if (!reader) fail(key, "is missing");
  return *reader;
}

std::optional<RubricReader> RubricReader::table_if(const std::string& key) {
  known_.insert(key);
  const toml::node* node = table_->get(key);
  if (node == nullptr) return std::nullopt;
  const toml::table* table = node->as_table();
  if (table == nullptr) fail(key, "must be a table");
  return RubricReader(*table, file_, where_.empty() ? key : where_ + " " + key);
}

std::vector<RubricReader> RubricReader::tables(const std::string& key) {
  std::vector<RubricReader> readers = tables_if(key);
  if (readers.empty()) fail(key, "is missing");
  return readers;
}

std::vector<RubricReader> RubricReader::tables_if(const std::string& key) {
  known_.insert(key);
  const toml::node* node = table_->get(key);
  if (node == nullptr) return {};
  const toml::array* list = node->as_array();
  if (list == nullptr) fail(key, fmt::format("must be a list of tables, [[{}]]", key));
  std::vector<RubricReader> readers;
  for (const toml::node& element : *list) {
    const toml::table* table = element.as_table();
    if (table == nullptr) fail(key, fmt::format("must be a list of tables, [[{}]]", key));
    const std::string prefix = where_.empty() ? "" : where_ + " ";
    readers.emplace_back(*table, file_, fmt::format("{}{} {}", prefix, key, readers.size() + 1));
  }
  return readers;
}

void RubricReader::refuse_unknown_keys() const {
  for (const auto& [key, value] : *table_) {
    if (!known_.contains(std::string(key.str())))
      fail(std::string(key.str()), "is not a key that a rubric has here");
  }
}

void RubricReader::fail(const std::string& key, const std::string& problem) const {
  const toml::node* node = table_->get(key);
  const auto line = (node == nullptr ? table_->source() : node->source()).begin.line;
  const std::string place = where_.empty() ? "" : where_ + ", ";
  throw kit::Error(fmt::format("{}:{}: {}key '{}' {}", file_, line, place, key, problem));
}

RubricDocument::RubricDocument(const std::filesystem::path& file) : file_(file.string()) {
  try {
    table_ = std::make_unique<toml::table>(toml::parse_file(file_));
  } catch (const toml::parse_error& error) {
    throw kit::Error(fmt::format("{}:{}: {}", file_, error.source().begin.line, error.description()));
  }
}

RubricDocument::~RubricDocument() = default;

RubricReader RubricDocument::root() const {
  return {*table_, file_, ""};
}

}  // namespace grader
