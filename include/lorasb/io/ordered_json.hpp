// JSON as a value whose objects keep the order of their keys.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lorasb/core/check.hpp"
#include "lorasb/core/text.hpp"
#include "lorasb/core/types.hpp"

namespace lorasb::io {

/// A value of JSON. nlohmann::ordered_json does the same and more; it takes minutes for an object of 100,000 keys, as the files of
/// large models have, and several times as long to compile.
///
///     OrderedJson json = OrderedJson::object();
///     json.add("rank", 4);
///     json.add("names", std::vector<std::string>{"query", "value"});
///     json.text();  // {"rank":4,"names":["query","value"]}
class OrderedJson {
 public:
  OrderedJson() = default;  // null
  OrderedJson(std::nullptr_t) {}
  OrderedJson(bool value) : kind_(Kind::boolean), integer_(value) {}
  template <std::integral T>
  OrderedJson(T value) : kind_(std::unsigned_integral<T> ? Kind::natural : Kind::integer), integer_(static_cast<std::int64_t>(value)) {}
  OrderedJson(double value) : kind_(Kind::real), real_(value) {}
  OrderedJson(std::string value) : kind_(Kind::string), string_(std::move(value)) {}
  OrderedJson(std::string_view value) : OrderedJson(std::string(value)) {}
  OrderedJson(const char* value) : OrderedJson(std::string(value)) {}
  template <class T>
  OrderedJson(const std::vector<T>& values) : kind_(Kind::array), items_(values.begin(), values.end()) {}

  static OrderedJson array() { return OrderedJson(Kind::array); }
  static OrderedJson object() { return OrderedJson(Kind::object); }

  bool is_null() const { return kind_ == Kind::null; }
  bool is_string() const { return kind_ == Kind::string; }
  bool is_array() const { return kind_ == Kind::array; }
  bool is_object() const { return kind_ == Kind::object; }
  std::string_view type_name() const {
    constexpr std::string_view names[]{"null", "boolean", "number", "number", "number", "string", "array", "object"};
    return names[static_cast<int>(kind_)];
  }

  /// The value as a T; nothing for a value of another type.
  std::optional<bool> boolean() const { return kind_ == Kind::boolean ? std::optional(integer_ != 0) : std::nullopt; }
  /// An integer from -2^63 to 2^63 - 1; 1.0 is none.
  std::optional<Index> integer() const {
    const bool fits = kind_ == Kind::integer || (kind_ == Kind::natural && integer_ >= 0);
    return fits ? std::optional(Index(integer_)) : std::nullopt;
  }
  /// Any number, rounded to a double.
  std::optional<double> number() const {
    if (kind_ == Kind::real) return real_;
    if (kind_ == Kind::natural) return static_cast<double>(static_cast<std::uint64_t>(integer_));
    return kind_ == Kind::integer ? std::optional(static_cast<double>(integer_)) : std::nullopt;
  }
  /// Null for a value of another type.
  const std::string* string() const { return is_string() ? &string_ : nullptr; }

  /// Of an array, or the values of an object; empty for all else.
  const std::vector<OrderedJson>& items() const { return items_; }
  /// Of an object, in the order of items().
  const std::vector<std::string>& keys() const { return keys_; }
  /// The value of a key; null when there is none. Looks at one key after the other.
  const OrderedJson* find(std::string_view key) const {
    for (std::size_t i = 0; i < keys_.size(); ++i)
      if (keys_[i] == key) return &items_[i];
    return nullptr;
  }

  // The reference that add() returns is good until the next add() to the same value.
  /// Appends to an array.
  OrderedJson& add(OrderedJson value) { return items_.emplace_back(std::move(value)); }
  /// Appends to an object. The key must be a new one.
  OrderedJson& add(std::string key, OrderedJson value) {
    keys_.push_back(std::move(key));
    return items_.emplace_back(std::move(value));
  }

  /// On one line, or with an indent on a line for each value. Numbers read back as the same, NaN and infinity become null. Strings
  /// are taken to be UTF-8.
  std::string text(int indent = -1) const {
    std::string out;
    append_to(out, indent, 0);
    return out;
  }
  /// The text between quotation marks, with what JSON wants escaped.
  static void append_quoted(std::string_view text, std::string& out) {
    constexpr std::string_view special = "\"\\\b\f\n\r\t", letters = "\"\\bfnrt", digits = "0123456789abcdef";
    out += '"';
    for (const char c : text) {
      const auto byte = static_cast<unsigned char>(c);
      if (const std::size_t at = special.find(c); at != special.npos)
        (out += '\\') += letters[at];
      else if (byte < 0x20)
        ((out += "\\u00") += digits[byte >> 4]) += digits[byte & 15];
      else
        out += c;
    }
    out += '"';
  }

 private:
  enum class Kind { null, boolean, integer, natural, real, string, array, object };
  explicit OrderedJson(Kind kind) : kind_(kind) {}

  void append_to(std::string& out, int indent, int depth) const {
    if (is_array() || is_object()) return append_items(out, indent, depth);
    if (is_string()) return append_quoted(string_, out);
    if (kind_ == Kind::boolean)
      out += integer_ != 0 ? "true" : "false";
    else if (is_null() || (kind_ == Kind::real && !is_finite(real_)))
      out += "null";
    else if (kind_ == Kind::real)
      append_real(out);
    else
      out += kind_ == Kind::natural ? concat(static_cast<std::uint64_t>(integer_)) : concat(integer_);
  }
  /// 16.0 for 16, which would be an integer.
  void append_real(std::string& out) const {
    const std::string digits = concat(real_);
    out.append(digits).append(digits.find_first_of(".e") == digits.npos ? ".0" : "");
  }
  void append_items(std::string& out, int indent, int depth) const {
    const auto new_line = [&](int levels) {
      if (indent >= 0) out.append("\n").append(static_cast<std::size_t>(indent * levels), ' ');
    };
    out += is_array() ? '[' : '{';
    for (std::size_t i = 0; i < items_.size(); ++i) {
      if (i > 0) out += ',';
      new_line(depth + 1);
      if (is_object()) {
        append_quoted(keys_[i], out);
        out += indent >= 0 ? ": " : ":";
      }
      items_[i].append_to(out, indent, depth + 1);
    }
    if (!items_.empty()) new_line(depth);
    out += is_array() ? ']' : '}';
  }

  Kind kind_ = Kind::null;
  std::int64_t integer_ = 0;  // the bits of a natural number as well
  double real_ = 0;
  std::string string_;
  std::vector<OrderedJson> items_;
  std::vector<std::string> keys_;
};

}  // namespace lorasb::io
