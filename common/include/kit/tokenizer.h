#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// Byte-level BPE as in GPT-2 and Llama 3, read from a Hugging Face tokenizer.json.
namespace kit {

class Tokenizer {
 public:
  /// Throws kit::Error naming the file and what is wrong with it; also on a tokenizer that is not byte-level
  /// BPE.
  static Tokenizer load(const std::filesystem::path& file);
  /// As load, from text; `origin` names it in errors.
  static Tokenizer parse(std::string_view json, const std::string& origin);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  int vocab_size() const;
  /// Special tokens in the text ("<|endoftext|>") become their ids. Adds no others. Invalid UTF-8 is kept
  /// byte by byte.
  std::vector<int> encode(std::string_view text) const;
  /// The bytes of the tokens; special tokens are left out unless asked for. Throws kit::Error on an unknown
  /// id.
  std::string decode(std::span<const int> ids, bool keep_special = false) const;
  /// Id of a token by its text in the vocabulary, or of a special token.
  std::optional<int> token_id(std::string_view token) const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Turns a stream of tokens into text that never ends inside a UTF-8 character.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  /// Text that became complete with this token; may be empty.
  std::string push(int id);
  /// What is left at the end.
  std::string finish();

 private:
  const Tokenizer& tokenizer_;
  std::string pending_;
};

}  // namespace kit
