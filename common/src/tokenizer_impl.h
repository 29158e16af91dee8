#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bpe.h"
#include "json_input.h"
#include "kit/tokenizer.h"
#include "split_pattern.h"

/// What a tokenizer.json says: tokenizer_file.cpp reads it, tokenizer.cpp works with it.
namespace kit {
namespace detail {

struct Token {
  std::string bytes;
  bool special = false;
};

/// A token that is cut out of the text before anything else is looked at.
struct AddedToken {
  std::string content;
  int id = 0;
};

/// Finds added tokens: at the leftmost place, the longest.
class AddedTokens {
 public:
  void add(AddedToken token) {
    auto& bucket = by_first_byte_[static_cast<unsigned char>(token.content.front())];
    const auto shorter = [&](const AddedToken& other) { return other.content.size() < token.content.size(); };
    bucket.insert(std::find_if(bucket.begin(), bucket.end(), shorter), std::move(token));
  }

  /// The longest added token that `text` starts with, or null.
  const AddedToken* match(std::string_view text) const {
    for (const AddedToken& token : by_first_byte_[static_cast<unsigned char>(text.front())]) {
      if (text.starts_with(token.content)) return &token;
    }
    return nullptr;
  }

 private:
  std::array<std::vector<AddedToken>, 256> by_first_byte_;  // longest first
};

}  // namespace detail

struct Tokenizer::Impl {
  std::unordered_map<std::string, int> ids;  // by the text in the file
  std::unordered_map<int, detail::Token> tokens;
  int vocab_size = 0;
  // Those marked "normalized": false go first, as in Hugging Face's tokenizers.
  std::array<detail::AddedTokens, 2> added;
  std::vector<detail::SplitPattern> patterns;
  bool add_prefix_space = false;
  std::optional<detail::SplitPattern> byte_level_pattern;
  detail::Bpe bpe;
  bool ignore_merges = false;

  void encode(std::string_view text, std::size_t round, std::vector<int>& out) const;
  void encode_plain(std::string_view text, std::vector<int>& out) const;
  void encode_unicode(std::string_view text, std::vector<int>& out) const;
  void encode_word(std::string_view word, std::vector<int>& out) const;

  /// Fills everything from the file's JSON.
  void read(const detail::Fields& root);
  void read_vocab(const detail::Fields& model);
  void read_merges(const detail::Fields& model);
  void read_added_tokens(const detail::Fields& root);
  void read_pre_tokenizer(const detail::Fields& root);
  void read_step(const detail::Fields& step, bool is_last);

  /// Enters a token and returns whether its id was free.
  bool add_token(const std::string& text, int id, detail::Token token);
};

}  // namespace kit
