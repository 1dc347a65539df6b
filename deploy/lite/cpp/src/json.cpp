#include "json.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <locale>
#include <sstream>

#include "errors.h"
#include "format.h"

namespace ppghost {
namespace {

constexpr int kMostDepth = 32;
constexpr char kHexDigits[] = "0123456789abcdef0123456789ABCDEF";

}  // namespace

/// Reads one text from left to right.
class JsonReader {
 public:
  explicit JsonReader(const std::string& text) : text_(text) {}

  Json read_all() {
    Json value = read("", 0);
    skip_space();
    if (place_ != text_.size()) refuse("something stands behind the end");
    return value;
  }

 private:
  [[noreturn]] void refuse(const std::string& why) const {
    throw Error("it is no JSON: " + why + ", at byte " + std::to_string(place_) + ".");
  }

  char peek() const { return place_ < text_.size() ? text_[place_] : '\0'; }

  void skip_space() {
    while (place_ < text_.size() && std::strchr(" \t\r\n", text_[place_]) != nullptr && text_[place_] != '\0') ++place_;
  }

  bool skip(char expected) {
    skip_space();
    if (peek() != expected || place_ == text_.size()) return false;
    ++place_;
    return true;
  }

  bool skip_word(const char* word) {
    const std::size_t length = std::strlen(word);
    if (text_.compare(place_, length, word) != 0) return false;
    place_ += length;
    return true;
  }

  Json read(const std::string& path, int depth) {
    if (depth > kMostDepth) refuse("it is nested too deeply");
    Json value;
    value.path_ = path;
    skip_space();
    if (peek() == '"') {
      value.kind_ = Json::kText;
      value.text_ = read_text();
    } else if (skip('{')) {
      value.kind_ = Json::kObject;
      read_members(value, depth);
    } else if (skip('[')) {
      value.kind_ = Json::kList;
      read_items(value, depth);
    } else if (skip_word("true")) {
      value.kind_ = Json::kTruth;
      value.truth_ = true;
    } else if (skip_word("false")) {
      value.kind_ = Json::kTruth;
    } else if (!skip_word("null")) {
      value.kind_ = Json::kNumber;
      value.number_ = read_number();
    }
    return value;
  }

  void read_members(Json& object, int depth) {
    if (skip('}')) return;
    do {
      skip_space();
      if (peek() != '"') refuse("a name is missing");
      const std::string key = read_text();
      if (std::find(object.keys_.begin(), object.keys_.end(), key) != object.keys_.end()) {
        refuse("the name " + json_string(key) + " comes twice");
      }
      if (!skip(':')) refuse("a ':' is missing");
      object.keys_.push_back(key);
      object.items_.push_back(read(object.path_.empty() ? key : object.path_ + "." + key, depth + 1));
    } while (skip(','));
    if (!skip('}')) refuse("a '}' is missing");
  }

  void read_items(Json& list, int depth) {
    if (skip(']')) return;
    do {
      list.items_.push_back(read(list.path_ + "[" + std::to_string(list.items_.size()) + "]", depth + 1));
    } while (skip(','));
    if (!skip(']')) refuse("a ']' is missing");
  }

  std::string read_text() {
    std::string text;
    for (++place_; peek() != '"';) {
      const unsigned char byte = static_cast<unsigned char>(peek());
      if (place_ >= text_.size() || byte < 0x20) refuse("a text has no end");
      ++place_;
      if (byte == '\\') {
        append_escape(text);
      } else {
        text += static_cast<char>(byte);
      }
    }
    ++place_;
    return text;
  }

  void append_escape(std::string& text) {
    const char letter = peek();
    const char* known = "\"\\/bfnrt";
    const char* found = letter == '\0' ? nullptr : std::strchr(known, letter);
    ++place_;
    if (found != nullptr) {
      text += "\"\\/\b\f\n\r\t"[found - known];
      return;
    }
    if (letter != 'u') refuse("an escape is unknown");
    std::uint32_t code = read_hex();
    if (code >= 0xD800 && code < 0xDC00) {
      if (!skip_word("\\u")) refuse("half of a character is missing");
      const std::uint32_t low = read_hex();
      if (low < 0xDC00 || low > 0xDFFF) refuse("half of a character is missing");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    append_utf8(text, code);
  }

  std::uint32_t read_hex() {
    std::uint32_t code = 0;
    for (int i = 0; i < 4; ++i) {
      const char* found = peek() == '\0' ? nullptr : std::strchr(kHexDigits, peek());
      if (found == nullptr) refuse("an escape has no four hex digits");
      code = code << 4 | static_cast<std::uint32_t>((found - kHexDigits) & 15);
      ++place_;
    }
    return code;
  }

  static void append_utf8(std::string& text, std::uint32_t code) {
    const int extra = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    const std::uint32_t lead[] = {0x00, 0xC0, 0xE0, 0xF0};
    text += static_cast<char>(lead[extra] | code >> (6 * extra));
    for (int i = extra - 1; i >= 0; --i) text += static_cast<char>(0x80 | (code >> (6 * i) & 0x3F));
  }

  double read_number() {
    const std::size_t begin = place_;
    while (peek() != '\0' && std::strchr("+-.eE0123456789", peek()) != nullptr) ++place_;
    const std::string word = text_.substr(begin, place_ - begin);
    std::istringstream stream(word);
    stream.imbue(std::locale::classic());
    double value = 0;
    stream >> value;
    const bool is_plain = !word.empty() && word[0] != '+' && word[0] != '.' && word.back() != '.';
    if (!is_plain || stream.fail() || stream.peek() != std::char_traits<char>::eof() || !std::isfinite(value)) {
      place_ = begin;
      refuse("a value is missing or unknown");
    }
    return value;
  }

  const std::string& text_;
  std::size_t place_ = 0;
};

Json Json::parse(const std::string& text) { return JsonReader(text).read_all(); }

const Json& Json::at(const std::string& key) const {
  if (kind_ != kObject) refuse("an object");
  for (std::size_t i = 0; i < keys_.size(); ++i) {
    if (keys_[i] == key) return items_[i];
  }
  throw Error("it has no '" + (path_.empty() ? key : path_ + "." + key) + "'.");
}

const std::string& Json::text() const {
  if (kind_ != kText) refuse("a text");
  return text_;
}

bool Json::truth() const {
  if (kind_ != kTruth) refuse("true or false");
  return truth_;
}

double Json::number() const {
  if (kind_ != kNumber) refuse("a number");
  return number_;
}

std::uint64_t Json::whole(std::uint64_t low, std::uint64_t high) const {
  const bool is_whole = kind_ == kNumber && number_ == std::floor(number_);
  if (!is_whole || number_ < static_cast<double>(low) || number_ > static_cast<double>(high)) {
    refuse("a whole number from " + std::to_string(low) + " to " + std::to_string(high));
  }
  return static_cast<std::uint64_t>(number_);
}

const std::vector<Json>& Json::items() const {
  if (kind_ != kList) refuse("a list");
  return items_;
}

void Json::refuse(const std::string& accepted) const {
  const char* kinds[] = {"null", "", "", "", "a list", "an object"};
  std::string given = kinds[kind_];
  if (kind_ == kTruth) given = truth_ ? "true" : "false";
  if (kind_ == kNumber) given = json_number(number_, 15);
  if (kind_ == kText) given = json_string(text_.substr(0, 80));
  throw Error((path_.empty() ? "the whole" : path_) + " is " + given + "; accepted: " + accepted + ".");
}

}  // namespace ppghost
