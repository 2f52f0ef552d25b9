// Joins text and numbers into a message. The parts are type-erased, so that a call compiles quickly.
#pragma once

#include "lorasb/core/requirements.hpp"  // first

#include <charconv>
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

namespace lorasb {
namespace detail {

/// One part of a message: text as it is, numbers in decimal, floating point with the fewest digits that read back the same.
class MessagePart {
 public:
  MessagePart(std::string_view text) : text_(text), kind_(Kind::text) {}
  MessagePart(const std::string& text) : MessagePart(std::string_view(text)) {}
  MessagePart(const char* text) : MessagePart(std::string_view(text)) {}
  template <std::signed_integral T>
  MessagePart(T number) : integer_(number), kind_(Kind::integer) {}
  template <std::unsigned_integral T>
  MessagePart(T number) : natural_(number), kind_(Kind::natural) {}
  MessagePart(float number) : single_(number), kind_(Kind::single) {}
  MessagePart(double number) : real_(number), kind_(Kind::real) {}

  void append_to(std::string& out) const {
    char digits[32];
    const auto append = [&](auto number) { out.append(digits, std::to_chars(digits, digits + sizeof digits, number).ptr); };
    switch (kind_) {
      case Kind::text:
        out += text_;
        break;
      case Kind::integer:
        append(integer_);
        break;
      case Kind::natural:
        append(natural_);
        break;
      case Kind::single:
        append(single_);
        break;
      case Kind::real:
        append(real_);
        break;
    }
  }

 private:
  enum class Kind { text, integer, natural, single, real };
  union {
    std::string_view text_;
    std::int64_t integer_;
    std::uint64_t natural_;
    float single_;
    double real_;
  };
  Kind kind_;
};

inline std::string join(std::initializer_list<MessagePart> parts) {
  std::string out;
  for (const MessagePart& part : parts) part.append_to(out);
  return out;
}

}  // namespace detail

/// The parts one after another: text as it is, numbers in decimal.
template <class... Parts>
std::string concat(const Parts&... parts) {
  return detail::join({detail::MessagePart(parts)...});
}

/// The text with its control characters (C0, DEL, C1) but those in `kept` as \u001b: in a terminal they move the cursor or clear the screen.
inline std::string without_controls(std::string_view text, std::string_view kept = "") {
  std::string out;
  const auto escape = [&](unsigned c) {
    constexpr std::string_view digits = "0123456789abcdef";
    out.append("\\u00").append(1, digits[c >> 4]).append(1, digits[c & 15]);
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    const auto next = static_cast<unsigned char>(i + 1 < text.size() ? text[i + 1] : '\0');
    if ((c < 0x20 && kept.find(text[i]) == kept.npos) || c == 0x7F)
      escape(c);
    else if (c == 0xC2 && next >= 0x80 && next < 0xA0)  // U+0080 to U+009F in UTF-8
      escape(next), ++i;
    else
      out += text[i];
  }
  return out;
}

/// `name` between quotation marks, for names that come from files, without control characters. Cut after 200 bytes: a file may hold a
/// name of any length.
inline std::string in_quotes(std::string_view name) {
  constexpr std::size_t longest = 200;
  return concat("\"", without_controls(name.substr(0, longest)), name.size() > longest ? "...\"" : "\"");
}

}  // namespace lorasb
