#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

/// Small operations on text that came from a student's program.
namespace grader {

/// Valid UTF-8 without control characters other than line feed and tab: safe in a terminal, in JSON, XML and
/// HTML. Escape sequences ("\x1b[31m") disappear, broken UTF-8 becomes U+FFFD.
std::string clean_text(std::string_view text);

/// The first `max_lines` lines and at most `max_bytes` bytes (cut between characters), with "..." where
/// something went.
std::string shorten(std::string_view text, std::size_t max_lines, std::size_t max_bytes);

std::vector<std::string> split_lines(std::string_view text);
std::string trim(std::string_view text);
/// Code points, which is what a terminal column holds for the text we print.
std::size_t display_width(std::string_view text);
/// `text` filled up with blanks to `width` columns.
std::string pad(std::string_view text, std::size_t width);
/// Breaks `text` at blanks into lines of at most `width` columns; a word that is longer stays whole. Keeps
/// line feeds.
std::vector<std::string> wrap(std::string_view text, std::size_t width);

/// "31", "0.125", "2,048": as few digits as the value needs, thousands separated.
std::string format_number(double value);
/// "4 GiB", "512 MiB".
std::string format_bytes(double n_bytes);
/// "85 ms", "1.2 s", "2 min 3 s".
std::string format_seconds(double seconds);

}  // namespace grader
