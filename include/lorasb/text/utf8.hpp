// UTF-8 into Unicode code points, with the place of the first byte that is not UTF-8.
#pragma once

#include <utf8proc.h>

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "lorasb/core/check.hpp"

namespace lorasb::text {

using CodePoints = std::vector<std::int32_t>;

namespace detail {

/// Appends the code points of `utf8` to `out` and returns how many bytes were good: all of them, or those before the first byte
/// that does not begin a sequence (overlong forms, surrogates and numbers above U+10FFFF are bad, as the Unicode standard
/// says).
inline std::size_t decode(std::string_view utf8, CodePoints& out) {
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(utf8.data());
  std::size_t at = 0;
  while (at < utf8.size()) {
    utf8proc_int32_t code_point = bytes[at];
    utf8proc_ssize_t length = 1;
    if (code_point >= 0x80) length = utf8proc_iterate(bytes + at, static_cast<utf8proc_ssize_t>(utf8.size() - at), &code_point);
    if (length <= 0) break;
    out.push_back(code_point);
    at += static_cast<std::size_t>(length);
  }
  return at;
}

}  // namespace detail

/// The position of the first byte that is not UTF-8, counted from 0; nothing when all of it is.
inline std::optional<std::size_t> invalid_utf8(std::string_view utf8) {
  CodePoints ignored;
  const std::size_t good = detail::decode(utf8, ignored);
  return good == utf8.size() ? std::nullopt : std::optional(good);
}

/// Throws ErrorId::text, with the position of the byte, when `utf8` is not UTF-8.
inline CodePoints decode_utf8(std::string_view utf8) {
  CodePoints out;
  out.reserve(utf8.size());
  const std::size_t good = detail::decode(utf8, out);
  require(good == utf8.size(), ErrorId::text, "decode_utf8: byte ", good, " of ", utf8.size(),
          " (counted from 0) is not UTF-8");
  return out;
}

}  // namespace lorasb::text
