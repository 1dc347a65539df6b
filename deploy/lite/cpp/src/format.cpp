#include "format.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace ppghost {
namespace {

/// Return how many bytes the UTF-8 character at `text[begin]` has; 0 where there is none.
std::size_t character_length(const std::string& text, std::size_t begin) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[begin + i]); };
  // The smallest and largest second byte keep out overlong forms, surrogates and what lies beyond U+10FFFF.
  const struct {
    unsigned first, last;
    std::size_t length;
    unsigned low, high;
  } forms[] = {{0x00, 0x7F, 1, 0, 0},       {0xC2, 0xDF, 2, 0x80, 0xBF}, {0xE0, 0xE0, 3, 0xA0, 0xBF},
               {0xE1, 0xEC, 3, 0x80, 0xBF}, {0xED, 0xED, 3, 0x80, 0x9F}, {0xEE, 0xEF, 3, 0x80, 0xBF},
               {0xF0, 0xF0, 4, 0x90, 0xBF}, {0xF1, 0xF3, 4, 0x80, 0xBF}, {0xF4, 0xF4, 4, 0x80, 0x8F}};
  for (const auto& form : forms) {
    if (byte(0) < form.first || byte(0) > form.last) continue;
    if (form.length > text.size() - begin) return 0;
    if (form.length > 1 && (byte(1) < form.low || byte(1) > form.high)) return 0;
    for (std::size_t i = 2; i < form.length; ++i) {
      if (byte(i) < 0x80 || byte(i) > 0xBF) return 0;
    }
    return form.length;
  }
  return 0;
}

std::string printed(const char* form, int precision, double value) {
  char buffer[400];
  const int length = std::snprintf(buffer, sizeof buffer, form, precision, value);
  std::string text(buffer, static_cast<std::size_t>(std::min<int>(length, sizeof buffer - 1)));
  std::replace(text.begin(), text.end(), ',', '.');  // a library may have set another locale
  return text;
}

}  // namespace

std::string json_string(const std::string& text) {
  std::string json = "\"";
  char escape[8];
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = character_length(text, i);
    const unsigned char byte = static_cast<unsigned char>(text[i]);
    if (length == 0 || byte < 0x20) {
      std::snprintf(escape, sizeof escape, length == 0 ? "\\udc%02x" : "\\u%04x", byte);
      json += escape;
    } else {
      if (byte == '"' || byte == '\\') json += '\\';
      json.append(text, i, length);
    }
    i += std::max<std::size_t>(length, 1);
  }
  return json + '"';
}

std::string json_string_or_null(const std::string& text) { return text.empty() ? "null" : json_string(text); }

std::string json_fixed(double value, int decimals) {
  if (!std::isfinite(value)) return "null";
  std::string text = printed("%.*f", decimals, value);
  while (text.back() == '0' && text[text.size() - 2] != '.') text.pop_back();
  return text;
}

std::string json_number(double value, int digits) {
  return std::isfinite(value) ? printed("%.*g", digits, value) : "null";
}

}  // namespace ppghost
