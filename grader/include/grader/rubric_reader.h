#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace toml {
inline namespace v3 {
class table;
}
}  // namespace toml

namespace grader {

/// Reads the keys of one TOML table. Every complaint is a kit::Error that names file, line, table and key.
class RubricReader {
 public:
  RubricReader(const toml::table& table, std::string file, std::string where)
      : table_(&table), file_(std::move(file)), where_(std::move(where)) {}

  /// A string that is not empty.
  std::string text(const std::string& key);
  /// The same, or `fallback` when the key is missing.
  std::string text_or(const std::string& key, const std::string& fallback);
  /// A whole number above 0.
  int positive(const std::string& key);
  /// One of `allowed`; the first when the key is missing.
  std::string one_of(const std::string& key, const std::vector<std::string>& allowed);
  /// true or false; false when the key is missing.
  bool flag(const std::string& key);
  /// A list of strings, at least one, none empty.
  std::vector<std::string> texts(const std::string& key);
  RubricReader table(const std::string& key);
  std::optional<RubricReader> table_if(const std::string& key);
  /// A list of tables ([[task]]), at least one.
  std::vector<RubricReader> tables(const std::string& key);
  /// The same, possibly none.
  std::vector<RubricReader> tables_if(const std::string& key);

  /// A misspelt key would otherwise be a setting that silently does nothing.
  void refuse_unknown_keys() const;
  [[noreturn]] void fail(const std::string& key, const std::string& problem) const;

 private:
  const toml::table* table_;
  std::string file_;
  std::string where_;  ///< "task 2", "" at the top
  std::set<std::string> known_;
};

/// A parsed file; its readers live no longer than it does.
class RubricDocument {
 public:
  explicit RubricDocument(const std::filesystem::path& file);
  ~RubricDocument();
  RubricDocument(const RubricDocument&) = delete;
  RubricDocument& operator=(const RubricDocument&) = delete;

  RubricReader root() const;

 private:
  std::string file_;
  std::unique_ptr<toml::table> table_;
};

}  // namespace grader
