#include "text.h"

#include <charconv>
#include <cmath>
#include <cstring>
#include <fstream>
#include <locale>
#include <sstream>

#include "errors.h"

namespace ppghost {

std::vector<std::string> split_words(const std::string& text) {
  std::vector<std::string> words;
  std::size_t begin = 0;
  while (begin < text.size()) {
    const std::size_t end = std::min(text.find(' ', begin), text.size());
    words.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return words;
}

std::uint64_t parse_whole(const std::string& where, const std::string& text, std::uint64_t low,
                          std::uint64_t high) {
  std::uint64_t value = 0;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, value);
  if (parsed.ec != std::errc() || parsed.ptr != end || value < low || value > high) {
    throw Error(where + " is " + json_string(text) + "; accepted: a whole number from " + std::to_string(low) +
                " to " + std::to_string(high) + ".");
  }
  return value;
}

double parse_number(const std::string& where, const std::string& text) {
  std::istringstream stream(text);
  stream.imbue(std::locale::classic());
  double value = 0;
  stream >> std::noskipws >> value;
  if (text.empty() || stream.fail() || !stream.eof() || !std::isfinite(value)) {
    throw Error(where + " is " + json_string(text) + "; accepted: a number.");
  }
  return value;
}

std::vector<double> parse_numbers(const std::string& where, const std::string& text, std::size_t count) {
  std::vector<double> numbers;
  for (const std::string& word : split_words(text)) {
    numbers.push_back(parse_number(where, word));
  }
  if (numbers.size() != count) {
    throw Error(where + " is " + json_string(text) + "; accepted: " + std::to_string(count) + " numbers.");
  }
  return numbers;
}

std::vector<std::uint8_t> read_file(const std::filesystem::path& path, std::uint64_t most_bytes) {
  std::error_code code;
  const auto status = std::filesystem::status(path, code);
  if (!std::filesystem::exists(status)) {
    throw Error("There is no file '" + path.string() + "'" + (code ? " (" + code.message() + ")." : "."));
  }
  if (!std::filesystem::is_regular_file(status)) {
    throw Error("'" + path.string() + "' is no regular file.");
  }
  const std::uint64_t size = std::filesystem::file_size(path, code);
  if (code || size > most_bytes) {
    throw Error("'" + path.string() + "' cannot be read: " +
                (code ? code.message() : std::to_string(size) + " bytes are more than the accepted " +
                                             std::to_string(most_bytes)) +
                ".");
  }
  std::vector<std::uint8_t> bytes(size);
  std::ifstream stream(path, std::ios::binary);
  stream.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(size));
  if (!stream || static_cast<std::uint64_t>(stream.gcount()) != size) {
    throw Error("'" + path.string() + "' cannot be read.");
  }
  return bytes;
}

namespace {

/// Return the length of the UTF-8 sequence that begins at `text[0]`, 0 when there is none.
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  const std::size_t length = lead < 0x80 ? 1 : lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
  if (length == 0 || length > text.size()) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  // Overlong forms, the surrogates, and what lies beyond U+10FFFF.
  if ((lead == 0xE0 && byte(1) < 0xA0) || (lead == 0xED && byte(1) > 0x9F)) return 0;
  if ((lead == 0xF0 && byte(1) < 0x90) || (lead == 0xF4 && byte(1) > 0x8F)) return 0;
  return length;
}

std::string with_format(const char* format, int precision, double value) {
  char buffer[512];
  const int length = std::snprintf(buffer, sizeof buffer, format, precision, value);
  std::string text(buffer, static_cast<std::size_t>(std::min<int>(length, sizeof buffer - 1)));
  for (char& c : text) c = c == ',' ? '.' : c;  // a library may have set another locale
  return text;
}

}  // namespace

std::string json_string(std::string_view text) {
  std::string json = "\"";
  char escape[8];
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    const unsigned char c = static_cast<unsigned char>(text[0]);
    if (length == 0) {
      std::snprintf(escape, sizeof escape, "\\udc%02x", c);
      json += escape;
    } else if (c == '"' || c == '\\') {
      json += {'\\', text[0]};
    } else if (c < 0x20) {
      std::snprintf(escape, sizeof escape, "\\u%04x", c);
      json += escape;
    } else {
      json += text.substr(0, length);
    }
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return json + '"';
}

std::string json_fixed(double value, int decimals) {
  if (!std::isfinite(value)) return "null";
  std::string text = with_format("%.*f", decimals, value);
  while (text.back() == '0' && text[text.size() - 2] != '.') text.pop_back();
  return text;
}

std::string json_number(double value, int digits) {
  return std::isfinite(value) ? with_format("%.*g", digits, value) : "null";
}

}  // namespace ppghost
