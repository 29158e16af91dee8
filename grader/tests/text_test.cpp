#include "grader/text.h"

#include <gtest/gtest.h>

#include "grader/doctor.h"

namespace {

TEST(Text, CleaningKeepsWhatIsText) {
  EXPECT_EQ(grader::clean_text("plain\n\ttabbed, naïve, 漢, 🙂"), "plain\n\ttabbed, naïve, 漢, 🙂");
}

TEST(Text, CleaningRemovesControlsAndEscapes) {
  EXPECT_EQ(grader::clean_text(std::string_view("a\0b\r\x07\x7f", 6)), "ab");
  EXPECT_EQ(grader::clean_text("\x1b[1;31mred\x1b[0m"), "red");
  EXPECT_EQ(grader::clean_text("\x1b]0;title\x07"), "]0;title");
  EXPECT_EQ(grader::clean_text("\xC2\x9Bx"), "x");
  EXPECT_EQ(grader::clean_text("tail\x1b["), "tail");
}

TEST(Text, CleaningReplacesBrokenUtf8) {
  EXPECT_EQ(grader::clean_text("\xFF"), "\uFFFD");
  EXPECT_EQ(grader::clean_text("\xE6\xBC"), "\uFFFD\uFFFD");
  EXPECT_EQ(grader::clean_text("\xC0\xAF"), "\uFFFD\uFFFD");            // overlong
  EXPECT_EQ(grader::clean_text("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");  // a surrogate
  EXPECT_EQ(grader::clean_text("\xEF\xBF\xBF"), "\uFFFD");              // valid, but not in XML
}

TEST(Text, ShortenCutsLinesAndBytes) {
  EXPECT_EQ(grader::shorten("one\ntwo\nthree", 2, 100), "one\ntwo\n...");
  EXPECT_EQ(grader::shorten("one\ntwo\n", 2, 100), "one\ntwo");
  EXPECT_EQ(grader::shorten("abcdef", 1, 3), "abc ...");
  EXPECT_EQ(grader::shorten("ab漢", 1, 4), "ab ...");
  EXPECT_EQ(grader::shorten("", 3, 3), "");
}

TEST(Text, WrapBreaksAtBlanks) {
  EXPECT_EQ(grader::wrap("aa bb cc\ndd", 5), (std::vector<std::string>{"aa bb", "cc", "dd"}));
  EXPECT_EQ(grader::wrap("abcdefgh ij", 4), (std::vector<std::string>{"abcdefgh", "ij"}));
  EXPECT_EQ(grader::wrap("    indented words", 10), (std::vector<std::string>{"    indented", "words"}));
}

TEST(Text, PadCountsCharactersNotBytes) {
  EXPECT_EQ(grader::pad("é", 3), "é  ");
}

TEST(Text, NumbersReadWell) {
  EXPECT_EQ(grader::format_number(31), "31");
  EXPECT_EQ(grader::format_number(1234567), "1,234,567");
  EXPECT_EQ(grader::format_number(-1234), "-1,234");
  EXPECT_EQ(grader::format_number(0.12345), "0.1235");
  EXPECT_EQ(grader::format_number(12345.67), "12,346");
  EXPECT_EQ(grader::format_bytes(4.0 * 1024 * 1024 * 1024), "4 GiB");
  EXPECT_EQ(grader::format_seconds(0.0853), "85 ms");
  EXPECT_EQ(grader::format_seconds(1.24), "1.2 s");
  EXPECT_EQ(grader::format_seconds(123.4), "2 min 3 s");
}

TEST(Doctor, ComparesVersionsNumberByNumber) {
  EXPECT_TRUE(grader::at_least("cmake version 3.25.1", {3, 24}));
  EXPECT_TRUE(grader::at_least("3.24", {3, 24}));
  EXPECT_FALSE(grader::at_least("3.9.4", {3, 24}));
  EXPECT_FALSE(grader::at_least("none", {1}));
  EXPECT_TRUE(grader::at_least("GNU 12.2.0", {12}));
}

}  // namespace
