// Joins text and numbers into a message. The parts are type-erased, so that a call compiles quickly.
#pragma once

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

/// `name` between quotation marks, for names that come from files. Cut after 200 bytes: a file may hold a name of any length.
inline std::string in_quotes(std::string_view name) {
  constexpr std::size_t longest = 200;
  return concat("\"", name.substr(0, longest), name.size() > longest ? "...\"" : "\"");
}

}  // namespace lorasb
