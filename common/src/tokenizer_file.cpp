#include <string>
#include <utility>

#include "kit/check.h"
#include "tokenizer_impl.h"

namespace kit {
namespace {

using detail::Fields;
using detail::Json;
using detail::SplitPattern;

constexpr int kMaxId = (1 << 24) - 1;
/// What ByteLevel splits by when it is told to (Radford et al. 2019, the code of GPT-2).
constexpr const char* kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

/// Null, false, 0 and "" all mean that a feature is off.
void check_absent(const Fields& fields, const char* name) {
  const Json* value = fields.find(name);
  const bool off =
      value == nullptr || *value == Json(false) || *value == Json(0) || *value == Json(std::string());
  KIT_CHECK(off, "{}: {} {} is not supported", fields.origin(), name, detail::shown(*value));
}

/// "a b" or ["a", "b"].
std::pair<std::string, std::string> read_merge(const Json& merge, const std::string& where) {
  if (merge.is_string()) {
    const auto& text = merge.get_ref<const std::string&>();
    const std::size_t space = text.find(' ');
    KIT_CHECK(space != std::string::npos && text.find(' ', space + 1) == std::string::npos,
              "{} is {}, not two tokens with one space between them", where, detail::shown(merge));
    return {text.substr(0, space), text.substr(space + 1)};
  }
  KIT_CHECK(merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string(),
            "{} is {}, not a pair of tokens", where, detail::shown(merge));
  return {merge[0].get<std::string>(), merge[1].get<std::string>()};
}

void check_model(const Fields& model) {
  const std::string type = model.string_or("type", "BPE");
  KIT_CHECK(type == "BPE", "{}: type \"{}\" is not supported, only \"BPE\"", model.origin(), type);
  for (const char* name : {"dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"}) {
    check_absent(model, name);
  }
}

void check_around_model(const Fields& root) {
  if (root.find("normalizer") != nullptr) {
    const Fields normalizer = root.object("normalizer");
    throw Error(fmt::format("{}: normalizer \"{}\" is not supported, only null", root.origin(),
                            normalizer.string_or("type", "")));
  }
  if (root.find("decoder") != nullptr) {
    const std::string type = root.object("decoder").string("type");
    KIT_CHECK(type == "ByteLevel", "{}: decoder \"{}\" is not supported, only \"ByteLevel\"", root.origin(),
              type);
  }
}

SplitPattern read_split(const Fields& step) {
  const std::string behavior = step.string("behavior");
  KIT_CHECK(behavior == "Isolated", "{}: behavior \"{}\" is not supported, only \"Isolated\"", step.origin(),
            behavior);
  KIT_CHECK(!step.boolean_or("invert", false), "{}: invert true is not supported", step.origin());
  const Fields pattern = step.object("pattern");
  if (pattern.find("String") != nullptr) {
    return {pattern.string("String"), detail::PatternKind::kLiteral, step.origin()};
  }
  return {pattern.string("Regex"), detail::PatternKind::kRegex, step.origin()};
}

}  // namespace

bool Tokenizer::Impl::add_token(const std::string& text, int id, detail::Token token) {
  if (!tokens.emplace(id, std::move(token)).second) return false;
  ids.emplace(text, id);
  vocab_size = std::max(vocab_size, id + 1);
  return true;
}

void Tokenizer::Impl::read_vocab(const Fields& model) {
  const Fields vocab = model.object("vocab");
  KIT_CHECK(!vocab.json().empty(), "{}: no tokens", vocab.origin());
  for (const auto& [text, value] : vocab.json().items()) {
    const int id = static_cast<int>(vocab.to_integer(value, text.c_str(), 0, kMaxId));
    const std::optional<std::string> bytes = detail::text_to_bytes(text);
    if (bytes && bytes->size() == 1) bpe.set_byte(static_cast<unsigned char>(bytes->front()), id);
    // Outside the byte alphabet a token stands for its own text.
    KIT_CHECK(add_token(text, id, {bytes.value_or(text)}),
              "{}: id {} of token \"{}\" belongs to another token too", vocab.origin(), id, text);
  }
}

void Tokenizer::Impl::read_merges(const Fields& model) {
  const Json& merges = model.array("merges");
  const auto id_of = [&](const std::string& text, const std::string& where) {
    const auto found = ids.find(text);
    KIT_CHECK(found != ids.end(), "{}: token \"{}\" is not in the vocabulary", where, text);
    return found->second;
  };
  for (std::size_t i = 0; i < merges.size(); ++i) {
    const std::string where = fmt::format("{}: merges[{}]", model.origin(), i);
    const auto [left, right] = read_merge(merges[i], where);
    const int left_id = id_of(left, where);
    const int right_id = id_of(right, where);
    bpe.add_merge(left_id, right_id, id_of(left + right, where));
  }
}

void Tokenizer::Impl::read_added_tokens(const Fields& root) {
  if (root.find("added_tokens") == nullptr) return;
  const Json& list = root.array("added_tokens");
  for (std::size_t i = 0; i < list.size(); ++i) {
    const std::string where = fmt::format("{}: added_tokens[{}]", root.origin(), i);
    KIT_CHECK(list[i].is_object(), "{} is {}, not an object", where, detail::shown(list[i]));
    const Fields fields(list[i], where);
    const int id = static_cast<int>(fields.integer("id", 0, kMaxId));
    const std::string content = fields.string("content");
    KIT_CHECK(!content.empty(), "{}: \"content\" is empty", where);
    for (const char* name : {"single_word", "lstrip", "rstrip"}) {
      KIT_CHECK(!fields.boolean_or(name, false), "{}: {} true is not supported", where, name);
    }
    const bool special = fields.boolean_or("special", false);
    const auto known = ids.find(content);
    KIT_CHECK(known == ids.end() || known->second == id, "{}: \"{}\" has id {}, but {} in the vocabulary",
              where, content, id, known == ids.end() ? id : known->second);
    if (known != ids.end()) tokens.erase(id);
    KIT_CHECK(add_token(content, id, {content, special}),
              "{}: id {} of token \"{}\" belongs to another token too", where, id, content);
    const bool normalized = fields.boolean_or("normalized", !special);
    added[normalized ? 1 : 0].add({content, id});
  }
}

/// One step of the pre-tokenizer. ByteLevel is the last, and only the last.
void Tokenizer::Impl::read_step(const Fields& step, bool is_last) {
  const std::string type = step.string("type");
  const char* expected = is_last ? "ByteLevel" : "Split";
  KIT_CHECK(type == expected, "{}: pre-tokenizer \"{}\" is not supported here, only \"{}\"", step.origin(),
            type, expected);
  if (!is_last) {
    patterns.push_back(read_split(step));
    return;
  }
  add_prefix_space = step.boolean_or("add_prefix_space", true);
  if (step.boolean_or("use_regex", true)) {
    byte_level_pattern.emplace(kGpt2Pattern, detail::PatternKind::kRegex, step.origin());
  }
}

void Tokenizer::Impl::read_pre_tokenizer(const Fields& root) {
  const Fields pre_tokenizer = root.object("pre_tokenizer");
  if (pre_tokenizer.string("type") != "Sequence") return read_step(pre_tokenizer, true);
  const Json& steps = pre_tokenizer.array("pretokenizers");
  KIT_CHECK(!steps.empty(), "{}: \"pretokenizers\" is empty", pre_tokenizer.origin());
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const std::string where = fmt::format("{}: pretokenizers[{}]", pre_tokenizer.origin(), i);
    KIT_CHECK(steps[i].is_object(), "{} is {}, not an object", where, detail::shown(steps[i]));
    read_step({steps[i], where}, i + 1 == steps.size());
  }
}

void Tokenizer::Impl::read(const Fields& root) {
  check_around_model(root);
  const Fields model = root.object("model");
  check_model(model);
  ignore_merges = model.boolean_or("ignore_merges", false);
  read_vocab(model);
  read_merges(model);
  read_added_tokens(root);
  read_pre_tokenizer(root);
}

}  // namespace kit
