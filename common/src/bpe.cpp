#include "bpe.h"

#include <algorithm>
#include <cstddef>
#include <queue>

#include "kit/check.h"
#include "utf8.h"

namespace kit::detail {
namespace {

/// alphabet[byte]: printable Latin-1 characters stand for themselves, the others for U+0100, U+0101, ... in
/// turn.
std::array<char32_t, 256> make_alphabet() {
  std::array<char32_t, 256> alphabet{};
  char32_t next = 0x100;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xFF && byte != 0xAD);
    alphabet[byte] = printable ? byte : next++;
  }
  return alphabet;
}

const std::array<char32_t, 256>& alphabet() {
  static const std::array<char32_t, 256> characters = make_alphabet();
  return characters;
}

/// byte + 1 for each character of the alphabet, else 0.
const std::array<int, 0x200>& alphabet_inverse() {
  static const std::array<int, 0x200> inverse = [] {
    std::array<int, 0x200> result{};
    for (int byte = 0; byte < 256; ++byte) result[alphabet()[byte]] = byte + 1;
    return result;
  }();
  return inverse;
}

std::uint64_t pair_key(int left, int right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
         static_cast<std::uint32_t>(right);
}

constexpr std::size_t kNone = static_cast<std::size_t>(-1);

}  // namespace

std::string byte_to_text(unsigned char byte) {
  const char32_t c = alphabet()[byte];
  if (c < 0x80) return {static_cast<char>(c)};
  return {static_cast<char>(0xC0 | c >> 6U), static_cast<char>(0x80 | (c & 0x3FU))};
}

std::optional<std::string> text_to_bytes(std::string_view text) {
  std::string bytes;
  while (!text.empty()) {
    const Utf8Character c = next_utf8(text);
    if (c.state != Utf8::kComplete || c.code_point >= alphabet_inverse().size()) return std::nullopt;
    const int byte = alphabet_inverse()[c.code_point] - 1;
    if (byte < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(byte));
    text.remove_prefix(c.length);
  }
  return bytes;
}

void Bpe::add_merge(int left, int right, int merged) {
  merges_.insert_or_assign(pair_key(left, right), Merge{n_merges_, merged});
  ++n_merges_;
}

const Bpe::Merge* Bpe::find(int left, int right) const {
  const auto found = merges_.find(pair_key(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

/// One token of the word so far, in a list that is doubly linked by index.
struct Bpe::Symbol {
  int id;  // kNoToken once it was merged into its left neighbour
  std::size_t previous, next;
};

/// A pair that could be merged when it was queued; it may have changed since.
struct Bpe::Candidate {
  int rank;
  int left_id, right_id, merged_id;
  std::size_t position;
  /// The smallest rank comes first, then the leftmost.
  bool operator<(const Candidate& other) const {
    return rank != other.rank ? rank > other.rank : position > other.position;
  }
};

/// The merging of one word.
class Bpe::Work {
 public:
  Work(const Bpe& bpe, std::string_view word) : bpe_(bpe) {
    symbols_.reserve(word.size());
    for (std::size_t i = 0; i < word.size(); ++i) {
      const auto byte = static_cast<unsigned char>(word[i]);
      const int id = bpe.byte_ids_[byte];
      KIT_CHECK(id != kNoToken, "byte {:#04x} has no token in the vocabulary", byte);
      symbols_.push_back({id, i == 0 ? kNone : i - 1, i + 1 == word.size() ? kNone : i + 1});
    }
    for (std::size_t i = 0; i < symbols_.size(); ++i) push(i);
  }

  void run() {
    while (!candidates_.empty()) {
      const Candidate top = candidates_.top();
      candidates_.pop();
      if (is_current(top)) merge(top);
    }
  }

  void append_to(std::vector<int>& ids) const {
    for (const Symbol& symbol : symbols_) {
      if (symbol.id != kNoToken) ids.push_back(symbol.id);
    }
  }

 private:
  /// Queues the pair at `position`, if it can be merged.
  void push(std::size_t position) {
    if (position == kNone || symbols_[position].next == kNone) return;
    const int left = symbols_[position].id;
    const int right = symbols_[symbols_[position].next].id;
    const Merge* found = bpe_.find(left, right);
    if (found != nullptr) candidates_.push({found->rank, left, right, found->id, position});
  }

  bool is_current(const Candidate& candidate) const {
    const Symbol& left = symbols_[candidate.position];
    return left.id == candidate.left_id && left.next != kNone && symbols_[left.next].id == candidate.right_id;
  }

  void merge(const Candidate& candidate) {
    Symbol& left = symbols_[candidate.position];
    Symbol& right = symbols_[left.next];
    left.id = candidate.merged_id;
    left.next = right.next;
    right.id = kNoToken;
    if (left.next != kNone) symbols_[left.next].previous = candidate.position;
    push(left.previous);
    push(candidate.position);
  }

  const Bpe& bpe_;
  std::vector<Symbol> symbols_;
  std::priority_queue<Candidate> candidates_;
};

void Bpe::encode(std::string_view word, std::vector<int>& ids) const {
  Work work(*this, word);
  work.run();
  work.append_to(ids);
}

}  // namespace kit::detail
