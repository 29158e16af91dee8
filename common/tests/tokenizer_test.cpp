#include "kit/tokenizer.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "kit/testing.h"
#include "test_files.h"

namespace kit::testing {
namespace {

using Json = nlohmann::json;

/// A byte-level tokenizer: ids 0-93 are the bytes '!' to '~', then the space and the newline, then a few
/// merges.
Json small_tokenizer() {
  Json vocab;
  for (char c = '!'; c <= '~'; ++c) vocab[std::string(1, c)] = c - '!';
  vocab["\u0120"] = 94;  // space
  vocab["\u010a"] = 95;  // newline
  vocab["\u00c3"] = 96;  // the byte C3
  vocab["\u00a9"] = 97;  // the byte A9
  int next = 100;
  const Json merges = {"a b", "ab c", "b c", "\u0120 a", {"l", "l"}, {"'", "ll"}};
  for (const char* merged : {"ab", "abc", "bc", "\u0120a", "ll", "'ll"}) vocab[merged] = next++;
  const Json special = {{"id", 200}, {"content", "<|end|>"}, {"special", true}, {"normalized", false}};
  return {{"added_tokens", {special}},
          {"normalizer", nullptr},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}}}};
}

Tokenizer make(const Json& json) {
  return Tokenizer::parse(json.dump(), "t.json");
}

using Ids = std::vector<int>;

TEST(Tokenizer, AnswersAsHuggingFaceDoes) {
  const Tokenizer tokenizer = Tokenizer::load(models_dir() / "target" / "tokenizer.json");
  std::ifstream stream(models_dir() / "fixtures" / "tokenizer_cases.json");
  const Json cases = Json::parse(stream);
  ASSERT_GT(cases.size(), 20U);
  for (const Json& entry : cases) {
    const auto text = entry.at("text").get<std::string>();
    const auto ids = entry.at("ids").get<Ids>();
    EXPECT_EQ(tokenizer.encode(text), ids) << text;
    EXPECT_EQ(tokenizer.decode(ids, true), entry.at("decoded").get<std::string>());
  }
}

TEST(Tokenizer, ReturnsEveryByteStringUnchanged) {
  const Tokenizer tokenizer = Tokenizer::load(models_dir() / "target" / "tokenizer.json");
  Rng rng = make_rng(700);
  for (int round = 0; round < 200; ++round) {
    std::string text(rng.below(60), '\0');
    // Half random bytes, mostly invalid UTF-8; half from a small alphabet, with many merges.
    for (char& c : text)
      c = static_cast<char>(round % 2 == 0 ? rng.below(256) : "the \n\xc3\xa9"[rng.below(7)]);
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  }
}

TEST(Tokenizer, MergesByRankThenFromTheLeft) {
  const Tokenizer tokenizer = make(small_tokenizer());
  EXPECT_EQ(tokenizer.encode("abc"), Ids{101});
  EXPECT_EQ(tokenizer.encode("bc"), Ids{102});
  EXPECT_EQ(tokenizer.encode("xabcb"), (Ids{'x' - '!', 101, 'b' - '!'}));
  EXPECT_EQ(tokenizer.encode("lll"), (Ids{104, 'l' - '!'}));
  EXPECT_EQ(tokenizer.encode(" ab"), (Ids{94, 100})) << "'a b' comes before 'space a'";
  EXPECT_EQ(tokenizer.encode(" ac"), (Ids{103, 'c' - '!'}));
}

TEST(Tokenizer, SplitsLikeGpt2) {
  const Tokenizer tokenizer = make(small_tokenizer());
  // The second b c are separated by the split before the 'll.
  EXPECT_EQ(tokenizer.encode("a'll"), (Ids{'a' - '!', 105}));
  EXPECT_EQ(tokenizer.encode("a!bc"), (Ids{'a' - '!', 0, 102}));
  EXPECT_EQ(tokenizer.encode("  a"), (Ids{94, 103})) << "the last of several spaces goes to the word";
}

TEST(Tokenizer, KeepsInvalidUtf8ByteByByte) {
  const Tokenizer tokenizer = make(small_tokenizer());
  EXPECT_EQ(tokenizer.encode("a\xc3"), (Ids{'a' - '!', 96}));
  EXPECT_EQ(tokenizer.encode("a\xc3\xa9"), (Ids{'a' - '!', 96, 97}));
  EXPECT_EQ(tokenizer.encode("a\xa9"
                             "bc"),
            (Ids{'a' - '!', 97, 102}));
  EXPECT_TRUE(throws_error([&] { tokenizer.encode("\x01"); }, "byte 0x01 has no token"));
}

TEST(Tokenizer, CutsOutSpecialTokens) {
  const Tokenizer tokenizer = make(small_tokenizer());
  EXPECT_EQ(tokenizer.vocab_size(), 201);
  EXPECT_EQ(tokenizer.token_id("<|end|>"), 200);
  EXPECT_EQ(tokenizer.token_id("\u0120a"), 103);
  EXPECT_EQ(tokenizer.token_id("nothing"), std::nullopt);
  const Ids ids = tokenizer.encode("ab<|end|><|end|>bc<|en");
  EXPECT_EQ(ids, (Ids{100, 200, 200, 102, '<' - '!', '|' - '!', 'e' - '!', 'n' - '!'}));
  EXPECT_EQ(tokenizer.decode(ids), "abbc<|en");
  EXPECT_EQ(tokenizer.decode(ids, true), "ab<|end|><|end|>bc<|en");
  EXPECT_TRUE(throws_error([&] { tokenizer.decode(Ids{150}); }, "token 150"));
  EXPECT_TRUE(throws_error([&] { tokenizer.decode(Ids{-1}); }, "token -1"));
}

TEST(Tokenizer, PrefersTheLongestAddedToken) {
  Json json = small_tokenizer();
  json["added_tokens"].push_back(
      {{"id", 201}, {"content", "<|end|>x"}, {"special", false}, {"normalized", false}});
  json["added_tokens"].push_back({{"id", 202}, {"content", "<|"}, {"special", true}, {"normalized", false}});
  const Tokenizer tokenizer = make(json);
  EXPECT_EQ(tokenizer.encode("<|end|>x<|end|>y<|"), (Ids{201, 200, 'y' - '!', 202}));
  EXPECT_EQ(tokenizer.decode(Ids{201, 200}), "<|end|>x") << "201 is not special";
}

TEST(Tokenizer, ReadsTheLlama3Layout) {
  Json json = small_tokenizer();
  const Json split = {{"type", "Split"},
                      {"pattern",
                       {{"Regex",
                         "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
                         "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}}},
                      {"behavior", "Isolated"},
                      {"invert", false}};
  const Json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  json["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", {split, bytes}}};
  json["model"]["ignore_merges"] = true;
  json["model"]["vocab"]["1234"] = 300;
  json["model"]["vocab"]["123"] = 301;
  json["model"]["vocab"]["!ab"] = 302;
  const Tokenizer tokenizer = make(json);
  EXPECT_EQ(tokenizer.encode("1234"), (Ids{301, '4' - '!'}))
      << "digits by threes, whole words without merges";
  EXPECT_EQ(tokenizer.encode("!ab"), Ids{302}) << "one leading character belongs to the word";
}

TEST(Tokenizer, AddsAPrefixSpaceWhenTold) {
  Json json = small_tokenizer();
  json["pre_tokenizer"]["add_prefix_space"] = true;
  const Tokenizer tokenizer = make(json);
  EXPECT_EQ(tokenizer.encode("a"), Ids{103});
  EXPECT_EQ(tokenizer.encode(" a"), Ids{103});
  EXPECT_TRUE(tokenizer.encode("").empty());
}

TEST(Tokenizer, EncodesLongWordsInReasonableTime) {
  const Tokenizer tokenizer = Tokenizer::load(models_dir() / "target" / "tokenizer.json");
  // Quadratic merging of 2 million letters would take hours.
  const std::string word(2'000'000, 'a');
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(word)), word);
  const std::string spaces(300'000, ' ');
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(spaces)), spaces);
}

::testing::AssertionResult fails(const Json& json, const std::string& needle) {
  const auto result = throws_error([&] { make(json); }, needle);
  return result ? throws_error([&] { make(json); }, "t.json") : result;
}

/// small_tokenizer() with the value at a JSON pointer replaced.
Json with(const char* pointer, const Json& value) {
  Json json = small_tokenizer();
  json[Json::json_pointer(pointer)] = value;
  return json;
}

TEST(TokenizerFile, NamesWhatIsMissing) {
  Json json = small_tokenizer();
  json["model"].erase("vocab");
  EXPECT_TRUE(fails(json, "model: \"vocab\" is missing"));
  json = small_tokenizer();
  json["model"].erase("merges");
  EXPECT_TRUE(fails(json, "model: \"merges\" is missing"));
  json = small_tokenizer();
  json.erase("model");
  EXPECT_TRUE(fails(json, "\"model\" is missing"));
  json = small_tokenizer();
  json.erase("pre_tokenizer");
  EXPECT_TRUE(fails(json, "\"pre_tokenizer\" is missing"));
  EXPECT_TRUE(fails(with("/model/vocab", Json::object()), "no tokens"));
}

TEST(TokenizerFile, NamesBadVocabularies) {
  EXPECT_TRUE(fails(with("/model/vocab/ab", 5), "id 5 of token \"ab\" belongs to another token too") ||
              fails(with("/model/vocab/ab", 5), "id 5 of token \"&\" belongs to another token too"));
  EXPECT_TRUE(fails(with("/model/vocab/ab", "5"), "\"ab\" is \"5\""));
  EXPECT_TRUE(fails(with("/model/vocab/ab", -1), "\"ab\" is -1"));
  EXPECT_TRUE(fails(with("/model/vocab/ab", 4000000000LL), "\"ab\" is 4000000000"));
  EXPECT_TRUE(fails(with("/model/vocab", Json::array()), "\"vocab\" is []"));
}

TEST(TokenizerFile, NamesBadMerges) {
  EXPECT_TRUE(fails(with("/model/merges/1", "ab zz"), "merges[1]: token \"zz\" is not in the vocabulary"));
  EXPECT_TRUE(fails(with("/model/merges/1", "x y"), "merges[1]: token \"xy\" is not in the vocabulary"));
  EXPECT_TRUE(fails(with("/model/merges/1", "abc"), "merges[1] is \"abc\""));
  EXPECT_TRUE(fails(with("/model/merges/1", "a b c"), "merges[1] is \"a b c\""));
  EXPECT_TRUE(fails(with("/model/merges/1", {"a", 5}), "merges[1] is [\"a\",5]"));
  EXPECT_TRUE(fails(with("/model/merges/1", 7), "merges[1] is 7"));
  EXPECT_TRUE(fails(with("/model/merges", "a b"), "\"merges\" is \"a b\""));
}

TEST(TokenizerFile, NamesBadPreTokenizers) {
  const auto split = [](const Json& changes) {
    Json step = {{"type", "Split"}, {"pattern", {{"Regex", "\\s+"}}}, {"behavior", "Isolated"}};
    step.update(changes);
    const Json last = {{"type", "ByteLevel"}, {"use_regex", false}};
    return with("/pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {step, last}}});
  };
  EXPECT_EQ(make(split(Json::object())).vocab_size(), 201);
  EXPECT_TRUE(fails(split({{"pattern", {{"Regex", "(a"}}}}),
                    "bad pattern \"(a\" at offset 2: missing closing parenth"));
  EXPECT_TRUE(fails(split({{"behavior", "Removed"}}), "behavior \"Removed\""));
  EXPECT_TRUE(fails(split({{"invert", true}}), "invert true"));
  EXPECT_TRUE(fails(split({{"pattern", 5}}), "\"pattern\" is 5"));
  EXPECT_TRUE(fails(split({{"type", "Digits"}}), "pretokenizers[0]: pre-tokenizer \"Digits\""));
  EXPECT_TRUE(fails(with("/pre_tokenizer/type", "Metaspace"), "\"Metaspace\""));
  EXPECT_TRUE(
      fails(with("/pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {1}}}), "pretokenizers[0] is 1"));
  EXPECT_TRUE(fails(with("/pre_tokenizer/use_regex", "yes"), "\"use_regex\" is \"yes\""));
}

TEST(TokenizerFile, NamesWhatItDoesNotSupport) {
  EXPECT_TRUE(fails(with("/normalizer", {{"type", "NFC"}}), "normalizer \"NFC\""));
  EXPECT_TRUE(fails(with("/decoder/type", "WordPiece"), "decoder \"WordPiece\""));
  EXPECT_TRUE(fails(with("/model/type", "Unigram"), "type \"Unigram\""));
  EXPECT_TRUE(fails(with("/model/byte_fallback", true), "byte_fallback true"));
  EXPECT_TRUE(fails(with("/model/dropout", 0.1), "dropout 0.1"));
  EXPECT_TRUE(fails(with("/model/end_of_word_suffix", "</w>"), "end_of_word_suffix \"</w>\""));
  EXPECT_TRUE(fails(with("/added_tokens/0/lstrip", true), "added_tokens[0]: lstrip true"));
}

TEST(TokenizerFile, NamesBadAddedTokens) {
  EXPECT_TRUE(fails(with("/added_tokens/0/id", 5), "added_tokens[0]: id 5 of token \"<|end|>\""));
  EXPECT_TRUE(fails(with("/added_tokens/0/id", "5"), "\"id\" is \"5\""));
  EXPECT_TRUE(fails(with("/added_tokens/0/content", ""), "\"content\" is empty"));
  EXPECT_TRUE(fails(with("/added_tokens/0/content", "ab"), "\"ab\" has id 200, but 100 in the vocabulary"));
  EXPECT_TRUE(fails(with("/added_tokens/0", 3), "added_tokens[0] is 3"));
}

TEST(TokenizerFile, NamesBrokenJson) {
  EXPECT_TRUE(throws_error([] { Tokenizer::parse("", "t.json"); }, "t.json: not valid JSON"));
  EXPECT_TRUE(throws_error([] { Tokenizer::parse("[]", "t.json"); }, "t.json: the JSON is not an object"));
  EXPECT_TRUE(throws_error([] { Tokenizer::parse(std::string(100'000, '['), "t.json"); }, "nested deeper"));
  EXPECT_TRUE(throws_error([] { Tokenizer::parse(R"({"a":1,"a":2})", "t.json"); }, "\"a\" appears twice"));
  const std::string text = small_tokenizer().dump();
  for (std::size_t size = 0; size < text.size(); size += 7) {
    EXPECT_TRUE(throws_error([&] { Tokenizer::parse(text.substr(0, size), "t.json"); }, "t.json"));
  }
  EXPECT_TRUE(throws_error([] { Tokenizer::load("/nonexistent/tokenizer.json"); }, "no such file"));
}

TEST(StreamDecoder, NeverEndsInsideACharacter) {
  const Tokenizer tokenizer = make(small_tokenizer());
  StreamDecoder decoder(tokenizer);
  EXPECT_EQ(decoder.push(100), "ab");
  EXPECT_EQ(decoder.push(96), "");
  EXPECT_EQ(decoder.push(97), "\xc3\xa9");
  EXPECT_EQ(decoder.push(96), "");
  EXPECT_EQ(decoder.push(96), "\xc3") << "the first C3 can no longer become a character";
  EXPECT_EQ(decoder.push(200), "") << "special tokens have no text";
  EXPECT_EQ(decoder.push(97), "\xc3\xa9");
  EXPECT_EQ(decoder.push(97), "\xa9") << "an invalid byte waits for nothing";
  EXPECT_EQ(decoder.push(96), "");
  EXPECT_EQ(decoder.finish(), "\xc3");
  EXPECT_EQ(decoder.finish(), "");
}

TEST(StreamDecoder, GivesTheTextOfDecodeInTheEnd) {
  const Tokenizer tokenizer = Tokenizer::load(models_dir() / "target" / "tokenizer.json");
  const std::string text = "na\u00efve \u4e2d\u6587 \U0001f600\U0001f469\u200d\U0001f52c!";
  StreamDecoder decoder(tokenizer);
  std::string streamed;
  for (const int id : tokenizer.encode(text)) streamed += decoder.push(id);
  EXPECT_EQ(streamed + decoder.finish(), text);
}

}  // namespace
}  // namespace kit::testing
