#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace kit::detail {

/// GPT-2's byte alphabet: each byte has a printable character that stands for it in the vocabulary, so that a
/// space is written as U+0120.
std::string byte_to_text(unsigned char byte);
/// The bytes that a vocabulary entry stands for; nothing when a character is outside the alphabet.
std::optional<std::string> text_to_bytes(std::string_view text);

/// Byte-pair encoding of one word (Sennrich et al. 2016, algorithm 1).
class Bpe {
 public:
  Bpe() { byte_ids_.fill(kNoToken); }

  void set_byte(unsigned char byte, int id) { byte_ids_[byte] = id; }
  /// Adds the next merge: earlier ones come first. The same pair again replaces the older one.
  void add_merge(int left, int right, int merged);

  /// Appends the tokens of `word`. n log n in the length of the word. Throws kit::Error on a byte without
  /// token.
  void encode(std::string_view word, std::vector<int>& ids) const;

 private:
  struct Merge {
    int rank;
    int id;
  };
  struct Symbol;
  struct Candidate;
  class Work;
  static constexpr int kNoToken = -1;

  const Merge* find(int left, int right) const;

  std::array<int, 256> byte_ids_;
  std::unordered_map<std::uint64_t, Merge> merges_;  // by both ids
  int n_merges_ = 0;
};

}  // namespace kit::detail
