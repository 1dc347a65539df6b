// Numbers and words out of text, whatever the locale of the process is.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace ppghost {

/// Return the words between single spaces; empty text has none.
std::vector<std::string> split_words(const std::string& text);

/// Return a whole number in [low, high].
/// Throws Error naming `where` when the text is anything else.
std::uint64_t parse_whole(const std::string& where, const std::string& text, std::uint64_t low,
                          std::uint64_t high);

/// Return a finite number; throws Error naming `where` when the text is anything else.
double parse_number(const std::string& where, const std::string& text);

/// Return exactly `count` finite numbers, written with single spaces between them.
std::vector<double> parse_numbers(const std::string& where, const std::string& text, std::size_t count);

/// Return the bytes of a regular file.
/// Throws Error when it is missing, no regular file, longer than `most_bytes`, or unreadable.
std::vector<std::uint8_t> read_file(const std::filesystem::path& path, std::uint64_t most_bytes);

/// Return `text` as a JSON string with its quotes. Bytes that are no UTF-8 become \udcXX, as Python writes them.
std::string json_string(std::string_view text);

/// Return a finite number as JSON with `decimals` digits at most, and at least one: 1.0, 0.03125.
/// A number that is not finite becomes null.
std::string json_fixed(double value, int decimals);

/// Return a finite number as JSON with `digits` significant digits; null when it is not finite.
std::string json_number(double value, int digits);

}  // namespace ppghost
