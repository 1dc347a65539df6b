// A reader of JSON (RFC 8259) for small files that somebody else wrote.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ppghost {

/// One JSON value, with accessors that say in words what is wrong.
class Json {
 public:
  /// Return the value that `text` holds; throws Error with the place where it is no JSON.
  static Json parse(const std::string& text);

  bool is_null() const { return kind_ == kNull; }

  /// Return a member of an object; throws Error when there is none.
  const Json& at(const std::string& key) const;

  // Each throws Error with the value's path when it is of another kind or out of bounds.
  const std::string& text() const;
  bool truth() const;
  double number() const;
  std::uint64_t whole(std::uint64_t low, std::uint64_t high) const;
  const std::vector<Json>& items() const;

  /// Return where the value stands: "models[0].file".
  const std::string& path() const { return path_; }

  /// Throws Error: what stands here, and what is accepted.
  [[noreturn]] void refuse(const std::string& accepted) const;

 private:
  friend class JsonReader;
  enum Kind { kNull, kTruth, kNumber, kText, kList, kObject };

  Kind kind_ = kNull;
  bool truth_ = false;
  double number_ = 0;
  std::string text_, path_;
  std::vector<std::string> keys_;  ///< of an object: the names of `items_`
  std::vector<Json> items_;
};

}  // namespace ppghost
