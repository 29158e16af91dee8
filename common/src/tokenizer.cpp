#include "kit/tokenizer.h"

#include <algorithm>
#include <utility>

#include "kit/check.h"
#include "tokenizer_impl.h"
#include "utf8.h"

namespace kit {
namespace {

using detail::Utf8;
using Pieces = std::vector<std::string_view>;

}  // namespace

/// Cuts out the added tokens of this round, and passes what lies between them to the next.
void Tokenizer::Impl::encode(std::string_view text, std::size_t round, std::vector<int>& out) const {
  if (round == added.size()) return encode_plain(text, out);
  std::size_t begin = 0;
  for (std::size_t i = 0; i < text.size();) {
    const detail::AddedToken* token = added[round].match(text.substr(i));
    if (token == nullptr) {
      ++i;
      continue;
    }
    encode(text.substr(begin, i - begin), round + 1, out);
    out.push_back(token->id);
    i += token->content.size();
    begin = i;
  }
  encode(text.substr(begin), round + 1, out);
}

/// Text without added tokens. A byte that is no part of valid UTF-8 is a word of its own.
void Tokenizer::Impl::encode_plain(std::string_view text, std::vector<int>& out) const {
  std::size_t begin = 0;
  for (std::size_t i = 0; i < text.size();) {
    const detail::Utf8Character character = detail::next_utf8(text.substr(i));
    if (character.state == Utf8::kComplete) {
      i += character.length;
      continue;
    }
    encode_unicode(text.substr(begin, i - begin), out);
    bpe.encode(text.substr(i, 1), out);
    begin = ++i;
  }
  encode_unicode(text.substr(begin), out);
}

void Tokenizer::Impl::encode_unicode(std::string_view text, std::vector<int>& out) const {
  if (text.empty()) return;
  Pieces pieces{text};
  for (const detail::SplitPattern& pattern : patterns) {
    Pieces finer;
    for (const std::string_view piece : pieces) pattern.split(piece, finer);
    pieces = std::move(finer);
  }
  for (const std::string_view piece : pieces) {
    const std::string prefixed =
        add_prefix_space && piece.front() != ' ' ? ' ' + std::string(piece) : std::string();
    const std::string_view full = prefixed.empty() ? piece : std::string_view(prefixed);
    Pieces words;
    if (byte_level_pattern) {
      byte_level_pattern->split(full, words);
    } else {
      words.push_back(full);
    }
    for (const std::string_view word : words) encode_word(word, out);
  }
}

void Tokenizer::Impl::encode_word(std::string_view word, std::vector<int>& out) const {
  if (ignore_merges) {
    std::string text;
    for (const char byte : word) text += detail::byte_to_text(static_cast<unsigned char>(byte));
    if (const auto found = ids.find(text); found != ids.end()) return out.push_back(found->second);
  }
  bpe.encode(word, out);
}

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::load(const std::filesystem::path& file) {
  return parse(detail::read_text_file(file), file.string());
}

Tokenizer Tokenizer::parse(std::string_view json_text, const std::string& origin) {
  const detail::Json json = detail::parse_json_object(json_text, origin);
  auto impl = std::make_unique<Impl>();
  impl->read({json, origin});
  return Tokenizer(std::move(impl));
}

int Tokenizer::vocab_size() const {
  return impl_->vocab_size;
}

std::vector<int> Tokenizer::encode(std::string_view text) const {
  std::vector<int> ids;
  impl_->encode(text, 0, ids);
  return ids;
}

std::string Tokenizer::decode(std::span<const int> ids, bool keep_special) const {
  std::string text;
  for (const int id : ids) {
    const auto found = impl_->tokens.find(id);
    KIT_CHECK(found != impl_->tokens.end(), "token {} is not in the vocabulary of {}", id, impl_->vocab_size);
    if (keep_special || !found->second.special) text += found->second.bytes;
  }
  return text;
}

std::optional<int> Tokenizer::token_id(std::string_view token) const {
  const auto found = impl_->ids.find(std::string(token));
  if (found == impl_->ids.end()) return std::nullopt;
  return found->second;
}

std::string StreamDecoder::push(int id) {
  pending_ += tokenizer_.decode(std::span(&id, 1));
  // Only the last three bytes can be the beginning of a character that is not complete.
  std::size_t complete = pending_.size();
  for (std::size_t back = 1; back <= std::min<std::size_t>(3, pending_.size()); ++back) {
    const std::string_view tail = std::string_view(pending_).substr(pending_.size() - back);
    if (detail::next_utf8(tail).state == Utf8::kIncomplete) complete = pending_.size() - back;
  }
  std::string text = pending_.substr(0, complete);
  pending_.erase(0, complete);
  return text;
}

std::string StreamDecoder::finish() {
  return std::exchange(pending_, {});
}

}  // namespace kit
